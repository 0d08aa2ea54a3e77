/**
 * Counts connections over several threads: a table in shared memory, behind a lock that is held for a microsecond.
 *
 * A thread that is ended from outside may leave its connections counted, and even the lock taken. Whoever ends it calls
 * {@linkcode SharedConnectionCounts.forget}.
 *
 * @module
 */
import { ipBytes } from "../net/ip_address.ts";
import type { ConnectionCaps, ConnectionCounts, ExceededCap } from "./connection_counts.ts";

// Words of the header: the lock (0, or the number of its holder and 1), connections in all, clients in the table; then
// the connections of each thread.
const LOCK = 0;
const TOTAL = 1;
const CLIENTS = 2;
const OF_THREADS = 3;
// Words of an entry: the client, its connections in all; then those of each thread.
const CLIENT = 0;
const COUNT = 2;
const COUNTS = 3;
/** Clients at a time, at least. */
const MIN_CLIENTS = 8192;
/** Tries to take the lock before the thread sleeps, and how long it sleeps at most, in milliseconds. */
const TRIES = 200;
const PAUSE = 1;

/** What the threads share: plain data, to be sent to each of them. */
export interface SharedCounts {
  /** The table. */
  readonly words: Int32Array<SharedArrayBuffer>;
  /** How many threads count in it. */
  readonly threads: number;
  /** Part of the hash, so that clients cannot choose addresses that meet in one place. */
  readonly seed: number;
}

/** Makes an empty table for `threads` threads and at least `clients` clients at a time. */
export function createSharedCounts(
  { threads, clients }: { readonly threads: number; readonly clients: number },
): SharedCounts {
  const capacity = 2 ** Math.ceil(Math.log2(2 * Math.max(clients, MIN_CLIENTS)));
  const words = OF_THREADS + threads + capacity * (COUNTS + threads);
  const [seed = 0] = crypto.getRandomValues(new Int32Array(1));
  return { words: new Int32Array(new SharedArrayBuffer(4 * words)), threads, seed };
}

/**
 * The counts as one thread sees them.
 *
 * The table is an open hash table with linear probing. A client without connections is removed, so that it never has
 * more entries than there are connections. When it is three quarters full, which takes a higher limit than it was made
 * for, further clients are refused.
 */
export class SharedConnectionCounts implements ConnectionCounts {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #threads: number;
  readonly #thread: number;
  readonly #seed: number;
  readonly #capacity: number;

  /** @param thread the number of this thread, from 0; or `shared.threads` for the one that only looks and forgets */
  constructor(shared: SharedCounts, thread: number) {
    this.#words = shared.words;
    this.#threads = shared.threads;
    this.#thread = thread;
    this.#seed = shared.seed;
    this.#capacity = (shared.words.length - OF_THREADS - shared.threads) / (COUNTS + shared.threads);
  }

