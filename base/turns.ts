/**
 * Fairness among connections: the runtime gives out what is at hand, bytes to read or room to write, without a turn of
 * the event loop. Clients that send on without a pause would hold up all others, and their own deadlines.
 *
 * What a piece of work costs can only be guessed, and an attacker looks for work that costs more. So the clock decides:
 * once the event loop has not had its turn for a while, every flow of execution waits for it.
 *
 * @module
 */
import { type Clock, systemClock } from "./clock.ts";

/** So long may all flows together hold the event loop, in milliseconds; giving it its turn takes one, the shortest timer. */
const STRETCH = 20;
/** While there is much to do, a timer of so many milliseconds shows when the event loop had its turn. */
const PULSE = 5;
/** A look at the clock takes half a microsecond: one is taken whenever so much has been spent. */
const LOOK = 64 * 1024;
/** So many flows go on in one turn, in the order of waiting, each with one piece of work at least. */
const GO_AT_ONCE = 8;
/** A flow that has spent so little in a turn never waits: who says EHLO need not queue with those who send gigabytes. */
const LITTLE = 32 * 1024;

/** The event loop that a clock's flows share. */
class EventLoop {
  static readonly #loops = new WeakMap<Clock, EventLoop>();
  readonly #clock: Clock;
  readonly #waiting: (() => void)[] = [];
  #flows = 0;
  /** What all flows have spent since the last look at the clock. */
  #spent = 0;
  /** When the event loop last had its turn, as far as is known. */
  #turnedAt = 0;
  /** Whether that is too long ago. */
  #held = false;
  /** How often the event loop is known to have had its turn. */
  turn = 0;
  #pulse: ReturnType<typeof setInterval> | undefined;
  #looked = false;

  private constructor(clock: Clock) {
    this.#clock = clock;
  }

  static of(clock: Clock): EventLoop {
    let loop = this.#loops.get(clock);
    if (loop === undefined) this.#loops.set(clock, loop = new EventLoop(clock));
    return loop;
  }

  enter(): void {
    this.#flows++;
  }

  leave(): void {
    if (--this.#flows === 0) this.#stopPulse();
  }

  /** @param inTurn What the flow has spent in this turn, with these costs. */
  spend(cost: number, inTurn: number): Promise<void> | void {
    if (!this.#held) {
      this.#spent += cost;
      if (this.#spent < LOOK) return;
      this.#spent = 0;
      if (!this.#look()) return;
    }
    if (inTurn <= LITTLE) return;
    return new Promise((resolve) => {
      // Not setImmediate(): in Deno 2.9 a loop of these lets timers pass, and hardly any I/O.
      if (this.#waiting.push(resolve) === 1) setTimeout(this.#goOn, 0);
    });
  }

  /** Whether the event loop is held for too long. */
  #look(): boolean {
    const now = this.#clock.monotonic();
    this.#looked = true;
    if (this.#pulse === undefined) {
      this.#turnedAt = now;
      const pulse = this.#pulse = setInterval(this.#beat, PULSE);
      Deno.unrefTimer(pulse);
    }
    return this.#held = now - this.#turnedAt >= STRETCH;
  }

  readonly #beat = (): void => {
    this.#noteTurn();
    if (!this.#looked) this.#stopPulse();
    this.#looked = false;
  };

  #stopPulse(): void {
    clearInterval(this.#pulse);
    this.#pulse = undefined;
  }

  #noteTurn(): void {
    this.#turnedAt = this.#clock.monotonic();
    this.#held = false;
    this.turn++;
  }

  readonly #goOn = (): void => {
    this.#noteTurn();
    for (const go of this.#waiting.splice(0, GO_AT_ONCE)) go();
    if (this.#waiting.length > 0) setTimeout(this.#goOn, 0);
  };
}

/** One flow of execution, such as a connection, among those that share the event loop. Dispose it at its end. */
export class Turns implements Disposable {
  readonly #loop: EventLoop;
  #turn = 0;
  #spentInTurn = 0;
  #over = false;

  /** @param clock Measures how long the event loop is held. */
  constructor(clock: Clock = systemClock) {
    this.#loop = EventLoop.of(clock);
    this.#loop.enter();
  }

  /**
   * To be called with each piece of work; mostly returns nothing, else resolves when the event loop has had its turn.
   * @param cost What it takes, roughly, in octets of mail data that take as long: 64 Ki are some 0.1 ms.
   */
  spend(cost: number): Promise<void> | void {
    const { turn } = this.#loop;
    this.#spentInTurn = turn === this.#turn ? this.#spentInTurn + cost : cost;
    this.#turn = turn;
    return this.#loop.spend(cost, this.#spentInTurn);
  }

  /** The flow is over. Safe to call twice. */
  [Symbol.dispose](): void {
    if (!this.#over) this.#loop.leave();
    this.#over = true;
  }
}
