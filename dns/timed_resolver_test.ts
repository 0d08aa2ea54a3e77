import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import type { Answer, QueryOptions } from "./resolver.ts";
import { TimedResolver } from "./timed_resolver.ts";

/** Answers TXT questions when told to, or by the signal. */
class SlowResolver extends StaticResolver {
  readonly waiting: (() => void)[] = [];

  override txt(name: string, { signal }: QueryOptions = {}): Promise<Answer<string>> {
    const { promise, resolve } = Promise.withResolvers<Answer<string>>();
    signal?.addEventListener("abort", () => resolve({ kind: "failed", reason: "given up" }));
    this.waiting.push(() => resolve({ kind: "found", records: [name], authenticated: false }));
    return promise;
  }
}

Deno.test("TimedResolver counts only the time in which a question waits", async () => {
  const clock = new FakeClock();
  const resolver = new SlowResolver({});
  using timed = new TimedResolver({ resolver, clock, timeoutMs: 1000 });
  for (let i = 0; i < 3; i++) {
    const answers = [timed.txt("a.test"), timed.txt("b.test")];
    await clock.advance(300);
    for (const answer of resolver.waiting.splice(0)) answer();
    for (const { kind } of await Promise.all(answers)) assert.equal(kind, "found");
    await clock.advance(10_000);
    assert.equal(clock.pending, 0);
  }
  const late = timed.txt("c.test");
  await clock.advance(99);
  assert.equal(timed.exhausted, false);
  await clock.advance(1);
  assert.equal((await late).kind, "failed");
  assert.equal(timed.exhausted, true);
  assert.deepEqual(await timed.a("d.test"), { kind: "failed", reason: "no time left for DNS" });
  assert.deepEqual(resolver.asked, []);
});

Deno.test("TimedResolver hands on each question, and the caller's signal", async () => {
  const clock = new FakeClock();
  const resolver = new SlowResolver({}, { ptr: { "192.0.2.1": ["x.test"] } });
  using timed = new TimedResolver({ resolver, clock, timeoutMs: 1000 });
  await Promise.all([
    timed.mx("x.test"),
    timed.a("x.test"),
    timed.aaaa("x.test"),
    timed.ptr("192.0.2.1"),
    timed.cname("x.test"),
    timed.tlsa("x.test"),
  ]);
  assert.deepEqual(resolver.asked, [
    "mx x.test",
    "a x.test",
    "aaaa x.test",
    "ptr 192.0.2.1",
    "cname x.test",
    "tlsa x.test",
  ]);
  const controller = new AbortController();
  const mine = timed.txt("a.test", { signal: controller.signal });
  const other = timed.txt("b.test");
  controller.abort();
  assert.equal((await mine).kind, "failed");
  resolver.waiting[1]?.();
  assert.equal((await other).kind, "found");
});

Deno.test("TimedResolver ends what waits when it is disposed of", async () => {
  const clock = new FakeClock();
  const timed = new TimedResolver({ resolver: new SlowResolver({}), clock, timeoutMs: 1000 });
  const answer = timed.txt("a.test");
  timed[Symbol.dispose]();
  assert.equal((await answer).kind, "failed");
  assert.equal(clock.pending, 0);
});

Deno.test("TimedResolver is prolonged by what it has left and more", async () => {
  const clock = new FakeClock();
  const resolver = new SlowResolver({});
  using timed = new TimedResolver({ resolver, clock, timeoutMs: 1000 });
  const first = timed.txt("a.test");
  await clock.advance(600);
  // What waits still has used its time, too.
  using prolonged = timed.prolonged(50);
  const second = prolonged.txt("b.test");
  await clock.advance(449);
  assert.deepEqual([timed.exhausted, prolonged.exhausted], [true, false]);
  await clock.advance(1);
  assert.deepEqual([(await first).kind, (await second).kind], ["failed", "failed"]);
  using last = timed.prolonged(100);
  const answer = last.txt("c.test");
  await clock.advance(99);
  assert.equal(last.exhausted, false);
  await clock.advance(1);
  assert.equal((await answer).kind, "failed");
});
