/**
 * The verdict on a message from all findings: its Authentication-Results, and whether it is refused, deferred, filed as
 * junk or accepted. Pure.
 *
 * @module
 */
import type { DmarcVerdict } from "../dmarc/evaluate.ts";
import type { SpfVerdict } from "../spf/check.ts";
import type { MethodResult, Property } from "./authentication_results.ts";
import { decidingListing, type Listing } from "./dns_lists.ts";
import type { SenderFindings, SenderIdentity } from "./sender_checks.ts";

/** One DKIM signature. */
export interface DkimFinding {
  /** In the words of RFC 8601 §2.7.1. */
  readonly result: string;
  /** Why. */
  readonly reason?: string;
  /** `d=` */
  readonly domain?: string;
  /** `s=` */
  readonly selector?: string;
  /** `a=` */
  readonly algorithm?: string;
  /** The beginning of `b=`. */
  readonly signature?: string;
}

/** The chain of ARC sets. */
export interface ArcFinding {
  /** `none`, `pass` or `fail`. */
  readonly result: string;
  /** Why. */
  readonly reason?: string;
  /** The domain of the last seal. */
  readonly sealer?: string;
}

/** All that was found. */
export interface Findings extends SenderFindings {
  /** Absent where DKIM is off. */
  readonly dkim?: readonly DkimFinding[];
  /** Absent where ARC is off. */
  readonly arc?: ArcFinding;
  /** Absent where DMARC is off. */
  readonly dmarc?: DmarcVerdict;
}

/** What of it counts. */
export interface JudgementOptions {
  /** Whether what DMARC asks for is done. */
  readonly enforceDmarc: boolean;
  /** Domains whose seals outweigh a failure of DMARC, in lower case. */
  readonly trustedSealers: readonly string[];
}

/** What is to be done. */
export interface Judgement {
  /** `accept` also files as junk where {@linkcode Judgement.junk} says so. */
  readonly action: "accept" | "refuse";
  /** Whether an accepted message is junk. */
  readonly junk: boolean;
  /** Whether the client is on an allow list, and no further hurdle is to be put before it. */
  readonly allowed: boolean;
  /** Whether greylisting by suspicion has reason to ask the sender to come again. */
  readonly suspicious: boolean;
  /** For the reply, the log and people; empty where there is nothing to say. Printable ASCII. */
  readonly why: string;
}

/** Decides. A list that refuses comes first, then DMARC; an allow list outweighs other lists, not DMARC. */
export function judge(
  findings: Findings,
  { identity, enforceDmarc, trustedSealers }: JudgementOptions & { readonly identity: SenderIdentity },
): Judgement {
  const { spf, iprev, listings, arc, dmarc } = findings;
  const listing = decidingListing(listings);
  const listed = listing?.list.action;
  const allowed = listed === "allow";
  const suspicious = !allowed && (listed === "junk" || failsSpf(spf) && failsIprev(iprev.result));
  const base = { allowed, suspicious };
  if (listing !== undefined && listed === "refuse") {
    return { ...base, action: "refuse", junk: false, why: listingText(listing, identity.ip) };
  }
  const sealer = arc?.result === "pass" ? arc.sealer : undefined;
  const disposition = enforceDmarc ? dmarc?.disposition ?? "none" : "none";
  if (disposition !== "none" && sealer !== undefined && trustedSealers.includes(sealer)) {
    const why =
      `DMARC of ${dmarc?.policyDomain} asks for ${disposition}, but ${sealer}, which is trusted, has authenticated it`;
    return { ...base, action: "accept", junk: listed === "junk", why };
  }
  if (disposition === "reject") {
    return { ...base, action: "refuse", junk: false, why: `DMARC${policyText(dmarc)}: ${dmarc?.why}` };
  }
  if (disposition === "quarantine") {
    return { ...base, action: "accept", junk: true, why: `DMARC${policyText(dmarc)}: ${dmarc?.why}` };
  }
  if (listing !== undefined && listed === "junk") {
    return { ...base, action: "accept", junk: true, why: listingText(listing, identity.ip) };
  }
  return { ...base, action: "accept", junk: false, why: "" };
}

function policyText(dmarc: DmarcVerdict | undefined): string {
  return dmarc?.policyDomain === undefined ? "" : ` policy of ${dmarc.policyDomain}`;
}

function listingText({ list, text }: Listing, ip: string): string {
  return `${ip} is listed by ${list.zone}${text === undefined ? "" : `: ${text}`}`;
}

function failsSpf(spf: SpfVerdict | undefined): boolean {
  return spf?.result === "fail" || spf?.result === "softfail";
}

function failsIprev(result: string): boolean {
  return result === "fail" || result === "permerror";
}

/** What the findings look like in Authentication-Results (RFC 8601 §2.7, RFC 8617 §4.1.1, RFC 8904). */
export function describeFindings(findings: Findings, { ip, mailFrom, helo }: SenderIdentity): MethodResult[] {
  const { spf, heloSpf, dkim, arc, dmarc, iprev, listings } = findings;
  const results: MethodResult[] = [];
  if (spf !== undefined) results.push(describeSpf(spf, { mailFrom, helo }));
  if (heloSpf !== undefined) results.push(describeSpf(heloSpf, { mailFrom, helo }));
  for (const signature of dkim ?? []) results.push(describeDkim(signature));
  if (dkim?.length === 0) results.push({ method: "dkim", result: "none" });
  if (arc !== undefined) {
    results.push({
      method: "arc",
      result: arc.result,
      ...(arc.reason !== undefined && { comment: arc.reason }),
      ...(arc.result !== "none" && { properties: [["smtp", "remote-ip", ip]] }),
    });
  }
  if (dmarc !== undefined) results.push(describeDmarc(dmarc));
  results.push({
    method: "iprev",
    result: iprev.result,
    ...(iprev.name !== undefined && { comment: iprev.name }),
    properties: [["policy", "iprev", ip]],
  });
  for (const { list, code } of listings) {
    if (list.action !== "allow") continue;
    results.push({
      method: "dnswl",
      result: "pass",
      properties: [["dns", "zone", list.zone], ["policy", "ip", code]],
    });
  }
  return results;
}

function describeSpf(
  { result, identity, reason, domain }: SpfVerdict,
  { mailFrom, helo }: Pick<SenderIdentity, "mailFrom" | "helo">,
): MethodResult {
  const isAscii = !/[^\x20-\x7e]/.test(mailFrom);
  const property: Property = identity === "helo"
    ? ["smtp", "helo", helo]
    : ["smtp", "mailfrom", isAscii ? mailFrom : domain];
  return {
    method: "spf",
    result,
    // What passed needs no reason, and how DNS failed is the log's matter.
    ...(reason !== undefined && result !== "pass" && result !== "temperror" && { comment: reason }),
    properties: [property],
  };
}

function describeDkim({ result, reason, domain, selector, algorithm, signature }: DkimFinding): MethodResult {
  const properties: Property[] = [];
  if (domain !== undefined) properties.push(["header", "d", domain]);
  if (selector !== undefined) properties.push(["header", "s", selector]);
  if (algorithm !== undefined) properties.push(["header", "a", algorithm]);
  if (signature !== undefined) properties.push(["header", "b", signature]);
  return { method: "dkim", result, ...(reason !== undefined && { comment: reason }), properties };
}

function describeDmarc({ result, policy, disposition, author, why }: DmarcVerdict): MethodResult {
  const comment = policy === undefined ? why : `p=${policy} dis=${disposition}`;
  return {
    method: "dmarc",
    result,
    ...(result !== "temperror" && { comment }),
    properties: author === undefined ? [] : [["header", "from", author]],
  };
}
