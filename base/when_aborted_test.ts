import assert from "node:assert/strict";
import { whenAborted } from "./when_aborted.ts";

Deno.test("whenAborted() calls back once, unless that was called off", () => {
  const controller = new AbortController();
  const called: string[] = [];
  const note = () => void called.push("same");
  whenAborted(controller.signal, note);
  const off = whenAborted(controller.signal, note);
  whenAborted(controller.signal, () => called.push("other"));
  off();
  assert.equal(called.length, 0);
  controller.abort();
  assert.deepEqual(called, ["same", "other"]);
  const late = whenAborted(controller.signal, () => called.push("late"));
  late();
  assert.deepEqual(called, ["same", "other", "late"]);
});

Deno.test("whenAborted() listens to a signal once, however many wait", () => {
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  const { addEventListener } = signal;
  signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
    listeners++;
    addEventListener.apply(signal, args);
  };
  let called = 0;
  for (let i = 0; i < 1000; i++) whenAborted(signal, () => called++);
  controller.abort();
  assert.deepEqual([listeners, called], [1, 1000]);
});
