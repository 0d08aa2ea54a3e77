/**
 * DMARC (RFC 9989): whether a message comes from whom its From field names, and what the owner of that domain asks to be
 * done if not.
 *
 * @module
 */
import type { Resolver } from "../dns/resolver.ts";
import { normalizeDomain } from "../net/domain_name.ts";
import type { AlignmentMode, DmarcPolicy, DmarcRecord } from "./record.ts";
import { type Organization, TreeWalk } from "./tree_walk.ts";

/** The outcome, in the words of Authentication-Results. */
export type DmarcResult = "pass" | "fail" | "none" | "temperror" | "permerror";

/** A domain that SPF or DKIM checked, with the result in their words. */
export interface CheckedDomain {
  /** Absent where there was none to look at. */
  readonly domain?: string;
  /** `pass` authenticates it. */
  readonly result: string;
}

/** What is known of the message, and whom to ask. */
export interface DmarcQuestion {
  /** The domains of all addresses in all From fields; of each the first occurrence counts. */
  readonly authors: readonly string[];
  /** Why they were not all read: the message is then rejected as one with too many. */
  readonly unread?: string | undefined;
  /** Of MAIL FROM, or of HELO where that is empty. */
  readonly spf: CheckedDomain;
  /** Of each signature: `d=`. */
  readonly dkim: readonly CheckedDomain[];
  /** Answers. */
  readonly resolver: Resolver;
  /** Gives up: what is not known by then is `temperror`. */
  readonly signal?: AbortSignal;
}

/** The verdict. Of several authors that of the one whose owner asks for the strictest. */
export interface DmarcVerdict {
  /** The outcome. */
  readonly result: DmarcResult;
  /** The Author Domain that it is about; absent where there is none. */
  readonly author?: string;
  /** The domain whose record counts; absent where there is none. */
  readonly policyDomain?: string;
  /** The policy that applies, before `t=y` made it milder; absent where none is known. */
  readonly policy?: DmarcPolicy;
  /** What the owner asks to be done with this message: `none` unless it fails. */
  readonly disposition: DmarcPolicy;
  /** Why, in words; printable ASCII. */
  readonly why: string;
}

/** More authors than this are not a message of honest people; some programs could be made to show any of them. */
const MAX_AUTHORS = 10;
const MAX_SIGNATURES = 20;

const STRICTNESS: readonly DmarcPolicy[] = ["none", "quarantine", "reject"];
const GRAVITY: readonly DmarcResult[] = ["pass", "none", "permerror", "temperror", "fail"];

/**
 * Evaluates DMARC. Asks at most eight names for each author and each authenticated domain, each name once. A message
 * without an author domain is `none`; one with more than ten, or whose
 * From fields that were not read, is `permerror`, to be rejected. Never rejects.
 */
export async function evaluateDmarc(question: DmarcQuestion): Promise<DmarcVerdict> {
  const authors = [...new Set(question.authors.flatMap((domain) => normalizeDomain(domain) ?? []))];
  const [first] = authors;
  if (question.unread !== undefined) {
    const author = first !== undefined && { author: first };
    return { result: "permerror", ...author, disposition: "reject", why: question.unread };
  }
  if (first === undefined) {
    return { result: "none", disposition: "none", why: "the message has no author domain" };
  }
  if (authors.length > MAX_AUTHORS) {
    const why = `From names ${authors.length} domains, more than ${MAX_AUTHORS}`;
    return { result: "permerror", author: first, disposition: "reject", why };
  }
  const evaluation = new Evaluation(question);
  // All at once: an author whose DNS never answers is not to take the time that the others need.
  const verdicts = await Promise.all(authors.map((author) => evaluation.evaluate(author)));
  return verdicts.reduce(stricter);
}

function stricter(verdict: DmarcVerdict, next: DmarcVerdict): DmarcVerdict {
  return weight(next) > weight(verdict) ? next : verdict;
}

function weight({ disposition, result }: DmarcVerdict): number {
  return STRICTNESS.indexOf(disposition) * GRAVITY.length + GRAVITY.indexOf(result);
}

/** The policy that applies to an author. */
interface Applied {
  readonly policyDomain: string;
  readonly record: DmarcRecord;
  readonly policy: DmarcPolicy;
}

class Evaluation {
  readonly #walk: TreeWalk;
  readonly #spf: CheckedDomain;
  readonly #dkim: readonly CheckedDomain[];

  constructor({ spf, dkim, resolver, signal }: DmarcQuestion) {
    this.#walk = new TreeWalk(resolver, signal);
    this.#spf = normalized(spf);
    this.#dkim = dkim.slice(0, MAX_SIGNATURES).map(normalized);
  }

