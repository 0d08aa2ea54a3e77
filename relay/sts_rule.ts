/**
 * What the MTA-STS policy of a domain (RFC 8461) asks of the hosts that its mail goes to.
 *
 * @module
 */
import type { FetchFailure } from "../mta_sts/fetch.ts";
import type { PolicyAnswer } from "../mta_sts/policies.ts";
import { allowsMx, type PolicyMode } from "../mta_sts/policy.ts";
import type { TlsPolicy } from "../net/tls_policy.ts";

/** Knows the policies of domains. */
export interface StsPolicies {
  /** The policy of a domain now; at once where it is known, else when it has been looked for. Never rejects. */
  find(
    domain: string,
    options?: { readonly signal?: AbortSignal },
  ): PolicyAnswer | Promise<PolicyAnswer>;
}

/** What a policy says of one host. */
export interface StsRule {
  /** Whose policy it is. */
  readonly domain: string;
  /** `enforce`: the host is not used otherwise; `testing`: it is, and that is noted; `none`: nothing is asked. */
  readonly mode: PolicyMode;
  /** The policy's id. */
  readonly id: string;
  /** Until when it applies, milliseconds since the epoch. */
  readonly until: number;
  /** Whether it lists the host. */
  readonly allowed: boolean;
}

/** Why there is no policy where one is announced. */
export interface StsFailure {
  /** Its kind, in the words of TLSRPT. */
  readonly failure: FetchFailure;
  /** In words. */
  readonly why: string;
}

/** What of a target depends on the policy. */
export interface UnderSts {
  readonly tls: TlsPolicy;
  readonly sts?: StsRule;
}

/** How a host is to be connected to under the domain's policy, where the configuration has none (§4). */
export function underSts(host: string, answer: PolicyAnswer | undefined): UnderSts {
  if (answer?.kind !== "policy") return { tls: "prefer" };
  const { domain, id, policy, fetchedAt } = answer.kept;
  const { mode, maxAge } = policy;
  const allowed = mode === "none" || allowsMx(policy, host);
  return {
    tls: mode === "enforce" ? "verify" : "prefer",
    sts: { domain, mode, id, until: fetchedAt + maxAge * 1000, allowed },
  };
}

/** Why no policy could be had, if one is announced. */
export function stsFailure(answer: PolicyAnswer | undefined): StsFailure | undefined {
  if (answer?.kind !== "none" || answer.failure === undefined) return undefined;
  return { failure: answer.failure, why: answer.why ?? answer.failure };
}

const MAX_HOSTS = 10;

/** `MTA-STS example.net fetched 2026-11-30T08:00:00.000Z enforce 20261101 604800s mx.example.net, *.example.org`. */
export function showSts(answer: PolicyAnswer): string | undefined {
  if (answer.kind !== "policy") {
    return answer.failure === undefined
      ? undefined
      : `MTA-STS failed: ${answer.failure}: ${answer.why ?? ""}`;
  }
  const { domain, id, policy: { mode, maxAge, mx }, fetchedAt } = answer.kept;
  const hosts = mx.length > MAX_HOSTS ? [...mx.slice(0, MAX_HOSTS), "…"] : mx;
  const fetched = new Date(fetchedAt).toISOString();
  return `MTA-STS ${domain} fetched ${fetched} ${mode} ${id} ${maxAge}s ${hosts.join(", ")}`;
}

/** A policy as {@linkcode showSts} wrote it; `undefined` where it is none, or was cut. */
export function readSts(line: string): PolicyAnswer | undefined {
  const [, domain = "", fetched = "", mode = "", id = "", maxAge, hosts = ""] =
    /^MTA-STS (\S+) fetched (\S+) (enforce|testing|none) (\S+) (\d+)s (.*)$/s.exec(line) ?? [];
  if (domain === "" || hosts.endsWith("…")) return undefined;
  const fetchedAt = Date.parse(fetched);
  const policy = {
    mode: mode as PolicyMode,
    maxAge: Number(maxAge),
    mx: hosts === "" ? [] : hosts.split(", "),
  };
  return { kind: "policy", kept: { domain, id, policy, text: "", fetchedAt, usedAt: fetchedAt } };
}
