/**
 * Which TLS policies apply to the hosts that `mailapp explain` shows, where they come from, and until when.
 *
 * @module
 */
import type { TlsPolicy } from "../../net/tls_policy.ts";
import type { PolicyMode } from "../../mta_sts/policy.ts";
import type { Target } from "../../relay/mx.ts";
import { forbidden } from "../../relay/session_tls.ts";
import type { DaneNeed } from "../../tls/dane.ts";
import { count, printable, showTime } from "../command_line/terminal.ts";
import { daneOf, policyOf } from "./dane.ts";
import type { Explanation } from "./explanation.ts";

const POLICIES: Readonly<Record<TlsPolicy, string>> = {
  prefer: "TLS with any certificate; plaintext only if the host has no TLS",
  require: "TLS with any certificate; otherwise not sent",
  verify: "TLS with a valid certificate for the host's name; otherwise not sent",
  dane: "TLS with a certificate that the TLSA records name; otherwise not sent",
};

/** What stands after a host in the list: what is asked of it, and why it would not be used. */
export function remarkOf(target: Omit<Target, "auth">, need: DaneNeed): string {
  const obstacle = forbidden(target, need);
  if (obstacle !== undefined) {
    const when = need.kind === "unknown" ? "not used now" : "not used";
    return `: ${when}: ${printable(obstacle.end.error ?? obstacle.problem.why)}`;
  }
  if (need.kind === "records") {
    return `: ${count(need.records.length, "TLSA record")} at ${printable(need.baseDomain)} (DANE)`;
  }
  if (need.kind === "encrypt") return `: ${printable(need.reason)} (DANE)`;
  return target.sts?.mode === "testing" && !target.sts.allowed ? ": not in the MTA-STS policy" : "";
}

/** The policy of each host, if they differ, and what it comes from. */
export function describeTls({ targets, dane, stsFailure }: Explanation): string[] {
  const policies = new Map<string, TlsPolicy>();
  const kinds = new Set<DaneNeed["kind"]>();
  for (const target of targets) {
    const need = daneOf(target, dane);
    const policy = policyOf(target, need);
    kinds.add(need.kind);
    if (policy !== undefined) policies.set(target.host, policy);
  }
  const [first] = targets;
  if (first === undefined || first.via === "local") return describePolicies(policies);
  return [
    ...describePolicies(policies),
    ...describeDane(kinds),
    ...(first.configured ? ["  set in [serve-out.tls_policy]"] : describeSts(first, stsFailure)),
  ];
}

function describePolicies(policies: ReadonlyMap<string, TlsPolicy>): string[] {
  const different = new Set(policies.values()).size > 1;
  const shown = different ? policies : [...policies].slice(0, 1);
  return Array.from(shown, ([host, policy]) => {
    const whose = different ? ` for ${printable(host)}` : "";
    return `  TLS policy ${policy}${whose}: ${POLICIES[policy]}`;
  });
}

function describeDane(kinds: ReadonlySet<DaneNeed["kind"]>): string[] {
  if (!kinds.has("records") && !kinds.has("encrypt")) return [];
  return [
    "  TLSA records, secured by DNSSEC, apply for as long as they are published, and go before MTA-STS",
  ];
}

const MODES: Readonly<Record<PolicyMode, string>> = {
  enforce: "in mode enforce",
  testing: "in mode testing: violations are reported, and mail is sent anyway",
  none: "in mode none: it requires nothing",
};

/** The domain's policy, and until when it applies. */
function describeSts(
  { sts }: Explanation["targets"][number],
  stsFailure: Explanation["stsFailure"],
): string[] {
  if (stsFailure !== undefined) {
    return [
      `  the domain announces an MTA-STS policy that cannot be fetched, so none applies: ${
        printable(stsFailure.why)
      }`,
    ];
  }
  if (sts === undefined) return [];
  const { domain, id, mode, until } = sts;
  return [`  MTA-STS policy of ${printable(domain)}, id ${id}, until ${showTime(until)}, ${MODES[mode]}`];
}
