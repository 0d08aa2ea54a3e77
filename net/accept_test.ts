import assert from "node:assert/strict";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { FakeConn, FakeListener } from "../tests/support/fake_listener.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { acceptAll } from "./accept.ts";

Deno.test("acceptAll() leaves the next connection to others for a moment, where it is told to, and then accepts again", async () => {
  const clock = new FakeClock();
  const listener = new FakeListener();
  const admitted: Deno.Conn[] = [];
  const accepting = acceptAll(listener as unknown as Deno.Listener, {
    admit: (conn) => void admitted.push(conn),
    ended: () => listener.closed,
    leavesNext: () => admitted.length === 2,
    clock,
    logger: new RecordingLog(),
  });
  for (let count = 0; count < 4; count++) listener.offer(new FakeConn("192.0.2.1"));
  await settle();
  assert.equal(admitted.length, 2);
  assert.equal(listener.accepts, 2, "it waits for none meanwhile");
  await clock.advance(100);
  assert.equal(admitted.length, 4);
  assert.equal(clock.pending, 0);
  listener.close();
  await accepting;
});
