/**
 * A resolver with a bound on the time that is spent waiting for it.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { Watchdog } from "../base/watchdog.ts";
import type { NotedAnswers } from "./noted_answers.ts";
import type { Answer, Resolver } from "./resolver.ts";
import type { Query } from "./wire_answer.ts";
import { WrappedResolver } from "./wrapped_resolver.ts";

/** What it depends on. */
export interface TimedResolverOptions {
  /** Answers. */
  readonly resolver: Resolver;
  /** Measures the time. */
  readonly clock: Clock;
  /** Milliseconds for all questions together. */
  readonly timeoutMs: number;
  /** Takes each answer, also those that did not come in time. */
  readonly noted?: NotedAnswers | undefined;
}

const NO_TIME = { kind: "failed", reason: "no time left for DNS" } as const;
const GIVEN_UP = { kind: "failed", reason: "given up" } as const;

/**
 * Asks another resolver, for no longer than a given time in all: only the time counts in which a question waits, and
 * questions that wait together count once. From then on every question is answered `failed` at once.
 */
export class TimedResolver extends WrappedResolver implements Disposable {
  /** What has been answered so far; absent where nobody asked for that. */
  readonly noted: NotedAnswers | undefined;
  readonly #clock: Clock;
  readonly #watchdog: Watchdog;
  /** Settles when the time is up. */
  readonly #over = Promise.withResolvers<typeof GIVEN_UP>();
  #exhausted = false;
  #left: number;
  #waiting = 0;
  #since = 0;

  /** The time begins with the first question. */
  constructor({ resolver, clock, timeoutMs, noted }: TimedResolverOptions) {
    super(resolver);
    this.noted = noted;
    this.#clock = clock;
    this.#watchdog = new Watchdog(clock, () => this.#end());
    this.#left = timeoutMs;
  }

  /** Whether the time is up. */
  get exhausted(): boolean {
    return this.#exhausted;
  }

  /** Another one, which has the time that is left here and so much more. */
  prolonged(moreMs: number): TimedResolver {
    const waited = this.#waiting > 0 ? this.#clock.monotonic() - this.#since : 0;
    const left = this.#exhausted ? 0 : Math.max(0, this.#left - waited);
    return new TimedResolver({
      resolver: this.inner,
      clock: this.#clock,
      timeoutMs: left + moreMs,
      noted: this.noted,
    });
  }

  /** Answers what still waits with `failed`, and all later questions. */
  [Symbol.dispose](): void {
    this.#watchdog.cancel();
    this.#end();
  }

  // An AbortSignal of its own would cost more than most answers, which are known already.
  protected override async around<T>(query: Query, ask: () => Promise<Answer<T>>): Promise<Answer<T>> {
    const { noted } = this;
    if (this.#exhausted) {
      noted?.note(query, NO_TIME);
      return NO_TIME;
    }
    if (this.#waiting++ === 0) this.#start();
    try {
      const answer = await Promise.race([ask(), this.#over.promise]);
      noted?.note(query, answer);
      return answer;
    } finally {
      if (--this.#waiting === 0) this.#stop();
    }
  }

  #start(): void {
    this.#since = this.#clock.monotonic();
    this.#watchdog.deadline = this.#since + this.#left;
  }

  #stop(): void {
    this.#watchdog.deadline = Infinity;
    this.#left -= this.#clock.monotonic() - this.#since;
  }

  #end(): void {
    this.#exhausted = true;
    this.#over.resolve(GIVEN_UP);
  }
}
