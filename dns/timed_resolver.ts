/**
 * A resolver with a bound on the time that is spent waiting for it.
 *
 * @module
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Answer, MxRecord, QueryOptions, Resolver, TlsaRecord } from "./resolver.ts";

/** What it depends on. */
export interface TimedResolverOptions {
  /** Answers. */
  readonly resolver: Resolver;
  /** Measures the time. */
  readonly clock: Clock;
  /** Milliseconds for all questions together. */
  readonly timeoutMs: number;
}

/**
 * Asks another resolver, for no longer than a given time in all: only the time counts in which a question waits, and
 * questions that wait together count once. From then on every question is answered `failed` at once.
 */
export class TimedResolver implements Resolver, Disposable {
  readonly #resolver: Resolver;
  readonly #clock: Clock;
  readonly #over = new AbortController();
  #left: number;
  #waiting = 0;
  #since = 0;
  #timer: Timer | undefined;

  /** The time begins with the first question. */
  constructor({ resolver, clock, timeoutMs }: TimedResolverOptions) {
    this.#resolver = resolver;
    this.#clock = clock;
    this.#left = timeoutMs;
  }

  /** Whether the time is up. */
  get exhausted(): boolean {
    return this.#over.signal.aborted;
  }

  /** Another one, which has the time that is left here and so much more. */
  prolonged(moreMs: number): TimedResolver {
    const waited = this.#waiting > 0 ? this.#clock.monotonic() - this.#since : 0;
    const left = this.exhausted ? 0 : Math.max(0, this.#left - waited);
    return new TimedResolver({ resolver: this.#resolver, clock: this.#clock, timeoutMs: left + moreMs });
  }

  /** Answers what still waits with `failed`, and all later questions. */
  [Symbol.dispose](): void {
    this.#timer?.cancel();
    this.#over.abort();
  }

  mx(name: string, options?: QueryOptions): Promise<Answer<MxRecord>> {
    return this.#within(options, (timed) => this.#resolver.mx(name, timed));
  }

  a(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.#within(options, (timed) => this.#resolver.a(name, timed));
  }

  aaaa(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.#within(options, (timed) => this.#resolver.aaaa(name, timed));
  }

  txt(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.#within(options, (timed) => this.#resolver.txt(name, timed));
  }

  ptr(address: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.#within(options, (timed) => this.#resolver.ptr(address, timed));
  }

  cname(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.#within(options, (timed) => this.#resolver.cname(name, timed));
  }

  tlsa(name: string, options?: QueryOptions): Promise<Answer<TlsaRecord>> {
    return this.#within(options, (timed) => this.#resolver.tlsa(name, timed));
  }

  async #within<T>(
    options: QueryOptions | undefined,
    ask: (timed: QueryOptions) => Promise<Answer<T>>,
  ): Promise<Answer<T>> {
    if (this.exhausted) return { kind: "failed", reason: "no time left for DNS" };
    const { signal } = options ?? {};
    if (this.#waiting++ === 0) this.#start();
    try {
      const own = this.#over.signal;
      return await ask({ ...options, signal: signal === undefined ? own : AbortSignal.any([own, signal]) });
    } finally {
      if (--this.#waiting === 0) this.#stop();
    }
  }

  #start(): void {
    this.#since = this.#clock.monotonic();
    // One timer does for many short waits: it looks again when it fires.
    this.#timer ??= this.#clock.after(this.#left, () => this.#look());
  }

  #stop(): void {
    this.#left -= this.#clock.monotonic() - this.#since;
  }

  #look(): void {
    this.#timer = undefined;
    if (this.#waiting === 0) return;
    this.#stop();
    this.#since = this.#clock.monotonic();
    if (this.#left > 0) this.#timer = this.#clock.after(this.#left, () => this.#look());
    else this.#over.abort();
  }
}
