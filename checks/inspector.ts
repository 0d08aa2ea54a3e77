/**
 * Looks at each message from outside: who sent it, as far as SPF, DKIM, ARC, DMARC and DNS lists can tell, and what is
 * to become of it.
 *
 * @module
 */
import { ArcVerification } from "../arc/verify.ts";
import type { Clock } from "../base/clock.ts";
import type { LogFields } from "../base/log.ts";
import { BodyHashes } from "../dkim/body_hashes.ts";
import { KeyLookups } from "../dkim/key_lookups.ts";
import { SignedFields } from "../dkim/signed_fields.ts";
import { DkimVerification, MAX_SIGNATURES } from "../dkim/verify.ts";
import { evaluateDmarc } from "../dmarc/evaluate.ts";
import type { Resolver } from "../dns/resolver.ts";
import { TimedResolver } from "../dns/timed_resolver.ts";
import { authorDomains, MAX_AUTHOR_FIELDS } from "../message/address_list.ts";
import { fieldValue, type HeaderSection } from "../message/header_section.ts";
import { sameAddress } from "../net/ip_address.ts";
import type { Header } from "../smtp/delivery.ts";
import type { Envelope } from "../smtp/envelope.ts";
import type { Inspection, Inspector, Verdict } from "../smtp/inspector.ts";
import { type Reply, reply, SmtpError } from "../smtp/reply.ts";
import type { Session } from "../smtp/session.ts";
import { writeAuthenticationResults } from "./authentication_results.ts";
import type { DnsLists } from "./dns_lists.ts";
import type { GreylistDecision, GreylistSender } from "./greylist.ts";
import { describeFindings, type Findings, judge, type Judgement } from "./judgement.ts";
import { checkSender, type SenderFindings, type SenderIdentity } from "./sender_checks.ts";

/** What is asked about messages. */
export interface CheckOptions {
  /** Whether SPF is evaluated. */
  readonly spf: boolean;
  /** Whether DKIM signatures are verified. */
  readonly dkim: boolean;
  /** Whether ARC chains are verified. */
  readonly arc: boolean;
  /** Whether DMARC is evaluated, and whether what it asks for is done. */
  readonly dmarc: "off" | "mark" | "enforce";
  /** Domains whose ARC seals outweigh a DMARC failure, in lower case. */
  readonly trustedSealers: readonly string[];
  /** For all questions to DNS about one message. */
  readonly timeoutMs: number;
  /** Which unknown senders are asked to come again. */
  readonly greylist: "off" | "suspicious" | "all";
}

/** What a {@linkcode MailInspector} depends on. */
export interface MailInspectorOptions {
  /** This server's name, which stands in Authentication-Results. */
  readonly hostname: string;
  /** What is asked. */
  readonly checks: CheckOptions;
  /** Whether a domain is one of this machine, whose programs may send in its name whatever SPF says of loopback. */
  readonly isOwnDomain: (domain: string) => boolean;
  /** Answers. */
  readonly resolver: Resolver;
  /** Tells the time and measures waits. */
  readonly clock: Clock;
  /** Lists of addresses, tested. */
  readonly lists?: DnsLists | undefined;
  /** Who is known; needed where unknown senders are asked to come again. */
  readonly greylist?: { ask(sender: GreylistSender): GreylistDecision } | undefined;
}

/** Octets of the field, and of each signature's result in it, as they are in most cases; more takes a copy. */
const FIELD_SIZE = 1200;
const RESULT_SIZE = 250;
/** What the lines of the fields on top can be made longer by. */
const MAX_RESERVE = 4000;
/** Of the text of a reply: a line has 512 octets (RFC 5321 §4.5.3.1.5). */
const MAX_REPLY = 400;

/** Inspects the mail of a server. */
export class MailInspector implements Inspector {
  readonly #options: MailInspectorOptions;
  /** Whether something may refuse a message before its data. */
  readonly #decidesEarly: boolean;

  /** Asks nothing yet. `refusesListed`: whether one of the lists refuses. */
  constructor(options: MailInspectorOptions & { readonly refusesListed?: boolean }) {
    this.#options = options;
    this.#decidesEarly = options.checks.greylist !== "off" || (options.refusesListed ?? false);
  }

