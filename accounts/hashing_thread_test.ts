import assert from "node:assert/strict";
import { HashingThread, type HashingWorker, startHashingThread } from "./hashing_thread.ts";
import { type HashRequest, serveHashing } from "./hashing_worker.ts";

const MAIN = new URL("../main.ts", import.meta.url).href;

/** A worker in this thread that answers when it is told to. */
class FakeWorker implements HashingWorker {
  readonly asked: HashRequest[] = [];
  terminated = false;
  onmessage: HashingWorker["onmessage"] = null;
  onerror: HashingWorker["onerror"] = null;
  postMessage(request: HashRequest): void {
    this.asked.push(request);
  }
  terminate(): void {
    this.terminated = true;
  }
}

Deno.test("HashingThread hashes in a thread that may do nothing, started as the program starts it", async () => {
  using thread = new HashingThread(() => startHashingThread(MAIN));
  const one = await thread.hash("one");
  const two = await thread.hash("two", one);
  assert.equal(await thread.match("two", [one, two]), two);
  assert.equal(await thread.match("three", [one, two]), undefined);
  await assert.rejects(thread.match("x", ["no hash"]), /PHC/);
});

Deno.test("startHashingThread() gives the thread no permission", () => {
  const { Worker: real } = globalThis;
  let options: unknown;
  globalThis.Worker = class {
    constructor(_entry: string, given: unknown) {
      options = given;
    }
  } as unknown as typeof Worker;
  try {
    startHashingThread(MAIN);
  } finally {
    globalThis.Worker = real;
  }
  assert.deepEqual(options, { type: "module", name: "hasher", deno: { permissions: "none" } });
});

Deno.test("HashingThread refuses what is too many to wait", async () => {
  const worker = new FakeWorker();
  using thread = new HashingThread(() => worker, { maxWaiting: 2 });
  const first = thread.match("a", []);
  thread.match("b", []).catch(() => {});
  await assert.rejects(thread.match("c", []), /too many/);
  worker.onmessage?.(new MessageEvent("message", { data: { id: worker.asked[0]?.id ?? 0, result: "x" } }));
  assert.equal(await first, "x");
  assert.equal(thread.waiting, 1);
});

Deno.test("HashingThread begins anew when its thread has died, and tells who waited", async () => {
  const workers: FakeWorker[] = [];
  using thread = new HashingThread(() => {
    const worker = new FakeWorker();
    workers.push(worker);
    return worker;
  });
  const lost = thread.match("a", []);
  workers[0]?.onerror?.(new ErrorEvent("error", { message: "out of memory" }));
  await assert.rejects(lost, /has died: out of memory/);
  assert.equal(workers[0]?.terminated, true);
  const next = thread.match("b", []);
  assert.equal(workers.length, 2);
  workers[1]?.onmessage?.(
    new MessageEvent("message", { data: { id: workers[1].asked[0]?.id ?? 0, result: "y" } }),
  );
  assert.equal(await next, "y");
});

Deno.test("HashingThread tells who waits when it ends", async () => {
  const thread = new HashingThread(() => new FakeWorker());
  const waiting = thread.match("a", []);
  thread[Symbol.dispose]();
  await assert.rejects(waiting, /stopping/);
});

Deno.test("serveHashing() answers one after the other, errors too", async () => {
  const answers: unknown[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const scope: Parameters<typeof serveHashing>[0] = {
    onmessage: null,
    postMessage: (answer) => {
      if (answers.push(answer) === 2) resolve();
    },
  };
  serveHashing(scope);
  const ask = (data: HashRequest) => scope.onmessage?.(new MessageEvent("message", { data }));
  ask({ id: 1, kind: "match", password: "a", encoded: ["x"] });
  ask({ id: 2, kind: "match", password: "a", encoded: [] });
  await promise;
  assert.deepEqual(answers, [{ id: 1, error: "not an argon2id hash in PHC format" }, {
    id: 2,
    result: undefined,
  }]);
});
