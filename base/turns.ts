/**
 * Fairness among connections: reads and writes that can complete at once do so without a turn of
 * the event loop. Clients that send without pause would hold up all others, and their own deadlines.
 *
 * The cost of a piece of work is only an estimate, and attackers look for work that costs more. So the clock decides:
 * once the event loop has not had its turn for a while, every flow of execution waits for it.
 *
 * @module
 */
import { type Clock, systemClock } from "./clock.ts";

/**
 * The longest time in milliseconds that all flows together hold the event loop; yielding takes one, the shortest timer.
 */
const STRETCH = 10;
/** Under load, the interval in milliseconds of the timer that shows when the event loop had its turn. */
const HEARTBEAT = 5;
/** Cost after which the clock is read, which takes half a microsecond. */
const CLOCK_CHECK = 64 * 1024;
/** Flows that resume in one turn, in the order of waiting, each with at least one piece of work. */
const GO_AT_ONCE = 8;
/** A flow that has spent less than this in a turn never waits: an EHLO need not queue with gigabytes of mail data. */
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
  #heartbeat: ReturnType<typeof setInterval> | undefined;
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
    if (--this.#flows === 0) this.#stopHeartbeat();
  }

  /** @param inTurn What the flow has spent in this turn, with these costs. */
  spend(cost: number, inTurn: number): Promise<void> | void {
    if (!this.#held) {
      this.#spent += cost;
      if (this.#spent < CLOCK_CHECK) return;
      this.#spent = 0;
      if (!this.#checkClock()) return;
    }
    if (inTurn <= LITTLE) return;
    return new Promise((resolve) => {
      // Not setImmediate(): in Deno 2.9 a loop of these lets timers pass, and hardly any I/O.
      if (this.#waiting.push(resolve) === 1) setTimeout(this.#resume, 0);
    });
  }

  /** Whether the event loop is held for too long. */
  #checkClock(): boolean {
    const now = this.#clock.monotonic();
    this.#looked = true;
    if (this.#heartbeat === undefined) {
      this.#turnedAt = now;
      const heartbeat = this.#heartbeat = setInterval(this.#beat, HEARTBEAT);
      Deno.unrefTimer(heartbeat);
    }
    return this.#held = now - this.#turnedAt >= STRETCH;
  }

  readonly #beat = (): void => {
    this.#noteTurn();
    if (!this.#looked) this.#stopHeartbeat();
    this.#looked = false;
  };

  #stopHeartbeat(): void {
    clearInterval(this.#heartbeat);
    this.#heartbeat = undefined;
  }

  #noteTurn(): void {
    this.#turnedAt = this.#clock.monotonic();
    this.#held = false;
    this.turn++;
  }

  readonly #resume = (): void => {
    this.#noteTurn();
    for (const go of this.#waiting.splice(0, GO_AT_ONCE)) go();
    if (this.#waiting.length > 0) setTimeout(this.#resume, 0);
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