  /**
   * Begins to ask about the client and the reverse-path; waits for the answers only where they may refuse the message.
   * @throws {SmtpError} with the reply
   */
  begin({ reversePath }: Envelope, session: Session): Inspection | Promise<Inspection> {
    const { checks: { timeoutMs }, resolver, clock } = this.#options;
    const identity: SenderIdentity = {
      ip: session.remote.address,
      helo: session.hello?.domain ?? "",
      mailFrom: reversePath?.text ?? "",
    };
    const timed = new TimedResolver({ resolver, clock, timeoutMs });
    const sender = this.#checkSender(identity, { session, timed });
    // Where the message comes to nothing nobody waits for it.
    sender.catch(() => {});
    const inspection = new MailInspection({ ...this.#options, identity, sender, timed });
    return this.#decidesEarly ? this.#decide(inspection, { identity, sender }) : inspection;
  }

  async #checkSender(
    identity: SenderIdentity,
    { session, timed }: { readonly session: Session; readonly timed: TimedResolver },
  ): Promise<SenderFindings> {
    const { hostname, checks, lists, isOwnDomain } = this.#options;
    const findings = await checkSender(identity, {
      resolver: timed,
      spf: checks.spf,
      ...(lists && { lists }),
    });
    const { spf } = findings;
    // serve-out hands local mail over here; no SPF record speaks of that way.
    if (spf === undefined || spf.result === "pass") return findings;
    if (!isFromServeOut(session, hostname) || !isOwnDomain(spf.domain)) return findings;
    return { ...findings, spf: { ...spf, result: "pass", reason: "sent from this machine" } };
  }

  async #decide(
    inspection: MailInspection,
    { identity, sender }: { readonly identity: SenderIdentity; readonly sender: Promise<SenderFindings> },
  ): Promise<Inspection> {
    try {
      const findings = await sender;
      const judgement = judge(findings, { identity, enforceDmarc: false, trustedSealers: [] });
      if (judgement.action === "refuse") throw new SmtpError(refusal(judgement));
      this.#greylist(findings, { identity, judgement });
      return inspection;
    } catch (error) {
      inspection[Symbol.dispose]();
      throw error;
    }
  }

  /** Asks an unknown sender to come again. */
  #greylist(
    { spf }: SenderFindings,
    { identity: { ip, helo, mailFrom }, judgement }: {
      readonly identity: SenderIdentity;
      readonly judgement: Judgement;
    },
  ): void {
    const { checks, greylist } = this.#options;
    if (greylist === undefined || judgement.allowed) return;
    if (checks.greylist === "off" || (checks.greylist === "suspicious" && !judgement.suspicious)) return;
    const decision = greylist.ask({
      ip,
      domain: mailFrom === "" ? helo : mailFrom.slice(mailFrom.lastIndexOf("@") + 1),
      authorized: spf?.result === "pass",
    });
    if (decision.known) return;
    const seconds = Math.ceil(decision.waitMs / 1000);
    throw new SmtpError(reply(451, "4.7.1", `Greylisted: unknown here yet; try again in ${seconds} seconds`));
  }
}

/** Whether the client is a program of this machine that says our own name, as serve-out does. */
function isFromServeOut({ remote, local, hello }: Session, hostname: string): boolean {
  return sameAddress(remote.address, local.address) && hello?.domain.toLowerCase() === hostname;
}

function refusal({ why }: Pick<Judgement, "why">): Reply {
  return reply(550, "5.7.1", why.length > MAX_REPLY ? `${why.slice(0, MAX_REPLY)}...` : why);
}

interface MailInspectionOptions extends MailInspectorOptions {
  readonly identity: SenderIdentity;
  readonly sender: Promise<SenderFindings>;
  readonly timed: TimedResolver;
}

/** One message. */
class MailInspection implements Inspection {
  readonly #options: MailInspectionOptions;
  readonly #bodyHashes = new BodyHashes();
  #dkim: DkimVerification | undefined;
  #arc: ArcVerification | undefined;
  #authors: readonly string[] = [];
  /** Why the authors are not known. */
  #unread: string | undefined;
  #signatures = 0;

