import assert from "node:assert/strict";
import { serverCheck, silenceCheck, stuckQueueCheck } from "./outage_checks.ts";

const kinds = async (check: () => unknown) =>
  ((await check()) as readonly { readonly kind: string }[]).map(({ kind }) => kind).join();

Deno.test("serverCheck() tells of a server that does not answer at two checks in a row", async () => {
  let up = true;
  const check = serverCheck(
    "serve-in",
    () => up ? Promise.resolve() : Promise.reject(new Error("connection refused")),
  );
  assert.equal(await kinds(check), "");
  up = false;
  assert.equal(await kinds(check), "");
  assert.equal(await kinds(check), "server");
  up = true;
  assert.equal(await kinds(check), "");
  up = false;
  assert.equal(await kinds(check), "");
});

Deno.test("stuckQueueCheck() tells of an hour of many attempts without success, and of no other", async () => {
  let [relayed, deferred] = [0, 0];
  const check = stuckQueueCheck(() => ({ relayed, deferred }));
  // Nothing to do is not a problem.
  for (let i = 0; i < 12; i++) assert.equal(await kinds(check), "");
  // A few that fail, beside some that do not.
  for (let i = 0; i < 12; i++) {
    deferred += 10;
    relayed++;
    assert.equal(await kinds(check), "");
  }
  const seen: string[] = [];
  for (let i = 0; i < 8; i++) {
    deferred += 10;
    seen.push(await kinds(check));
  }
  assert.deepEqual(seen, ["", "", "", "", "", "stuck", "stuck", "stuck"]);
  relayed++;
  assert.equal(await kinds(check), "");
});

Deno.test("silenceCheck() tells of a pause that is unusual for this server, once it knows what is usual", async () => {
  let count = 0;
  const check = silenceCheck(() => count);
  const hours = async (number: number, messages: number) => {
    let said = "";
    for (let i = 0; i < number * 6; i++) {
      if (messages > 0 && i % 6 === 0) count += messages;
      said = await kinds(check);
    }
    return said;
  };
  // One that has just started knows nothing.
  assert.equal(await hours(12, 0), "");
  for (let day = 0; day < 3; day++) {
    assert.equal(await hours(16, 5), "");
    // Every night.
    assert.equal(await hours(8, 0), "");
  }
  assert.equal(await hours(16, 5), "");
  // The longest pause had twelve hours.
  assert.equal(await hours(34, 0), "");
  assert.equal(await hours(4, 0), "silence");
  assert.equal(await hours(1, 1), "");
});
