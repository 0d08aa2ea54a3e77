/**
 * Whether IPv4 and IPv6 work from here, learnt from connecting, so that only the first host waits for a dead IPv6.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";

// Milliseconds for which a failure counts. Then at least one connection tries the family again.
const SUSPECT_FOR = 600_000;

/** The result of the latest connect by address family. */
export class FamilyHealth {
  readonly #clock: Clock;
  readonly #failedAt = new Map<4 | 6, number>();

  /** `clock` measures how old a failure is. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Records that nothing came back: no route, or no answer in the usual time. */
  failed(family: 4 | 6): void {
    this.#failedAt.set(family, this.#clock.monotonic());
  }

  /** Records an answer, even if it was a refusal. */
  worked(family: 4 | 6): void {
    this.#failedAt.delete(family);
  }

  /** Whether it failed in the last ten minutes, and has not worked since. */
  suspect(family: 4 | 6): boolean {
    const at = this.#failedAt.get(family);
    return at !== undefined && this.#clock.monotonic() - at < SUSPECT_FOR;
  }
}