  constructor(options: MailInspectionOptions) {
    this.#options = options;
  }

  get reserve(): number {
    return Math.min(FIELD_SIZE + RESULT_SIZE * this.#signatures, MAX_RESERVE);
  }

  header(section: HeaderSection): void {
    const { checks, clock, timed } = this.#options;
    const options = {
      section,
      signedFields: new SignedFields(section),
      bodyHashes: this.#bodyHashes,
      keys: new KeyLookups({ resolver: timed }),
      now: clock.now(),
    };
    if (checks.dkim) this.#dkim = new DkimVerification(options);
    if (checks.arc) this.#arc = new ArcVerification(options);
    this.#signatures = Math.min(section.named("dkim-signature").length, MAX_SIGNATURES);
    const from = section.named("from");
    // Many fields cost as much as one that is as long.
    if (from.reduce((octets, { text }) => octets + text.length, 0) > MAX_AUTHOR_FIELDS) {
      this.#unread = `the From fields have more than ${MAX_AUTHOR_FIELDS} octets`;
      return;
    }
    this.#authors = from.flatMap((field) => authorDomains(fieldValue(field)));
    const [author] = this.#authors;
    // Asked again when all is there; by then it is known.
    if (checks.dmarc !== "off" && author !== undefined) void timed.txt(`_dmarc.${author}`);
  }

  body(chunk: Uint8Array): void {
    this.#bodyHashes.push(chunk);
  }

  async verdict(): Promise<Verdict> {
    const { hostname, checks, identity } = this.#options;
    const findings = await this.#find();
    const judgement = judge(findings, {
      identity,
      enforceDmarc: checks.dmarc === "enforce",
      trustedSealers: checks.trustedSealers,
    });
    const log = logged(findings, judgement);
    if (judgement.action === "refuse") return { fields: [], refuse: refusal(judgement), log };
    const fields = [resultsField(writeAuthenticationResults(hostname, describeFindings(findings, identity)))];
    if (!judgement.junk) return { fields, log };
    return { fields: [...fields, { name: "X-Spam-Flag", value: "YES" }], junk: true, log };
  }

  [Symbol.dispose](): void {
    this.#options.timed[Symbol.dispose]();
  }

  async #find(): Promise<Findings> {
    const { checks, timed } = this.#options;
    this.#bodyHashes.finish();
    const [sender, dkim, arc] = await Promise.all([
      this.#options.sender,
      this.#dkim?.finish(),
      this.#arc?.finish(),
    ]);
    const findings: Findings = { ...sender, ...(dkim && { dkim }), ...(arc && { arc }) };
    if (checks.dmarc === "off") return findings;
    const dmarc = await evaluateDmarc({
      authors: this.#authors,
      unread: this.#unread,
      spf: sender.spf ?? { result: "none" },
      dkim: dkim ?? [],
      resolver: timed,
    });
    return { ...findings, dmarc };
  }
}

/** The field as a delivery takes it. */
function resultsField(field: string): Header {
  const colon = field.indexOf(":");
  return { name: field.slice(0, colon), value: field.slice(colon + 1).trimStart() };
}

/** What the log has of it. */
function logged({ spf, dkim, arc, dmarc, iprev, listings }: Findings, { junk, why }: Judgement): LogFields {
  return {
    ...(spf !== undefined && { spf: spf.result }),
    ...(dkim !== undefined && dkim.length > 0 && {
      dkim: dkim.map(({ result, domain }) => domain === undefined ? result : `${result} ${domain}`),
    }),
    ...(arc !== undefined && arc.result !== "none" && { arc: arc.result }),
    ...(dmarc !== undefined && { dmarc: dmarc.result }),
    iprev: iprev.result,
    ...(listings.length > 0 && { listed: listings.map(({ list }) => list.zone) }),
    ...(spf?.result === "temperror" && { dns: spf.reason }),
    ...(spf?.result !== "temperror" && dmarc?.result === "temperror" && { dns: dmarc.why }),
    ...(junk && { junk }),
    ...(why !== "" && { why }),
  };
}
