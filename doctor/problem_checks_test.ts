import assert from "node:assert/strict";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import {
  dnsCheck,
  queueCheck,
  RefusalWatch,
  spaceCheck,
  uncheckedLoginsCheck,
  undeliverableCheck,
} from "./problem_checks.ts";

Deno.test("queueCheck() sees a large queue that doubles within an hour, until it has halved", async () => {
  let size: number | undefined;
  const check = queueCheck(() => size);
  const at = async (...sizes: (number | undefined)[]) => {
    let found = false;
    for (size of sizes) found = (await check()).length > 0;
    return found;
  };
  // A restart with a long queue, which is read first.
  assert.equal(await at(undefined, 5000, 5000, 5000, 5000, 5000), false);
  assert.equal(await at(5000, 5000, 5000, 5000, 5000, 5000, 10_000), true);
  assert.equal(await at(5001), true);
  assert.equal(await at(4999), false);
  const small = queueCheck(() => size);
  for (size of [1, 2, 4, 8, 16, 32, 64, 99]) assert.deepEqual(await small(), []);
});

Deno.test("dnsCheck() wants two checks in vain", async () => {
  const names = { "a.test": { fails: ["*"] as const }, "b.test": {} };
  const both = dnsCheck(() => ({ names: ["a.test"], resolver: new StaticResolver(names) }));
  assert.deepEqual(await both(), []);
  const [found] = await both();
  assert.equal(found?.kind, "dns");
  assert.match(found?.what ?? "", /a\.test: SERVFAIL/);
  const one = dnsCheck(() => ({ names: ["a.test", "b.test"], resolver: new StaticResolver(names) }));
  await one();
  assert.deepEqual(await one(), []);
});

Deno.test("undeliverableCheck() sees what came to be held within a day, and what was dropped", async () => {
  const status = { held: 0, recentlyHeld: 0, recentlyDropped: 0 };
  const check = undeliverableCheck(() => status);
  const kinds = async (now: typeof status) => {
    Object.assign(status, now);
    return (await check()).map(({ kind }) => kind);
  };
  assert.deepEqual(await kinds(status), []);
  assert.deepEqual(await kinds({ held: 3, recentlyHeld: 0, recentlyDropped: 0 }), []);
  assert.deepEqual(await kinds({ held: 3, recentlyHeld: 1, recentlyDropped: 0 }), ["held"]);
  assert.match((await check())[0]?.what ?? "", /^1 message without .*; 3 in all are held$/);
  assert.deepEqual(await kinds({ held: 0, recentlyHeld: 1, recentlyDropped: 0 }), []);
  assert.deepEqual(await kinds({ held: 3, recentlyHeld: 2, recentlyDropped: 2 }), ["held", "dropped"]);
});

Deno.test("spaceCheck() sees a disk with less than twice its reserve", async () => {
  const path = Deno.cwd();
  const check = (minFreeSpace: number) => spaceCheck(() => [{ name: "x", path, minFreeSpace }])();
  assert.deepEqual(await check(0), []);
  const [found] = await check(2 ** 60);
  assert.equal(found?.kind, "disk");
  assert.equal(found?.about, path);
});

Deno.test("RefusalWatch keeps refusals with a cause of ours for an hour", async () => {
  let now = 0;
  const watch = new RefusalWatch({
    now: () => now,
    explain: ({ status }) =>
      status === "5.7.26" ? { meaning: "It is not authenticated.", operator: "Sign it." } : undefined,
  });
  const refusal = { status: "5.7.26", reply: "550 5.7.26 go away", host: "mx.test" };
  watch.note({ ...refusal, status: "5.1.1" });
  assert.deepEqual(await watch.check(), []);
  watch.note(refusal);
  assert.deepEqual(await watch.check(), [{
    kind: "reply",
    about: "It is not authenticated.",
    what: "mx.test said: 550 5.7.26 go away. It is not authenticated",
    next: "Sign it.",
  }]);
  now = 3_600_001;
  assert.deepEqual(await watch.check(), []);
});

Deno.test("uncheckedLoginsCheck() sees that logins could not be checked, unless some could since the last check", async () => {
  const counts = { accepted: 0, unavailable: 0 };
  const check = uncheckedLoginsCheck(() => ({ ...counts }));
  const words = async (more: Partial<typeof counts>) => {
    Object.assign(counts, more);
    return (await check()).map(({ kind, what }) => `${kind}: ${what}`);
  };
  assert.deepEqual(await words({}), []);
  assert.deepEqual(await words({ accepted: 5, unavailable: 1 }), []);
  assert.deepEqual(await words({ unavailable: 2 }), [
    "logins: 1 login could not be checked, so users could not log in",
  ]);
  assert.deepEqual(await words({ unavailable: 9 }), [
    "logins: 7 logins could not be checked, so users could not log in",
  ]);
  assert.deepEqual(await words({}), []);
});
