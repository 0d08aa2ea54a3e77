/**
 * How long hosts are left alone, and which hosts count as one receiver.
 *
 * @module
 */
import { isIP } from "node:net";

/** How long hosts are paused, in milliseconds. */
export interface HostPauses {
  /** After a refused connection at first; doubles up to `deadMax`. */
  readonly refused: number;
  /** After the first connection without an answer; doubles up to `deadMax`. */
  readonly silent: number;
  /** The longest time for which a dead address is not tried. */
  readonly deadMax: number;
  /** After 421; doubles up to `rate`. */
  readonly busy: number;
  /** After 4.7.28. */
  readonly rate: number;
}

/** Short pauses for dead addresses, a minute for busy hosts, ten minutes for rate limits. */
export const DEFAULT_HOST_PAUSES: HostPauses = {
  refused: 5_000,
  silent: 30_000,
  deadMax: 60_000,
  busy: 60_000,
  rate: 600_000,
};

/** The default pauses, each capped at `longest` milliseconds, except that for rate limits (`rate`). */
export function hostPausesUpTo(longest: number): HostPauses {
  const { refused, silent, deadMax, busy, rate } = DEFAULT_HOST_PAUSES;
  return {
    refused: Math.min(refused, longest),
    silent: Math.min(silent, longest),
    deadMax: Math.min(deadMax, longest),
    busy: Math.min(busy, longest),
    rate,
  };
}

/**
 * The domain by which a receiver's hosts are counted: the last two labels, or three where those are like `co.uk`.
 * It need not be exact: too wide a domain only means that unrelated hosts are slowed down for a while.
 */
export function hostDomain(host: string): string {
  if (isIP(host) !== 0) return host;
  const labels = host.split(".");
  const [second = "", top = ""] = labels.slice(-2);
  return labels.slice(top.length === 2 && second.length <= 3 ? -3 : -2).join(".");
}
