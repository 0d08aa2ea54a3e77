/**
 * One message on its way past the checks.
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
import type { NotedAnswers } from "../dns/noted_answers.ts";
import type { TimedResolver } from "../dns/timed_resolver.ts";
import { authorDomains, MAX_AUTHOR_FIELDS } from "../message/address_list.ts";
import type { HeaderEdit } from "../message/header_edits.ts";
import { fieldValue, type HeaderSection } from "../message/header_section.ts";
import type { Header } from "../smtp/delivery.ts";
import type { Inspection, Verdict } from "../smtp/inspector.ts";
import { type Reply, reply } from "../smtp/reply.ts";
import { writeAuthenticationResults } from "./authentication_results.ts";
import { countChecks, countFilter } from "./check_counters.ts";
import type { FilterRun } from "./filter.ts";
import { describeFindings, type Findings, judge, type Judgement } from "./judgement.ts";
import type { SenderFindings, SenderIdentity } from "./sender_checks.ts";

/** Which checks are made. */
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
  /** What happens to mail while a filter does not answer. */
  readonly filterFailure: "accept" | "defer";
}

/** What all inspections share. */
export interface InspectionOptions {
  /** This server's name, which is in Authentication-Results. */
  readonly hostname: string;
  /** What is asked. */
  readonly checks: CheckOptions;
  /** Tells the time and measures waits. */
  readonly clock: Clock;
}

/** One message, and the checks that have begun. */
export interface InspectedMessage {
  /** Who sends it. */
  readonly identity: SenderIdentity;
  /** What is found out about that. */
  readonly sender: Promise<SenderFindings>;
  /** Answers about this message, disposed of with it; absent where nothing is asked. */
  readonly timed: TimedResolver | undefined;
  /** Filters that see it, in the order in which they have their say. */
  readonly filters: readonly FilterRun[];
}

/** Octets of the field, and of each signature's result in it, as they are in most cases; more takes a copy. */
const FIELD_SIZE = 1200;
const RESULT_SIZE = 250;
/** Octets of what each filter adds. */
const FILTER_SIZE = 800;
/** What the lines of the fields on top can be made longer by. */
const MAX_RESERVE = 4000;
/** Of the text of a reply: a line has 512 octets (RFC 5321 §4.5.3.1.5). */
const MAX_REPLY = 400;

/**
 * The part of the time that is kept for the policies of authors: else who sends a message in someone's name could use
 * it up, by a reverse-path or a key whose DNS never answers.
 */
export const POLICY_SHARE = 0.25;

/**
 * Octets of the header section that are hashed for one signature or seal, and for all of them: each may sign all of it.
 * Fifty honest ARC sets have 128 KiB, and their seals sign three MiB of them.
 */
const MAX_SIGNED = { maxInput: 256 * 1024, maxOctets: 4 * 1024 ** 2 };

/** The field by which other programs tell junk. */
const FLAG = "X-Spam-Flag";

const filterFailed = reply(451, "4.7.1", "A filter does not answer; try again later");

/** What refuses a message, as the client is told. */
export function refusal({ why }: Pick<Judgement, "why">): Reply {
  return reply(550, "5.7.1", why.length > MAX_REPLY ? `${why.slice(0, MAX_REPLY)}...` : why);
}

/** An {@linkcode Inspection} that makes all configured checks. */
export class MailInspection implements Inspection {
  readonly #options: InspectionOptions;
  readonly #message: InspectedMessage;
  readonly #bodyHashes = new BodyHashes();
  #dkim: DkimVerification | undefined;
  #arc: ArcVerification | undefined;
  #authors: readonly string[] = [];
  /** Why the authors are not known. */
  #unread: string | undefined;
  #signatures = 0;

  /** The message has been begun. */
  constructor(options: InspectionOptions, message: InspectedMessage) {
    this.#options = options;
    this.#message = message;
  }

  /** Octets of the fields on top, as far as they are known beforehand. */
  get reserve(): number {
    const { filters } = this.#message;
    return Math.min(
      FIELD_SIZE + RESULT_SIZE * this.#signatures + FILTER_SIZE * filters.length,
      MAX_RESERVE,
    );
  }

