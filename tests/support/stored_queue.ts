/**
 * A real queue, on disk or in a database, for tests that are written for a {@linkcode MemoryQueue}: its changes can be
 * made to fail, and what is stored can be looked at, as of the last time that the clock stood still.
 *
 * @module
 */
import { setTimeout } from "node:timers";
import type { Clock, Timer } from "../../base/clock.ts";
import type {
  NewEntry,
  Queue,
  QueuedMessage,
  QueueDraft,
  QueueSummary,
  SharedQueue,
} from "../../relay/queue.ts";
import type { QueueEntry } from "../../relay/queue_entry.ts";
import { FakeClock } from "./fake_clock.ts";
import type { QueueChange, TestQueue } from "./memory_queue.ts";
import { newEntry } from "./queue_entry.ts";

/** A queue, and what is done to it from outside. */
export interface Store {
  readonly queue: Queue;
  /** All entries as they are stored. */
  read(): Promise<QueueEntry[]>;
  /** Ends the process that has it, as far as others see: what it had begun is there or not. */
  end(): Promise<void>;
}

/** Where queues are stored. */
export interface Storage extends AsyncDisposable {
  /** A clock for a world on it. */
  readonly clock: StoreClock;
  /** Opens the queue that is there; several times only after {@linkcode Store.end}. */
  open(): Promise<Store>;
}

/** A clock that stands still until nothing reads or writes any more. */
export class StoreClock extends FakeClock {
  /** Called when all has been read and written. */
  settled: () => Promise<boolean> = () => Promise.resolve(false);
  /** Called when the clock stands still. */
  stopped: () => Promise<void> = () => Promise.resolve();
  /** Calls that have not returned. */
  running = 0;
  #own = 0;
  readonly #turn: () => Promise<void>;
  #idle: (() => void)[] = [];

  /** @param options `turn`: lets run what waits for nothing but its turn */
  constructor({ turn = timeout }: { readonly turn?: () => Promise<void> } = {}) {
    super(undefined, { settle: () => this.#settle() });
    this.#turn = turn;
  }

  /** Without the timers of the store itself. */
  override get pending(): number {
    return super.pending - this.#own;
  }

  override async advance(ms: number): Promise<void> {
    await super.advance(ms);
    await this.stopped();
  }

  /** A timer of the store itself. */
  afterForStore(ms: number, callback: () => void): Timer {
    this.#own++;
    let open = true;
    const close = () => {
      if (open) this.#own--;
      open = false;
    };
    const timer = this.after(ms, () => {
      close();
      callback();
    });
    return {
      cancel: () => {
        close();
        timer.cancel();
      },
    };
  }

  /** Counts a call until it returns. */
  async counted<T>(call: () => Promise<T>): Promise<T> {
    this.running++;
    try {
      return await call();
    } finally {
      this.running--;
      if (this.running === 0) { for (const resolve of this.#idle.splice(0)) resolve(); }
    }
  }

  async #settle(): Promise<void> {
    do {
      // What a call wakes may call again.
      for (let quiet = 0; quiet < 3; quiet = this.running > 0 ? 0 : quiet + 1) {
        if (this.running > 0) await new Promise<void>((resolve) => void this.#idle.push(resolve));
        await this.#turn();
      }
    } while (await this.settled());
  }
}

function timeout(): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, 0));
}

/** The queue. */
export class StoredQueue implements TestQueue {
  readonly shared?: SharedQueue;
  readonly changes: QueueChange[] = [];
  before: TestQueue["before"] = () => {};
  after: TestQueue["after"] = () => {};
  #entries: QueueEntry[] = [];
  readonly #store: Store;
  readonly #clock: Pick<StoreClock, "counted">;
  #ended = false;

  /** @param clock Counts its calls */
  constructor(store: Store, clock: Pick<StoreClock, "counted">) {
    this.#store = store;
    this.#clock = clock;
    const { shared } = store.queue;
    if (shared !== undefined) this.shared = shared;
  }

  get entries(): QueueEntry[] {
    return structuredClone(this.#entries);
  }

  /** Looks at what is stored. */
  async refresh(): Promise<void> {
    if (!this.#ended) this.#entries = await this.#store.read();
  }

  /** From now on nobody has this queue any more. */
  async end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#store.end();
  }

  async put(
    recipients: Parameters<TestQueue["put"]>[0],
    options: Partial<QueueEntry> = {},
  ): Promise<QueueSummary> {
    const message = new TextEncoder().encode("Subject: x\r\n\r\nx\r\n");
    const { id, ...rest } = newEntry(recipients, { ...options, id: options.id ?? this.newId() });
    const draft = this.begin(id);
    await draft.write(message);
    return await draft.commit(rest, new Uint8Array());
  }

  newId(): string {
    return this.#store.queue.newId();
  }

  ageOf(entry: Pick<QueueEntry, "id" | "acceptedAt">): number {
    return this.#store.queue.ageOf(entry);
  }

  begin(id: string): QueueDraft {
    const draft = this.#store.queue.begin(id);
    return {
      id,
      get size() {
        return draft.size;
      },
      write: (chunk) => draft.write(chunk),
      chunks: () => draft.chunks(),
      commit: (rest, prepend) => this.#change({ kind: "add", id }, () => draft.commit(rest, prepend)),
      [Symbol.asyncDispose]: () => draft[Symbol.asyncDispose](),
    };
  }

  add(entry: NewEntry, message: Uint8Array): Promise<void> {
    return this.#change({ kind: "add", id: entry.id }, () => this.#store.queue.add(entry, message));
  }

  async *scan(): AsyncGenerator<QueueSummary> {
    const scan = this.#store.queue.scan()[Symbol.asyncIterator]();
    for (;;) {
      const { done, value } = await this.#call(() => scan.next());
      if (done) return;
      yield value;
    }
  }

  ids(): AsyncIterable<string> {
    return this.#store.queue.ids();
  }

  load(id: string): Promise<QueueEntry | undefined> {
    return this.#call(() => this.#store.queue.load(id));
  }

  update(entry: QueueEntry): Promise<void> {
    // Not a copy: the queue may know it as one that it has given out.
    return this.#change({ kind: "update", id: entry.id }, () => this.#store.queue.update(entry));
  }

  remove(id: string): Promise<void> {
    return this.#change({ kind: "remove", id }, () => this.#store.queue.remove(id));
  }

  open(id: string): Promise<QueuedMessage> {
    return this.#call(() => this.#store.queue.open(id));
  }

  dotSent(id: string, dot: Parameters<Queue["dotSent"]>[1]): Promise<void> {
    return this.#change({ kind: "dotSent", id }, () => this.#store.queue.dotSent(id, dot));
  }

  dotAnswered(id: string, answer: Parameters<Queue["dotAnswered"]>[1]): Promise<void> {
    return this.#change({ kind: "dotAnswered", id }, () => this.#store.queue.dotAnswered(id, answer));
  }

  async #change<T>(change: QueueChange, apply: () => Promise<T>): Promise<T> {
    await Promise.resolve();
    await this.before(change);
    const result = await this.#call(apply);
    this.changes.push(change);
    this.after(change);
    return result;
  }

  #call<T>(call: () => Promise<T>): Promise<T> {
    // A process that is gone waits for ever.
    return this.#ended ? new Promise(() => {}) : this.#clock.counted(call);
  }
}

/** A clock for the store itself: `after` may treat its timers in another way. */
export function storeClock(
  clock: StoreClock,
  after: Clock["after"] = (ms, callback) => clock.afterForStore(ms, callback),
): Clock {
  return { now: () => clock.now(), monotonic: () => clock.monotonic(), after };
}
