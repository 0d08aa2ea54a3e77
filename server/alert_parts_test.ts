import assert from "node:assert/strict";
import { serverCheck } from "../doctor/outage_checks.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { until } from "../tests/support/until.ts";
import { greetingProbe } from "./alert_parts.ts";

Deno.test("a server that takes connections and says nothing, as one that hangs, is told of", async () => {
  const clock = new FakeClock();
  // The kernel takes connections for a process that does nothing.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const check = serverCheck("serve-in", greetingProbe(() => ({ address: "127.0.0.1", port }), { clock }));
  const look = async () => {
    let isOver = false;
    const looking = Promise.resolve(check()).finally(() => isOver = true);
    await until(() => isOver, "the end of the probe", () => clock.advance(10_000));
    return await looking;
  };
  assert.deepEqual(await look(), []);
  const [problem] = await look();
  assert.equal(problem?.kind, "server");
  assert.match(problem?.what ?? "", /^serve-in does not answer: /);
});
