import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { recordingIo } from "../tests/support/in_process.ts";
import { watchSignals } from "./signals.ts";

function fakeIo() {
  const handlers = new Map<string, () => void>();
  const exits: number[] = [];
  const { io } = recordingIo({
    onSignal: (signal, callback) => void handlers.set(signal, callback),
    exitNow: (code) => void exits.push(code),
  });
  const clock = new FakeClock();
  return {
    io: { ...io, clock },
    clock,
    exits,
    raise: (signal: string) => handlers.get(signal)?.(),
  };
}

for (
  const pair of [["SIGTERM", "SIGTERM"], ["SIGINT", "SIGINT"], ["SIGINT", "SIGTERM"], ["SIGTERM", "SIGINT"]]
) {
  Deno.test(`watchSignals() takes ${pair.join(" and ")} within a moment for one request`, async () => {
    const { io, clock, exits, raise } = fakeIo();
    const { stopped, forced } = watchSignals(io);
    const [first = "", second = ""] = pair;
    raise(first);
    raise(second);
    await clock.advance(900);
    raise(second);
    assert.equal(await stopped, first);
    assert.deepEqual([forced.aborted, exits], [false, []]);
  });
}

Deno.test("watchSignals() hurries at a later second signal, and exits at a third", async () => {
  const { io, clock, exits, raise } = fakeIo();
  const { forced } = watchSignals(io);
  raise("SIGTERM");
  await clock.advance(1000);
  raise("SIGTERM");
  raise("SIGINT");
  assert.deepEqual([forced.aborted, exits], [true, []]);
  await clock.advance(1000);
  raise("SIGTERM");
  assert.deepEqual(exits, [0]);
});

Deno.test("watchSignals() exits where the server does not end by itself after a second signal", async () => {
  const { io, clock, exits, raise } = fakeIo();
  watchSignals(io);
  raise("SIGTERM");
  await clock.advance(1000);
  raise("SIGTERM");
  await clock.advance(9999);
  assert.deepEqual(exits, []);
  await clock.advance(1);
  assert.deepEqual(exits, [0]);
});

Deno.test("watchSignals() ends at the signal for Deno's debugger", () => {
  const { io, exits, raise } = fakeIo();
  watchSignals(io);
  raise("SIGUSR1");
  assert.deepEqual(exits, [70]);
});

Deno.test("watchSignals() makes up for a SIGHUP that came early", () => {
  const { io, raise } = fakeIo();
  const signals = watchSignals(io);
  let reloads = 0;
  raise("SIGHUP");
  signals.onReload(() => reloads++);
  assert.equal(reloads, 1);
  raise("SIGHUP");
  assert.equal(reloads, 2);
});
