/**
 * In which order hosts and addresses are tried.
 *
 * @module
 */
import type { MxRecord } from "../dns/resolver.ts";
import type { Target } from "./target.ts";

const MAX_MX = 100;

// With 30 seconds for each silent one, an attempt ends within five minutes or so.
/** Targets that are tried in one attempt; the next one goes on behind them. */
export const MAX_TARGETS_TRIED = 10;

/**
 * How many hosts are looked up, and how many of their addresses are used: an attempt has to end, and the next one must
 * come to hosts that this one had no time for.
 * @param earlier how many attempts there were before
 */
export function searchBounds(earlier = 0): { readonly maxHosts: number; readonly maxTargets: number } {
  const more = Math.min(earlier * MAX_TARGETS_TRIED, MAX_MX);
  return { maxHosts: Math.min(16 + more, MAX_MX), maxTargets: 32 + 2 * more };
}

/** Alternates the families, so that a dead one costs one wait and not one per address. */
export function interleave(ipv6: readonly string[], ipv4: readonly string[], first: 4 | 6): string[] {
  const [a, b] = first === 4 ? [ipv4, ipv6] : [ipv6, ipv4];
  const all: string[] = [];
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    for (const address of [a[i], b[i]]) if (address !== undefined) all.push(address);
  }
  return all;
}

/** The hosts of a domain that an attempt may look at. */
export interface MxChoice {
  /** In groups of equal preference, best first; each host once. */
  readonly groups: readonly (readonly MxRecord[])[];
  /** How many hosts were left out. */
  readonly omitted: number;
}

/**
 * At most 100 hosts in groups of equal preference, best first, each shuffled (RFC 5321 §5.1). Of more than 100, the
 * best 50 and 50 of the others by lot, so that further attempts come to all of them.
 */
export function byPreference(records: readonly MxRecord[], random: () => number): MxChoice {
  const hosts = new Map<string, MxRecord>();
  for (const record of sorted(records)) {
    if (!hosts.has(record.exchange)) hosts.set(record.exchange, record);
  }
  const groups = grouped([...hosts.values()]).map((group) => shuffle(group, random));
  if (hosts.size <= MAX_MX) return { groups, omitted: 0 };
  const all = groups.flat();
  const others = shuffle(all.splice(MAX_MX / 2), random).slice(0, MAX_MX / 2);
  return { groups: grouped([...all, ...sorted(others)]), omitted: hosts.size - MAX_MX };
}

function sorted(records: readonly MxRecord[]): MxRecord[] {
  return records.toSorted((a, b) => a.preference - b.preference);
}

function grouped(records: readonly MxRecord[]): MxRecord[][] {
  return [...Map.groupBy(records, ({ preference }) => preference).values()];
}

/**
 * The addresses that may be tried beside a silent one: the others of its host, then those of hosts that are as good
 * (RFC 5321 §5.1), where all that is asked of the connection is the same.
 */
export function alternatesOf(silent: Target, targets: readonly Target[]): Target[] {
  const alike = targets.filter(({ port, tls, via }) =>
    port === silent.port && tls === silent.tls && via === silent.via
  );
  const others = silent.via !== "mx"
    ? []
    : alike.filter(({ host, rank, sts }) =>
      host !== silent.host && rank === silent.rank && (sts?.mode !== "enforce" || sts.allowed)
    );
  return [...alike.filter(({ host }) => host === silent.host), ...others];
}

/** A shuffled copy (Fisher–Yates). */
export function shuffle<T>(items: readonly T[], random: () => number): T[] {
  const left = [...items];
  const shuffled: T[] = [];
  while (left.length > 0) shuffled.push(...left.splice(Math.floor(random() * left.length), 1));
  return shuffled;
}
