import assert from "node:assert/strict";
import { SerialByKey } from "./serial.ts";

Deno.test("SerialByKey runs work for one key in order, and for others at once", async () => {
  const serial = new SerialByKey();
  const events: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = serial.run("a", async () => {
    events.push("a1");
    await gate.promise;
    events.push("a1 done");
  });
  const second = serial.run("a", () => Promise.resolve(void events.push("a2")));
  await serial.run("b", () => Promise.resolve(void events.push("b1")));
  assert.deepEqual(events, ["a1", "b1"]);
  gate.resolve();
  await Promise.all([first, second]);
  assert.deepEqual(events, ["a1", "b1", "a1 done", "a2"]);
});

Deno.test("SerialByKey.run() goes on after work that failed, and tells of it", async () => {
  const serial = new SerialByKey();
  const failed = serial.run("a", () => Promise.reject(new Error("no room")));
  let ran = false;
  const next = serial.run("a", () => Promise.resolve(void (ran = true)));
  await assert.rejects(failed, /no room/);
  await next;
  assert.ok(ran);
});

Deno.test("SerialByKey.idle() waits for work that is begun meanwhile", async () => {
  const serial = new SerialByKey();
  await serial.idle();
  let done = 0;
  void serial.run("a", async () => {
    await Promise.resolve();
    void serial.run("b", async () => {
      await Promise.resolve();
      done++;
    });
    done++;
  });
  await serial.idle();
  assert.equal(done, 2);
});