  get total(): number {
    return Atomics.load(this.#words, TOTAL);
  }

  /** Whether this thread has at least two connections more than the mean of all threads. */
  get isAhead(): boolean {
    return (this.totalOf(this.#thread) - 2) * this.#threads >= this.total;
  }

  /** The connections of one thread. */
  totalOf(thread: number): number {
    return Atomics.load(this.#words, OF_THREADS + thread);
  }

  admit(group: string, { maxConnections, maxConnectionsPerIp }: ConnectionCaps): ExceededCap | undefined {
    const words = this.#words;
    const [high, low] = clientWords(group);
    this.#lock();
    try {
      if (word(words, TOTAL) >= maxConnections) return "all";
      const entry = this.#find(high, low);
      if (word(words, entry + COUNT) >= maxConnectionsPerIp) return "client";
      if (words[entry + COUNT] === 0) {
        if (word(words, CLIENTS) * 4 >= this.#capacity * 3) return "all";
        words[entry + CLIENT] = high;
        words[entry + CLIENT + 1] = low;
        add(words, CLIENTS, 1);
      }
      this.#count(entry, 1);
      return undefined;
    } finally {
      this.#unlock();
    }
  }

  release(group: string): void {
    const [high, low] = clientWords(group);
    this.#lock();
    try {
      const entry = this.#find(high, low);
      if (word(this.#words, entry + COUNTS + this.#thread) === 0) return;
      this.#count(entry, -1);
      if (this.#words[entry + COUNT] === 0) this.#remove(entry);
    } finally {
      this.#unlock();
    }
  }

  /** A thread has ended, without releasing its connections; whatever it was doing, the table is sound afterwards. */
  forget(thread: number): void {
    const words = this.#words;
    Atomics.compareExchange(words, LOCK, thread + 1, 0);
    this.#lock();
    try {
      const kept: number[][] = [];
      const size = COUNTS + this.#threads;
      for (let entry = OF_THREADS + this.#threads; entry < words.length; entry += size) {
        const counts = Array.from(words.subarray(entry + COUNTS, entry + size));
        counts[thread] = 0;
        if (counts.some((count) => count > 0)) {
          kept.push([word(words, entry + CLIENT), word(words, entry + CLIENT + 1), ...counts]);
        }
      }
      words.fill(0, TOTAL);
      for (const [high = 0, low = 0, ...counts] of kept) {
        const entry = this.#find(high, low);
        words[entry + CLIENT] = high;
        words[entry + CLIENT + 1] = low;
        add(words, CLIENTS, 1);
        for (const [index, count] of counts.entries()) {
          words[entry + COUNTS + index] = count;
          for (const total of [entry + COUNT, TOTAL, OF_THREADS + index]) add(words, total, count);
        }
      }
    } finally {
      this.#unlock();
    }
  }

  #count(entry: number, by: 1 | -1): void {
    const words = this.#words;
    for (const total of [entry + COUNTS + this.#thread, entry + COUNT, TOTAL, OF_THREADS + this.#thread]) {
      add(words, total, by);
    }
  }

  /** The client's entry, or the free one where it belongs. */
  #find(high: number, low: number): number {
    const words = this.#words;
    let slot = this.#slotOf(high, low);
    for (;;) {
      const entry = this.#entry(slot);
      if (words[entry + COUNT] === 0) return entry;
      if (words[entry + CLIENT] === high && words[entry + CLIENT + 1] === low) return entry;
      slot = (slot + 1) & (this.#capacity - 1);
    }
  }

  /** Removes an entry, and moves those behind it up that were pushed on by it. */
  #remove(removed: number): void {
    const words = this.#words;
    const size = COUNTS + this.#threads;
    const mask = this.#capacity - 1;
    let hole = (removed - OF_THREADS - this.#threads) / size;
    for (let slot = (hole + 1) & mask; word(words, this.#entry(slot) + COUNT) > 0; slot = (slot + 1) & mask) {
      const entry = this.#entry(slot);
      const home = this.#slotOf(word(words, entry + CLIENT), word(words, entry + CLIENT + 1));
      // It may stay if its own place is behind the hole.
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      words.copyWithin(this.#entry(hole), entry, entry + size);
      hole = slot;
    }
    const free = this.#entry(hole);
    words.fill(0, free, free + size);
    add(words, CLIENTS, -1);
  }

  #entry(slot: number): number {
    return OF_THREADS + this.#threads + slot * (COUNTS + this.#threads);
  }

  #slotOf(high: number, low: number): number {
    let hash = Math.imul(high ^ this.#seed, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15) ^ low, 0xc2b2ae35);
    hash ^= hash >>> 15;
    hash = Math.imul(hash, 0x2c1b3c6d);
    return (hash ^ (hash >>> 13)) & (this.#capacity - 1);
  }

  #lock(): void {
    for (let tries = 1;; tries++) {
      const holder = Atomics.compareExchange(this.#words, LOCK, 0, this.#thread + 1);
      if (holder === 0) return;
      if (tries > TRIES) Atomics.wait(this.#words, LOCK, holder, PAUSE);
    }
  }

  #unlock(): void {
    Atomics.store(this.#words, LOCK, 0);
    Atomics.notify(this.#words, LOCK, 1);
  }
}

function word(words: Int32Array, index: number): number {
  return words[index] as number;
}

function add(words: Int32Array, index: number, by: number): void {
  words[index] = word(words, index) + by;
}

/** The client in two words. An IPv4 address stands in a network of IPv6 that no client can come from. */
function clientWords(group: string): readonly [number, number] {
  const bytes = ipBytes(group.replace(/\/64$/, ""));
  if (bytes === undefined) return [-1, -1];
  const view = new DataView(bytes.buffer);
  return bytes.length === 4 ? [-2, view.getInt32(0)] : [view.getInt32(0), view.getInt32(4)];
}
