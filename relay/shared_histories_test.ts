// Histories of two schedulers on one queue in memory, with a model of a database.
import { setImmediate } from "node:timers";
import { FakeClock } from "../tests/support/fake_clock.ts";
import {
  Failures,
  histories,
  History,
  type HistoryProcess,
  type HistoryQueue,
  type HostClock,
} from "../tests/support/histories.ts";
import { fc } from "../tests/support/property.ts";
import { DAY, World } from "../tests/support/scheduler_world.ts";
import { SharedMemoryQueue } from "../tests/support/shared_memory_queue.ts";

/** How many histories; `MAILAPP_HISTORIES=100000` for the long form. */
const RUNS = Number(Deno.env.get("MAILAPP_HISTORIES") ?? 200);

const turn = () => new Promise<void>((resolve) => void setImmediate(resolve));

class MemoryProcess implements HistoryProcess {
  readonly failures = new Failures();
  accepts = true;

  constructor(readonly world: World) {
    this.#queue.before = ({ kind }) => {
      if (this.failures.take(kind, ["commit"])) throw new Error("the commit is lost");
    };
    this.#queue.after = ({ kind }) => {
      if (this.failures.take(kind, ["answer"])) throw new Error("the answer is lost");
    };
  }

  get #queue(): SharedMemoryQueue {
    return this.world.queue as SharedMemoryQueue;
  }

  expire(): Promise<void> {
    this.accepts = false;
    this.#queue.expire();
    return Promise.resolve();
  }

  revive(): Promise<void> {
    if (!this.accepts) this.#queue.revive();
    this.accepts = true;
    return Promise.resolve();
  }

  kill(): Promise<void> {
    this.#queue.before = () => new Promise(() => {});
    this.#queue.expire();
    return Promise.resolve();
  }
}

class MemoryHistoryQueue implements HistoryQueue {
  readonly clock = new FakeClock(undefined, { settle: async () => void (await turn(), await turn()) });
  #latest: World | undefined;

  start(hostClock: HostClock, latest: World | undefined): Promise<HistoryProcess> {
    // The ids of its messages begin like those of the latest one, and go on otherwise.
    this.#latest = new World({}, { sharedWith: latest ?? "nobody", clock: this.clock, hostClock });
    return Promise.resolve(new MemoryProcess(this.#latest));
  }

  pass(ms: number): Promise<void> {
    return this.clock.advance(ms);
  }

  finish(): Promise<void> {
    return this.clock.advance(7 * DAY);
  }

  left(): Promise<readonly unknown[]> {
    return Promise.resolve(this.#latest?.queue.entries ?? []);
  }

  get recorded(): ReadonlySet<string> {
    return (this.#latest?.queue as SharedMemoryQueue).store.unanswered;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

Deno.test(`two schedulers on one queue lose nothing, and double nothing without a record, in ${RUNS} histories`, async () => {
  const steps = histories({
    kinds: ["add", "update", "remove", "dotSent", "dotAnswered"],
    ways: ["commit", "answer"],
    times: [1, 2, 3, 4],
  });
  await fc.assert(
    fc.asyncProperty(steps, (steps) => new History(new MemoryHistoryQueue()).run(steps)),
    { numRuns: RUNS, ...(RUNS <= 200 && { seed: 1 }) },
  );
});