  async evaluate(author: string): Promise<DmarcVerdict> {
    const applied = await this.#discover(author);
    if ("why" in applied) return { author, disposition: "none", ...applied };
    const { policyDomain, record, policy } = applied;
    const known = { author, policyDomain, policy };
    if (record.wrong !== undefined) {
      const why = `the DMARC record of ${policyDomain} cannot be used: ${record.wrong}`;
      return { author, policyDomain, result: "permerror", disposition: "none", why };
    }
    const aligned = await this.#align(author, record);
    if (aligned.result !== "fail") return { ...known, disposition: "none", ...aligned };
    return { ...known, disposition: record.testing ? milder(policy) : policy, ...aligned };
  }

  /** Policy discovery (§4.10.1). */
  async #discover(author: string): Promise<Applied | { result: DmarcResult; why: string }> {
    const own = await this.#walk.lookUp(author);
    if (own.kind === "failed") return temporary(`TXT of _dmarc.${author}: ${own.reason}`);
    if (own.kind === "found") return { policyDomain: author, record: own.record, policy: own.record.policy };
    const organization = await this.#walk.organization(author);
    if (organization.kind === "failed") return temporary(organization.reason);
    if (organization.policy === undefined) {
      const why = own.several === undefined
        ? `${author} has no DMARC policy`
        : `${author} has ${own.several} DMARC records, so none counts`;
      return { result: "none", why };
    }
    const { domain: policyDomain, record } = organization.policy;
    const { policy, subdomainPolicy = policy, nonexistentPolicy = subdomainPolicy } = record;
    if (nonexistentPolicy === subdomainPolicy) return { policyDomain, record, policy: subdomainPolicy };
    const exists = await this.#walk.exists(author);
    if (exists === undefined) return temporary(`whether ${author} exists could not be determined`);
    return { policyDomain, record, policy: exists ? subdomainPolicy : nonexistentPolicy };
  }

  /** Identifier alignment (§4.10.2): one aligned identifier that is authenticated is enough. */
  async #align(author: string, record: DmarcRecord): Promise<{ result: DmarcResult; why: string }> {
    const identifiers = [
      { name: "SPF", checked: this.#spf, mode: record.spfAlignment },
      ...this.#dkim.map((checked) => ({ name: "DKIM", checked, mode: record.dkimAlignment })),
    ];
    const passed = identifiers.filter(({ checked }) => checked.result === "pass");
    let unclear: string | undefined;
    // The very same domain first: that needs no question.
    for (const alike of [true, false]) {
      for (const { name, checked, mode } of passed) {
        const domain = checked.domain ?? "";
        if ((domain === author) !== alike) continue;
        const aligned = await this.#isAligned(domain, { author, mode });
        if (aligned === true) return { result: "pass", why: `${name} authenticates ${domain}` };
        if (aligned !== false) unclear ??= aligned.reason;
      }
    }
    if (unclear !== undefined) return temporary(unclear);
    for (const { name, checked, mode } of identifiers) {
      if (checked.result !== "temperror") continue;
      if (await this.#isAligned(checked.domain ?? "", { author, mode }) === false) continue;
      return temporary(`${name} of ${checked.domain} could not be checked`);
    }
    return { result: "fail", why: `neither SPF nor DKIM authenticates ${author}: ${this.#account()}` };
  }

  async #isAligned(
    domain: string,
    { author, mode }: { readonly author: string; readonly mode: AlignmentMode },
  ): Promise<boolean | { readonly reason: string }> {
    if (domain === author) return true;
    if (mode === "strict" || domain === "") return false;
    // Organizational Domains are domains above, so those of names that end differently differ.
    if (topLabel(domain) !== topLabel(author)) return false;
    const ours: Organization = await this.#walk.organization(author);
    if (ours.kind === "failed") return ours;
    if (domain !== ours.domain && !domain.endsWith(`.${ours.domain}`)) return false;
    const theirs = await this.#walk.organization(domain);
    return theirs.kind === "failed" ? theirs : theirs.domain === ours.domain;
  }

  /** What SPF and DKIM came to, for people. */
  #account(): string {
    const say = (name: string, { domain, result }: CheckedDomain) =>
      `${name} ${result}${domain === undefined ? "" : ` for ${domain}`}`;
    const signatures = this.#dkim.slice(0, 3).map((checked) => say("DKIM", checked));
    return [say("SPF", this.#spf), ...(signatures.length > 0 ? signatures : ["no DKIM signature"])].join(
      ", ",
    );
  }
}

/** With the domain in its one spelling, or none where it is not a domain. */
function normalized({ domain, result }: CheckedDomain): CheckedDomain {
  const spelled = domain === undefined ? undefined : normalizeDomain(domain);
  return { result, ...(spelled !== undefined && { domain: spelled }) };
}

function topLabel(domain: string): string {
  return domain.slice(domain.lastIndexOf(".") + 1);
}

/** One level below (`t=y`, §4.7). */
function milder(policy: DmarcPolicy): DmarcPolicy {
  return policy === "reject" ? "quarantine" : "none";
}

function temporary(why: string): { result: "temperror"; why: string } {
  return { result: "temperror", why };
}
