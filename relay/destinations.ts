/**
 * Schedules destinations (a domain, or all that goes through one smarthost) in turns.
 *
 * Due messages are in one FIFO line per destination. Destinations take turns for a bounded number
 * of slots, in two rings: those with fresh mail, and those that failed lately, which never get all the slots. So
 * neither a domain with much mail nor one whose host is dead holds up the others.
 *
 * @module
 */
import type { HostTable } from "./host_table.ts";

/** What {@linkcode Destinations} needs. */
export interface DestinationsOptions<T> {
  /** Concurrent turns, at least 4; a quarter of them is reserved for destinations that have not failed. */
  readonly maxTurns: number;
  /** Concurrent turns of one destination, at least 1. */
  readonly maxTurnsEach: number;
  /** Tells when parked destinations can continue. */
  readonly hosts: Pick<HostTable, "wait" | "wakeNext">;
  /** Takes a turn, which lasts until {@linkcode Turn.end} is called. */
  readonly begin: (turn: Turn<T>) => void;
  /** No more turns begin once it is aborted. */
  readonly stopping: AbortSignal;
}

/** A slot, lent to a destination. */
export interface Turn<T> {
  /** The first item of the turn, already taken off the line. */
  readonly first: T;
  /** Takes the next item of the destination's line. */
  take(): T | undefined;
  /** Whether the line has more items. */
  more(): boolean;
  /** Whether other destinations wait because no slot is free. */
  othersWait(): boolean;
  /** Puts an item back to the head of the line, which rests until the host table calls back for this key. */
  park(item: T, key: string): void;
  /** Passes a slot at the host that the turn did not use to the next destination that waits for it. */
  wakeNext(): void;
  /** Returns the slot. To be called once. */
  end(): void;
}

/** The state of one destination. */
export interface DestinationStatus {
  /** Items in its line. */
  readonly ready: number;
  /** Turns under way. */
  readonly active: number;
  /** Whether its line waits for a host. */
  readonly resting: boolean;
}

interface Destination<T> {
  readonly name: string;
  readonly ready: Line<T>;
  turns: number;
  /** Whether it is in one of the rings. */
  queued: boolean;
  /** What it waits for, as the {@linkcode HostTable} calls it. */
  parked?: string;
  /** The wake-up to acknowledge at the host table. */
  woken?: string;
}

// A quarter of the places is for what has not failed yet.
const SLOW_SHARE = 0.75;
const MAX_STRUGGLING = 10_000;

/** All destinations with something due. An item whose `at` is not 0 is one that was tried before. */
export class Destinations<T extends { readonly at: number }> {
  readonly #options: DestinationsOptions<T>;
  /** Concurrent turns of one destination, at least 1. */
  maxTurnsEach: number;
  readonly #destinations = new Map<string, Destination<T>>();
  /** Destinations with something due, in turn: those with fresh mail, and those that failed lately. */
  readonly #rings = { fresh: new Line<Destination<T>>(), slow: new Line<Destination<T>>() };
  /** Destinations whose last attempt reached no host, oldest first. */
  readonly #struggling = new Set<string>();
  #ready = 0;
  #active = 0;
  #slowActive = 0;
  #slowTurn = false;

  /** Starts no turn before {@linkcode Destinations.add}. */
  constructor(options: DestinationsOptions<T>) {
    this.#options = options;
    this.maxTurnsEach = options.maxTurnsEach;
  }

  /** Items in all lines. */
  get ready(): number {
    return this.#ready;
  }

  /** Turns under way. */
  get active(): number {
    return this.#active;
  }

  /** The state of this destination. */
  status(name: string): DestinationStatus {
    const { ready, turns, parked } = this.#destinations.get(name) ?? {};
    return { ready: ready?.size ?? 0, active: turns ?? 0, resting: parked !== undefined };
  }

  /** Puts an item at the end of its destination's line; its turn may begin at once. */
  add(name: string, item: T): void {
    let destination = this.#destinations.get(name);
    if (destination === undefined) {
      destination = { name, ready: new Line(), turns: 0, queued: false };
      this.#destinations.set(name, destination);
    }
    destination.ready.push(item);
    this.#ready++;
    this.#queue(destination);
    this.#dispatch();
  }

