/**
 * What can be asked about a message before its first byte has come: by the client's address, its HELO and the reverse-path.
 *
 * @module
 */
import type { Resolver } from "../dns/resolver.ts";
import { checkSpf, type SpfVerdict } from "../spf/check.ts";
import type { DnsLists, Listing } from "./dns_lists.ts";
import { checkIprev, type IprevVerdict } from "./iprev.ts";

/** Who sends. */
export interface SenderIdentity {
  /** The client's IP address. */
  readonly ip: string;
  /** What it said in EHLO or HELO. */
  readonly helo: string;
  /** The reverse-path without angle brackets; empty for `<>`. */
  readonly mailFrom: string;
}

/** Whom to ask, and about what. */
export interface SenderCheckOptions {
  /** Answers; its own bound on time is the only one. */
  readonly resolver: Resolver;
  /** Whether SPF is asked about. */
  readonly spf: boolean;
  /** Lists of addresses. */
  readonly lists?: DnsLists;
}

/** What was found. */
export interface SenderFindings {
  /** Of the reverse-path, or of HELO where that is empty; absent where SPF is off. */
  readonly spf?: SpfVerdict;
  /** Of HELO, where it is another domain than that (RFC 7208 §2.3). */
  readonly heloSpf?: SpfVerdict;
  /** Of the client's address. */
  readonly iprev: IprevVerdict;
  /** The lists that have the address. */
  readonly listings: readonly Listing[];
}

/** Asks all at once. Never rejects. */
export async function checkSender(
  { ip, helo, mailFrom }: SenderIdentity,
  { resolver, spf, lists }: SenderCheckOptions,
): Promise<SenderFindings> {
  const ask = (identity: string) => checkSpf({ ip, helo, mailFrom: identity, resolver, explain: false });
  const both = spf && mailFrom !== "";
  const [sender, client, iprev, listings] = await Promise.all([
    spf ? ask(mailFrom) : undefined,
    both ? ask("") : undefined,
    checkIprev(ip, { resolver }),
    lists?.query(ip, { resolver }) ?? [],
  ]);
  return {
    ...(sender && { spf: sender }),
    ...(client && client.domain !== sender?.domain && { heloSpf: client }),
    iprev,
    listings,
  };
}

/** What a message of this machine is known by. */
export interface OwnMail {
  /** Whether the client's address is one of this machine. */
  readonly isOwnClient: boolean;
  readonly hostname: string;
  /** Whether a domain is one of this machine, whose programs may send in its name whatever SPF says of loopback. */
  readonly isOwnDomain: (domain: string) => boolean;
}

/**
 * The findings, with SPF passed for mail that serve-out hands over here in a name of ours: no SPF record speaks of that
 * way. serve-out is known by this machine's address and name.
 */
export function passOwnMail(
  findings: SenderFindings,
  { helo, isOwnClient, hostname, isOwnDomain }: OwnMail & Pick<SenderIdentity, "helo">,
): SenderFindings {
  const { spf } = findings;
  if (spf === undefined || spf.result === "pass") return findings;
  if (!isOwnClient || helo.toLowerCase() !== hostname || !isOwnDomain(spf.domain)) return findings;
  return { ...findings, spf: { ...spf, result: "pass", reason: "sent from this machine" } };
}
