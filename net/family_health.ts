/**
 * Whether IPv4 and IPv6 work from here, learnt from connecting; so that a dead IPv6 costs one host a wait and not all.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";

// Milliseconds that a failure counts for. Then the family is tried again, by one connection at least.
const SUSPECT_FOR = 600_000;

/** The result of the latest connect by address family. */
export class FamilyHealth {
  readonly #clock: Clock;
  readonly #failedAt = new Map<4 | 6, number>();

  /** `clock` measures how old a failure is. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Nothing came back: no route, or no answer in a time in which others answer. */
  failed(family: 4 | 6): void {
    this.#failedAt.set(family, this.#clock.monotonic());
  }

  /** Somebody answered, be it by a refusal. */
  worked(family: 4 | 6): void {
    this.#failedAt.delete(family);
  }

  /** Whether it failed in the last ten minutes, and has not worked since. */
  suspect(family: 4 | 6): boolean {
    const at = this.#failedAt.get(family);
    return at !== undefined && this.#clock.monotonic() - at < SUSPECT_FOR;
  }
}
