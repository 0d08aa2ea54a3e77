import assert from "node:assert/strict";
import type { Io } from "./io.ts";
import { watchSignals } from "./signals.ts";

function fakeIo() {
  const handlers = new Map<string, () => void>();
  const exits: number[] = [];
  const io: Io = {
    env: { get: () => undefined },
    isTerminal: false,
    out() {},
    err() {},
    onSignal: (signal, callback) => void handlers.set(signal, callback),
    exitNow: (code) => void exits.push(code),
  };
  return { io, exits, raise: (signal: string) => handlers.get(signal)?.() };
}

Deno.test("watchSignals() stops at the first signal and exits at the second", async () => {
  const { io, exits, raise } = fakeIo();
  const { stopped } = watchSignals(io);
  raise("SIGINT");
  assert.equal(await stopped, "SIGINT");
  assert.deepEqual(exits, []);
  raise("SIGTERM");
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
