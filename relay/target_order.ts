/**
 * In which order hosts and addresses are tried.
 *
 * @module
 */
import type { MxRecord } from "../dns/resolver.ts";
import type { Target } from "./target.ts";

const MAX_MX = 100;

/** Alternates the families, so that a dead one costs one wait and not one per address. */
export function interleave(ipv6: readonly string[], ipv4: readonly string[], first: 4 | 6): string[] {
  const [a, b] = first === 4 ? [ipv4, ipv6] : [ipv6, ipv4];
  const all: string[] = [];
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    for (const address of [a[i], b[i]]) if (address !== undefined) all.push(address);
  }
  return all;
}

/** The best 100 in groups of equal preference, best first, each shuffled (RFC 5321 §5.1); each host once. */
export function byPreference(records: readonly MxRecord[], random: () => number): MxRecord[][] {
  const groups = new Map<number, MxRecord[]>();
  const sorted = records.toSorted((a, b) => a.preference - b.preference).slice(0, MAX_MX);
  const seen = new Set<string>();
  for (const record of sorted) {
    if (seen.has(record.exchange)) continue;
    seen.add(record.exchange);
    const group = groups.get(record.preference);
    if (group === undefined) groups.set(record.preference, [record]);
    else group.push(record);
  }
  return [...groups.values()].map((group) => shuffle(group, random));
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