  /** Starts the checks that need the header section. */
  header(section: HeaderSection): void {
    const { checks, clock } = this.#options;
    const { timed, filters } = this.#message;
    for (const filter of filters) filter.header(section);
    if (timed === undefined) return;
    const options = {
      section,
      signedFields: new SignedFields(section, MAX_SIGNED),
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

  /** Hashes the body, and passes it to the filters. */
  body(chunk: Uint8Array): Promise<void> | void {
    this.#bodyHashes.push(chunk);
    const { filters } = this.#message;
    if (filters.length > 0) return this.#showBody(chunk, filters);
  }

  /** Waits for all checks, and judges the message. */
  async verdict(): Promise<Verdict> {
    const { checks } = this.#options;
    const { identity, filters } = this.#message;
    const findings = await this.#find();
    const judgement = judge(findings, {
      identity,
      enforceDmarc: checks.dmarc === "enforce",
      trustedSealers: checks.trustedSealers,
    });
    const { timed } = this.#message;
    const log = timed === undefined
      ? {}
      : logged(findings, judgement, { answers: timed.noted, now: this.#options.clock.monotonic() });
    if (this.#message.timed !== undefined) countChecks(findings, judgement);
    if (judgement.action === "refuse") return { fields: [], refuse: refusal(judgement), log };
    const outcomes = await Promise.all(filters.map((filter) => filter.finish()));
    let { junk } = judgement;
    const fields: Header[] = [];
    const edits: HeaderEdit[] = [];
    const said: string[] = [];
    for (const [index, outcome] of outcomes.entries()) {
      const name = filters[index]?.filter.name ?? "";
      countFilter(name, outcome);
      said.push(`${name}: ${"failure" in outcome ? `failed: ${outcome.failure}` : outcome.opinion.about}`);
      const all = { ...log, filters: said };
      if ("failure" in outcome) {
        if (checks.filterFailure === "defer") return { fields: [], refuse: filterFailed, log: all };
        continue;
      }
      const { action, reply, ...changes } = outcome.opinion;
      if (action === "refuse" || action === "defer") {
        return {
          fields: [],
          refuse: reply ?? filterFailed,
          log: { ...all, why: `${name}: ${reply?.lines[0]}` },
        };
      }
      junk ||= action === "junk";
      fields.push(...changes.fields.filter((field) => field.name.toLowerCase() !== FLAG.toLowerCase()));
      edits.push(...changes.edits);
    }
    return {
      fields: [
        ...this.#results(findings),
        ...fields,
        ...(junk ? [{ name: FLAG, value: "YES" }] : []),
      ],
      junk,
      edits,
      log: { ...log, ...(said.length > 0 && { filters: said }), ...(junk && { junk }) },
    };
  }

  /** Ends it. */
  [Symbol.dispose](): void {
    const { timed, filters } = this.#message;
    timed?.[Symbol.dispose]();
    for (const filter of filters) filter[Symbol.dispose]();
  }

  async #showBody(chunk: Uint8Array, filters: readonly FilterRun[]): Promise<void> {
    await Promise.all(filters.map((filter) => filter.body(chunk)));
  }

  async #find(): Promise<Findings> {
    const { checks } = this.#options;
    const { sender, timed } = this.#message;
    if (timed === undefined) return await sender;
    this.#bodyHashes.finish();
    const [asked, dkim, arc] = await Promise.all([sender, this.#dkim?.finish(), this.#arc?.finish()]);
    const findings: Findings = { ...asked, ...(dkim && { dkim }), ...(arc && { arc }) };
    if (checks.dmarc === "off") return findings;
    using policies = timed.prolonged(checks.timeoutMs * POLICY_SHARE);
    const dmarc = await evaluateDmarc({
      authors: this.#authors,
      unread: this.#unread,
      spf: asked.spf ?? { result: "none" },
      dkim: dkim ?? [],
      resolver: policies,
    });
    return { ...findings, dmarc };
  }

  /** The field with what was found, as a delivery takes it. */
  #results(findings: Findings): Header[] {
    const { identity, timed } = this.#message;
    if (timed === undefined) return [];
    const field = writeAuthenticationResults(this.#options.hostname, describeFindings(findings, identity));
    const colon = field.indexOf(":");
    return [{ name: field.slice(0, colon), value: field.slice(colon + 1).trimStart() }];
  }
}

/** Characters of the answers of DNS in one event. */
const MAX_ANSWERS = 2_000;

/** What the log has of it; the answers of DNS where the message is not simply accepted. */
export function logged(
  { spf, dkim, arc, dmarc, iprev, listings }: Findings,
  { action, junk, why }: Pick<Judgement, "action" | "junk" | "why">,
  { answers, now, isRefused = false }: {
    readonly answers: NotedAnswers | undefined;
    readonly now: number;
    /** It is refused for another reason. */
    readonly isRefused?: boolean;
  },
): LogFields {
  const decides = isRefused || action === "refuse" || junk || why !== "" || spf?.result === "temperror" ||
    dmarc?.result === "fail" || dmarc?.result === "temperror";
  return {
    ...(spf !== undefined && { spf: spf.result }),
    ...(dkim !== undefined && dkim.length > 0 && {
      dkim: dkim.map(({ result, domain }) => domain === undefined ? result : `${result} ${domain}`),
    }),
    ...(arc !== undefined && arc.result !== "none" && { arc: arc.result }),
    ...(arc?.result === "pass" && arc.sealer !== undefined && { arc_sealer: arc.sealer }),
    ...(dmarc !== undefined && { dmarc: dmarc.result }),
    // What was asked for, whether or not it was done: what-if goes by it.
    ...(dmarc?.result === "fail" && { dmarc_asks: dmarc.disposition }),
    iprev: iprev.result,
    ...(listings.length > 0 && { listed: listings.map(({ list }) => list.zone) }),
    ...(spf?.result === "temperror" && { dns: spf.reason }),
    ...(spf?.result !== "temperror" && dmarc?.result === "temperror" && { dns: dmarc.why }),
    ...(junk && { junk }),
    ...(why !== "" && { why }),
    ...(decides && answers !== undefined && !answers.isEmpty && {
      ...(dmarc?.author !== undefined && { author: dmarc.author }),
      answers: answers.lines({ now, limit: MAX_ANSWERS }),
    }),
  };
}
