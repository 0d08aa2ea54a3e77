import assert from "node:assert/strict";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { type StaticName, StaticResolver } from "../tests/support/static_resolver.ts";
import type { Fetched } from "./fetch.ts";
import { type KeptPolicy, Policies, type PolicyStore } from "./policies.ts";
import { parsePolicy } from "./policy.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Policies over zones and policy hosts that a test changes as it goes. */
class World implements PolicyStore {
  readonly clock = new FakeClock();
  readonly log = new RecordingLog();
  readonly zone: Record<string, StaticName> = {};
  readonly texts = new Map<string, string | Promise<string>>();
  fetches = 0;
  saved: readonly unknown[] = [];
  policies = this.start();

  start(): Policies {
    return new Policies({
      resolver: new StaticResolver(this.zone),
      clock: this.clock,
      logger: this.log,
      store: this,
      fetch: (domain) => this.#fetch(domain),
    });
  }

  publish(domain: string, id: string, text: string | Promise<string>): void {
    this.zone[`_mta-sts.${domain}`] = { txt: [`v=STSv1; id=${id}`] };
    this.texts.set(domain, text);
  }

  async #fetch(domain: string): Promise<Fetched> {
    this.fetches++;
    const text = await this.texts.get(domain);
    if (text === undefined) return { failure: "sts-policy-fetch-error", why: "HTTP status 404" };
    return { policy: parsePolicy(text), text };
  }

  load(): Promise<readonly unknown[]> {
    return Promise.resolve(this.saved);
  }

  save(policies: readonly KeptPolicy[]): Promise<void> {
    this.saved = JSON.parse(JSON.stringify(policies));
    return Promise.resolve();
  }

  async mode(domain = "a.test"): Promise<string> {
    const answer = await this.policies.find(domain);
    return answer.kind === "policy"
      ? `${answer.kept.policy.mode} ${answer.kept.id}`
      : answer.failure ?? "none";
  }
}

const policy = (mode: string, days = 7) =>
  `version: STSv1\nmode: ${mode}\nmx: mx.a.test\nmax_age: ${days * 86_400}\n`;

Deno.test("Policies fetches the policy of a domain once, and none where there is no record", async () => {
  const world = new World();
  assert.equal(await world.mode(), "none");
  assert.equal(world.fetches, 0);
  await world.clock.advance(60_000);
  world.publish("a.test", "1", policy("enforce"));
  assert.deepEqual(await Promise.all([world.mode(), world.mode()]), ["enforce 1", "enforce 1"]);
  assert.equal(await world.mode(), "enforce 1");
  assert.equal(world.fetches, 1);
});

Deno.test("Policies takes a new policy when the id changes, without keeping a message waiting for it", async () => {
  const world = new World();
  world.publish("a.test", "1", policy("testing"));
  assert.equal(await world.mode(), "testing 1");
  world.publish("a.test", "2", policy("enforce"));
  await world.clock.advance(60_000);
  assert.equal(await world.mode(), "testing 1");
  await settle();
  assert.equal(await world.mode(), "enforce 2");
});

Deno.test("Policies keeps a policy while its host is down or its record gone, until its max_age", async () => {
  const world = new World();
  world.publish("a.test", "1", policy("enforce"));
  assert.equal(await world.mode(), "enforce 1");
  world.publish("a.test", "2", policy("none"));
  world.texts.clear();
  await world.clock.advance(3 * DAY);
  assert.equal(await world.mode(), "enforce 1");
  await settle();
  assert.ok(
    world.log.events.some(({ event, fields }) => event === "mta_sts.fetch_failed" && fields.kept === true),
  );
  delete world.zone["_mta-sts.a.test"];
  await world.clock.advance(3 * DAY);
  assert.equal(await world.mode(), "enforce 1");
  await world.clock.advance(DAY);
  assert.equal(await world.mode(), "none");
});

Deno.test("Policies fetches anew before a policy ends, though its id is the same", async () => {
  const world = new World();
  world.publish("a.test", "1", policy("enforce"));
  await world.mode();
  await world.clock.advance(6 * DAY);
  assert.equal(await world.mode(), "enforce 1");
  await settle();
  assert.equal(world.fetches, 2);
  await world.clock.advance(6 * DAY);
  assert.equal(await world.mode(), "enforce 1");
});

Deno.test("Policies says why there is none, and asks the host again after five minutes", async () => {
  const world = new World();
  world.publish("a.test", "1", policy("enforce"));
  world.texts.clear();
  assert.equal(await world.mode(), "sts-policy-fetch-error");
  await world.clock.advance(4 * 60_000);
  assert.equal(await world.mode(), "sts-policy-fetch-error");
  assert.equal(world.fetches, 1);
  world.texts.set("a.test", policy("enforce"));
  await world.clock.advance(60_000);
  assert.equal(await world.mode(), "enforce 1");
});