  /** Remembers whether the last attempt reached a server: if not, the destination gets one turn at a time. */
  noteAttempt(name: string, { reached }: { reached: boolean }): void {
    this.#struggling.delete(name);
    if (reached) return;
    this.#struggling.add(name);
    for (const oldest of this.#struggling) {
      if (this.#struggling.size <= MAX_STRUGGLING) break;
      this.#struggling.delete(oldest);
    }
  }

  /** Forgets what {@linkcode Destinations.noteAttempt} was told. */
  clearBackoff(): void {
    this.#struggling.clear();
  }

  /** The items of all lines. */
  *items(): Generator<T, void, void> {
    for (const { ready } of this.#destinations.values()) yield* ready.values();
  }

  /** Drops items from the lines for which `isKept` is false; looks at all. */
  retain(isKept: (item: T) => boolean): void {
    for (const { ready } of this.#destinations.values()) this.#ready -= ready.retain(isKept);
  }

  #isSlow({ name, ready }: Destination<T>): boolean {
    const first = ready.peek();
    return this.#struggling.has(name) || (first !== undefined && first.at !== 0);
  }

  /** Starts the next turn of a destination, if it needs one. */
  #queue(destination: Destination<T>): void {
    const { ready, turns, queued, parked, name } = destination;
    // One connection is enough to find out whether the host is back.
    const most = this.#struggling.has(name) ? 1 : this.maxTurnsEach;
    if (queued || parked !== undefined || ready.size === 0 || turns >= most) return;
    destination.queued = true;
    this.#rings[this.#isSlow(destination) ? "slow" : "fresh"].push(destination);
  }

  #next(): { destination: Destination<T>; slow: boolean } | undefined {
    const { fresh, slow } = this.#rings;
    const mayBeSlow = slow.size > 0 && this.#slowActive < this.#options.maxTurns * SLOW_SHARE;
    const takeSlow = mayBeSlow && (this.#slowTurn || fresh.size === 0);
    this.#slowTurn = !takeSlow;
    const destination = (takeSlow ? slow : fresh).shift();
    return destination && { destination, slow: takeSlow };
  }

  #dispatch(): void {
    const { maxTurns, hosts, begin, stopping } = this.#options;
    while (this.#active < maxTurns && !stopping.aborted) {
      const next = this.#next();
      if (next === undefined) return;
      const { destination, slow } = next;
      const { woken } = destination;
      destination.queued = false;
      delete destination.woken;
      const first = this.#take(destination);
      if (first === undefined) {
        if (woken !== undefined) hosts.wakeNext(woken);
        this.#forgetIdle(destination);
        continue;
      }
      destination.turns++;
      this.#active++;
      if (slow) this.#slowActive++;
      this.#queue(destination);
      begin(this.#turn(destination, { first, slow, woken }));
    }
  }

  #turn(
    destination: Destination<T>,
    { first, slow, woken }: { first: T; slow: boolean; woken: string | undefined },
  ): Turn<T> {
    const { maxTurns, hosts } = this.#options;
    return {
      first,
      take: () => this.#take(destination),
      more: () => destination.ready.size > 0,
      othersWait: () => this.#active >= maxTurns && this.#rings.fresh.size + this.#rings.slow.size > 0,
      park: (item, key) => {
        destination.ready.unshift(item);
        this.#ready++;
        this.#park(destination, key);
      },
      wakeNext: () => {
        if (woken !== undefined) hosts.wakeNext(woken);
      },
      end: () => {
        destination.turns--;
        this.#active--;
        if (slow) this.#slowActive--;
        this.#queue(destination);
        this.#forgetIdle(destination);
        this.#dispatch();
      },
    };
  }

  #take({ ready }: Destination<T>): T | undefined {
    const item = ready.shift();
    if (item !== undefined) this.#ready--;
    return item;
  }

  #park(destination: Destination<T>, key: string): void {
    if (destination.parked !== undefined) return;
    const { hosts } = this.#options;
    destination.parked = key;
    hosts.wait(key, () => {
      delete destination.parked;
      this.#queue(destination);
      if (destination.queued) destination.woken = key;
      else {
        this.#forgetIdle(destination);
        hosts.wakeNext(key);
      }
      this.#dispatch();
    });
  }

  #forgetIdle(destination: Destination<T>): void {
    const { name, ready, turns, parked, queued } = destination;
    // In a ring it still has a turn to come.
    if (ready.size === 0 && turns === 0 && parked === undefined && !queued) this.#destinations.delete(name);
  }
}

/** A FIFO that does not move its items. */
class Line<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  peek(): T | undefined {
    return this.#items[this.#head];
  }

  push(item: T): void {
    this.#items.push(item);
  }

  unshift(item: T): void {
    if (this.#head === 0) this.#items.unshift(item);
    else this.#items[--this.#head] = item;
  }

  *values(): Generator<T, void, void> {
    for (let at = this.#head; at < this.#items.length; at++) {
      const item = this.#items[at];
      if (item !== undefined) yield item;
    }
  }

  /** Drops those for which `isKept` is false; how many. */
  retain(isKept: (item: T) => boolean): number {
    const before = this.size;
    this.#items = this.#items.slice(this.#head).filter((item) => item !== undefined && isKept(item));
    this.#head = 0;
    return before - this.size;
  }

  shift(): T | undefined {
    if (this.size === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head > 32 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
