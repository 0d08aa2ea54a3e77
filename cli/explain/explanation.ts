/**
 * What `mailapp explain` finds out about an address, and how programs get it.
 *
 * @module
 */
import type { TlsPolicy } from "../../net/tls_policy.ts";
import type { DomainAnswer } from "../../relay/control_protocol.ts";
import type { Target, Targets } from "../../relay/mx.ts";
import type { StsFailure } from "../../relay/sts_rule.ts";
import { moment } from "../command_line/json.ts";
import type { Trials } from "./connect.ts";
import type { Everywhere } from "./everywhere.ts";
import { type DaneNeeds, daneOf, keyOf, policyOf } from "./dane.ts";

/** What serve-in does with it; absent if the domain is not local. */
export type Local =
  | { readonly accepted: true; readonly maildirs: readonly string[] }
  | { readonly accepted: false };

/** What was found out. */
export interface Explanation {
  readonly address: string;
  /** The address that this name without a domain stands for. */
  readonly completed?: string;
  readonly domain: string;
  readonly local?: Local;
  readonly outcome: Exclude<Targets, { kind: "targets" }> | { readonly kind: "targets" };
  readonly targets: readonly Omit<Target, "auth">[];
  readonly tls?: TlsPolicy;
  readonly dane: DaneNeeds;
  /** How connections to the targets went, if they were to be tried. */
  readonly trials?: Trials;
  /** Why an announced MTA-STS policy does not apply. */
  readonly stsFailure?: StsFailure;
  /** What the running serve-out says of its queue. */
  readonly server?: DomainAnswer;
  /** What all hosts have for the domain, where they share a queue. */
  readonly everywhere?: Everywhere;
  /** Whether the running serve-out uses settings other than those of the file; then the rest is by its own. */
  readonly outdated?: boolean;
  /** Addresses of `source_ipv4` and `source_ipv6` that no interface has. */
  readonly missingSources?: readonly string[];
  /** What the running serve-in says to the recipient. */
  readonly serveIn?: { readonly reply: string } | { readonly error: string };
}

/** The fields for `--json`. */
export function jsonOf(
  { targets, tls, dane, trials, stsFailure, server, ...explanation }: Explanation,
): unknown {
  const sts = targets[0]?.sts;
  const tlsOf = (target: Explanation["targets"][number]) => {
    const need = daneOf(target, dane);
    const policy = policyOf(target, need);
    const trial = trials?.get(keyOf(target));
    return {
      ...(policy && { tlsPolicy: policy }),
      ...(need.kind !== "none" && { dane: need.kind }),
      ...(trial && { trial }),
    };
  };
  return {
    ...explanation,
    targets: targets.map(({ tls, sts, policyDomain: _, ...target }) => ({
      ...target,
      ...tlsOf({ ...target, tls }),
      ...(sts && { mtaStsAllowed: sts.allowed }),
    })),
    ...(tls && { tlsPolicy: tls }),
    ...(sts && {
      mtaSts: { domain: sts.domain, mode: sts.mode, id: sts.id, expiresAt: moment(sts.until) },
    }),
    ...(stsFailure && { mtaStsFailure: { kind: stsFailure.failure, reason: stsFailure.why } }),
    ...(server && { queue: queueOf(server) }),
  };
}

function queueOf({ status: { nextAt, ...status }, hosts }: DomainAnswer): unknown {
  return {
    ...status,
    ...(nextAt !== undefined && nextAt > 0 && { nextAttemptAt: moment(nextAt) }),
    hosts: hosts.map(({ forMs, ...host }) => ({ ...host, pauseMs: Math.round(forMs) })),
  };
}
