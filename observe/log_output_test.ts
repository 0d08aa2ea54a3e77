import assert from "node:assert/strict";
import { type LogDestination, LogOutput } from "./log_output.ts";

/** A destination that takes a write when told to. */
class Gate implements LogDestination {
  text = "";
  closed = false;
  writes = 0;
  #held: PromiseWithResolvers<void> | undefined;
  failure: Error | undefined;

  hold(): void {
    this.#held = Promise.withResolvers();
  }

  release(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }

  async write(data: Uint8Array): Promise<number> {
    this.writes++;
    await this.#held?.promise;
    if (this.failure) throw this.failure;
    // As a pipe does: a part at a time.
    const part = data.subarray(0, 10);
    this.text += new TextDecoder().decode(part);
    return part.length;
  }

  close(): void {
    this.closed = true;
  }
}

function output(gates: (Gate | Error)[], options: { capacity?: number; timeout?: number } = {}) {
  const failures: unknown[] = [];
  const queue = new LogOutput({
    open() {
      const next = gates.shift();
      if (next instanceof Gate) return next;
      throw next;
    },
    lost: (count) => `lost ${count}`,
    failed: (error) => failures.push(error),
    ...options,
  });
  return { queue, failures };
}

Deno.test("write() keeps order, and dispose writes what waits and closes", async () => {
  const gate = new Gate();
  const { queue } = output([gate]);
  for (let i = 0; i < 20; i++) queue.write(`line ${i}`);
  assert.equal(gate.text, "");
  await queue[Symbol.asyncDispose]();
  assert.equal(gate.text, Array.from({ length: 20 }, (_, i) => `line ${i}\n`).join(""));
  assert.ok(gate.closed);
});

Deno.test("dispose does not wait for ever for a destination that blocks", async () => {
  const gate = new Gate();
  const { queue } = output([gate], { timeout: 1 });
  gate.hold();
  queue.write("nobody reads this");
  await queue[Symbol.asyncDispose]();
  assert.ok(gate.closed);
  gate.release();
});

Deno.test("write() drops and counts while the destination blocks and the queue is full", async () => {
  const gate = new Gate();
  gate.hold();
  const { queue } = output([gate], { capacity: 20 });
  queue.write("12345");
  await Promise.resolve();
  queue.write("67890");
  for (let i = 0; i < 1000; i++) queue.write("more than there is room for");
  queue.write("abcdefghij");
  gate.release();
  await queue.flush();
  queue.write("again");
  await queue.flush();
  assert.equal(gate.text, "12345\n67890\nabcdefghij\nlost 1000\nagain\n");
  await queue[Symbol.asyncDispose]();
});

Deno.test("write() survives a destination that fails, tells once, and counts what was lost", async () => {
  const gate = new Gate();
  gate.failure = new Error("No space left on device");
  const { queue, failures } = output([gate]);
  for (const line of ["one", "two", "three"]) {
    queue.write(line);
    await queue.flush();
  }
  gate.failure = undefined;
  queue.write("four");
  await queue.flush();
  assert.equal(failures.length, 1);
  assert.match(gate.text, /^four\nlost \d\n$/);
  await queue[Symbol.asyncDispose]();
});

Deno.test("reopen() goes on in a new destination, with nothing lost between", async () => {
  const [before, after] = [new Gate(), new Gate()];
  const { queue, failures } = output([before, after]);
  queue.write("old");
  await queue.reopen();
  queue.write("new");
  await queue.flush();
  assert.deepEqual([before.text, before.closed, after.text, failures], ["old\n", true, "new\n", []]);
  await queue[Symbol.asyncDispose]();
});

Deno.test("reopen() stays with the old destination when the new one cannot be opened", async () => {
  const gate = new Gate();
  const { queue, failures } = output([gate, new Error("permission denied")]);
  await assert.rejects(queue.reopen(), /permission denied/);
  queue.write("still here");
  await queue.flush();
  assert.equal(gate.text, "still here\n");
  assert.match(String(failures[0]), /permission denied/);
  await queue[Symbol.asyncDispose]();
});