Deno.test("Policies lets a first message wait 30 seconds for a policy, not longer", async () => {
  const world = new World();
  const { promise, resolve } = Promise.withResolvers<string>();
  world.publish("a.test", "1", promise);
  let mode: string | undefined;
  const asked = world.mode().then((found) => void (mode = found));
  await world.clock.advance(29_000);
  assert.equal(mode, undefined);
  await world.clock.advance(1_000);
  await asked;
  assert.equal(mode, "none");
  resolve(policy("enforce"));
  await settle();
  assert.equal(await world.mode(), "enforce 1");
});

Deno.test("Policies outlive a restart, those that have expired and damaged ones do not", async () => {
  const world = new World();
  world.publish("a.test", "1", policy("enforce"));
  world.publish("b.test", "1", policy("enforce", 1));
  await world.mode();
  await world.mode("b.test");
  await world.policies.stop();
  world.saved = [...world.saved, null, 7, { domain: "c.test" }, {
    domain: "d.test",
    id: "1",
    text: "x",
    fetchedAt: 1,
  }];
  world.texts.clear();
  await world.clock.advance(2 * DAY);
  world.policies = world.start();
  await world.policies.load();
  assert.deepEqual([...world.policies.kept].map(({ domain }) => domain), ["a.test"]);
  assert.equal(await world.mode(), "enforce 1");
  await world.policies.stop();
});

Deno.test("Policies takes no policy from the future for one that may still be kept", async () => {
  const world = new World();
  world.publish("a.test", "1", policy("enforce"));
  await world.mode();
  await world.policies.stop();
  world.clock.jump(-30 * DAY);
  world.texts.clear();
  world.policies = world.start();
  await world.policies.load();
  assert.deepEqual([...world.policies.kept], []);
});

Deno.test("Policies starts a bounded number of fetches at once, and the others wait for their turn", async () => {
  const world = new World();
  const { promise, resolve } = Promise.withResolvers<string>();
  const domains = Array.from({ length: 50 }, (_, i) => `d${i}.test`);
  for (const domain of domains) world.publish(domain, "1", promise);
  const asked = domains.map((domain) => world.mode(domain));
  await settle();
  assert.equal(world.fetches, 20);
  resolve(policy("enforce"));
  assert.deepEqual(await Promise.all(asked), new Array(50).fill("enforce 1"));
  await world.policies.stop();
});

Deno.test("Policies answers at once where it knows, so that no message waits", async () => {
  const world = new World();
  world.publish("a.test", "1", policy("enforce"));
  await world.mode("a.test");
  await world.mode("none.test");
  for (const domain of ["a.test", "none.test"]) {
    assert.ok(!(world.policies.find(domain) instanceof Promise), domain);
  }
  await world.policies.stop();
});

Deno.test("Policies looks for a policy again as soon as the one before has expired", async () => {
  const world = new World();
  world.publish("a.test", "1", policy("enforce").replace(/max_age: .*/, "max_age: 20"));
  assert.equal(await world.mode(), "enforce 1");
  await world.clock.advance(20_000);
  assert.equal(await world.mode(), "enforce 1");
  assert.equal(world.fetches, 2);
});

Deno.test("Policies fetches a policy in use anew before it ends, though no mail goes just then", async () => {
  const world = new World();
  world.publish("a.test", "1", policy("enforce"));
  world.publish("b.test", "1", policy("enforce", 200));
  await world.mode();
  await world.mode("b.test");
  world.policies.start();
  for (let hour = 0; hour < 24 * 6; hour++) await world.clock.advance(HOUR);
  assert.equal(world.fetches, 3);
  // A day for each of the hourly looks from now on.
  for (let day = 0; day < 200; day++) {
    world.clock.jump(23 * HOUR);
    await world.clock.advance(HOUR);
  }
  assert.equal(world.policies.peek("b.test"), undefined);
  await world.policies.stop();
});

Deno.test("Policies gives up waiting for a first policy when its caller does", async () => {
  const world = new World();
  const { promise, resolve } = Promise.withResolvers<string>();
  world.publish("a.test", "1", promise);
  const stopping = new AbortController();
  const asked = world.policies.find("a.test", { signal: stopping.signal });
  await settle();
  stopping.abort();
  assert.deepEqual(await asked, { kind: "none" });
  resolve(policy("enforce"));
  await world.policies.stop();
});

Deno.test("Policies keeps no more text than it may, the oldest makes room", async () => {
  const world = new World();
  const long = `${policy("enforce")}${`x: ${"y".repeat(60_000)}\n`}`;
  for (let i = 0; i < 300; i++) {
    world.publish(`d${i}.test`, "1", long);
    await world.mode(`d${i}.test`);
  }
  const kept = [...world.policies.kept];
  assert.ok(kept.reduce((sum, { text }) => sum + text.length, 0) <= 16 * 1024 * 1024);
  assert.equal(kept.at(-1)?.domain, "d299.test");
  assert.ok(kept.length > 200);
  await world.policies.stop();
});
