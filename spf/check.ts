/**
 * SPF (RFC 7208): whether a domain lets an address send in its name.
 *
 * @module
 */
import { domainToASCII } from "node:url";
import { TimeSlice } from "../base/time_slice.ts";
import type { Answer, QueryOptions, Resolver } from "../dns/resolver.ts";
import { ipBytes, unmappedAddress } from "../net/ip_address.ts";
import {
  type DomainSpec,
  expandDomain,
  expandExplanation,
  type MacroValues,
  parseMacros,
  type Token,
} from "./macros.ts";
import {
  type Mechanism,
  parseSpfRecord,
  type SpfRecord,
  spfRecords,
  type SpfResult,
  SpfSyntaxError,
} from "./record.ts";

/** Who sends, and whom to ask. */
export interface SpfQuestion {
  /** The client's IP address; IPv4 within IPv6 counts as IPv4 (§5). */
  readonly ip: string;
  /** What the client said in EHLO or HELO. */
  readonly helo: string;
  /** The reverse-path without angle brackets; empty for `<>`, whose identity is then `postmaster@` the HELO (§2.4). */
  readonly mailFrom: string;
  /** Answers. */
  readonly resolver: Resolver;
  /** Gives up: what is not known by then is `temperror`. */
  readonly signal?: AbortSignal;
  /** Whether the words of the domain's owner are asked for where it fails, which costs a question; yes if absent. */
  readonly explain?: boolean;
  /** The name of the host that checks, for `%{r}` in explanations; `unknown` if absent. */
  readonly receiver?: string;
  /** Milliseconds since the epoch, for `%{t}` in explanations. */
  readonly now?: () => number;
}

/** The verdict. */
export interface SpfVerdict {
  /** The outcome. */
  readonly result: SpfResult;
  /** Whose name was checked, in lower case with A-labels; as it was given, whatever is in it, where it is not a domain name. */
  readonly domain: string;
  /** Where the name is from. */
  readonly identity: "mailfrom" | "helo";
  /** Why: the mechanism that decided, as it is written; or what is wrong. Absent with `none`. */
  readonly reason?: string;
  /**
   * With `fail`: what the domain's owner has to say to the sender (§6.2), 1–500 printable ASCII characters. It is a
   * stranger's text and must be shown as such.
   */
  readonly explanation?: string;
}

// §4.6.4.
const MAX_LOOKUPS = 10;
const MAX_VOID_LOOKUPS = 2;
const MAX_HOSTS = 10;
const MAX_EXPLANATION = 500;

/** Ends the whole evaluation. */
class SpfError extends Error {
  readonly result: "temperror" | "permerror";
  constructor(result: "temperror" | "permerror", message: string) {
    super(message);
    this.result = result;
  }
}

/**
 * Evaluates SPF for the domain of the reverse-path, or of HELO where that is empty (check_host, §4). At most 10 terms
 * of all records together ask DNS. Never rejects.
 *
 * @example
 * ```ts ignore
 * const { result } = await checkSpf({ ip: "192.0.2.1", helo: "mx.example.com", mailFrom: "a@example.com", resolver });
 * ```
 * @throws {RangeError} when `ip` is not an IP address
 */
export async function checkSpf(question: SpfQuestion): Promise<SpfVerdict> {
  const { helo, mailFrom } = question;
  const at = mailFrom.lastIndexOf("@");
  const identity = mailFrom === "" ? "helo" : "mailfrom";
  const written = identity === "helo" ? helo : mailFrom.slice(at + 1);
  const domain = domainToCheck(written);
  if (domain === undefined) return { result: "none", domain: written, identity };
  // A reverse-path without a local-part stands for its postmaster (§4.3).
  const localPart = at > 0 ? mailFrom.slice(0, at) : "postmaster";
  const evaluation = new Evaluation(question, { localPart, domain });
  try {
    return { ...await evaluation.check(domain), domain, identity };
  } catch (error) {
    if (!(error instanceof SpfError || error instanceof SpfSyntaxError)) throw error;
    const result = error instanceof SpfError ? error.result : "permerror";
    return { result, reason: printable(error.message), domain, identity };
  }
}

/** What is safe to show of a text in which names and terms of strangers are. */
function printable(text: string): string {
  const clipped = text.length > 300 ? `${text.slice(0, 300)}…` : text;
  // deno-lint-ignore no-control-regex
  return clipped.replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
}

/** The domain to start with, or `undefined` where it is none with at least two labels (§4.3). */
function domainToCheck(name: string): string | undefined {
  // deno-lint-ignore no-control-regex
  const ascii = /[^\x00-\x7f]/.test(name) ? domainToASCII(name.normalize("NFC")) : name.toLowerCase();
  const domain = ascii.endsWith(".") ? ascii.slice(0, -1) : ascii;
  return domain.includes(".") && !domain.startsWith("[") && canBeAsked(domain) ? domain : undefined;
}

/** Whether the name fits into a question; its characters are the resolver's matter. */
function canBeAsked(name: string): boolean {
  if (name.length === 0 || name.length > 253) return false;
  let start = 0;
  for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", start)) {
    if (dot === start || dot - start > 63) return false;
    start = dot + 1;
  }
  return start < name.length && name.length - start <= 63;
}

/** In whose name the mail is sent. */
interface Sender {
  readonly localPart: string;
  readonly domain: string;
}

type Decision = Pick<SpfVerdict, "result" | "reason" | "explanation">;

class Evaluation {
  readonly #resolver: Resolver;
  readonly #asked: QueryOptions;
  readonly #ip: string;
  readonly #address: Uint8Array;
  readonly #question: SpfQuestion;
  readonly #sender: Sender;
  readonly #localPartIsAscii: boolean;
  readonly #explains: boolean;
  /** Names that the address has, each with whether it leads back to it. */
  #names: Promise<readonly string[]> | undefined;
  readonly #validated = new Map<string, Promise<boolean>>();
  /** Ten records with 500 terms each are work that others must not wait for. */
  readonly #slice = new TimeSlice();
  #lookups = 0;
  #voids = 0;

  constructor(question: SpfQuestion, sender: Sender) {
    const { resolver, signal, explain = true } = question;
    this.#explains = explain;
    this.#resolver = resolver;
    this.#asked = { anyOctets: true, ...(signal && { signal }) };
    this.#ip = unmappedAddress(question.ip);
    const bytes = ipBytes(this.#ip);
    if (bytes === undefined) throw new RangeError(`not an IP address: ${question.ip}`);
    this.#address = bytes;
    // deno-lint-ignore no-control-regex
    this.#localPartIsAscii = /^[\x00-\x7f]*$/.test(sender.localPart);
    this.#question = question;
    this.#sender = sender;
  }

  async check(domain: string, { included = false } = {}): Promise<Decision> {
    const record = await this.#record(domain);
    if (record === undefined) return { result: "none" };
    for (const mechanism of record.mechanisms) {
      if (this.#slice.isOver()) await this.#slice.pause();
      if (!await this.#matches(mechanism, domain)) continue;
      const { result, text } = mechanism;
      const wanted = result === "fail" && !included && this.#explains;
      const explanation = wanted ? await this.#explain(record, domain) : undefined;
      return { result, reason: text, ...(explanation !== undefined && { explanation }) };
    }
    if (record.redirect === undefined) {
      return { result: "neutral", reason: "nothing in the record matches" };
    }
    this.#countLookup();
    const target = await this.#expand(record.redirect, domain);
    const decision = target === undefined ? undefined : await this.check(target, { included });
    if (decision === undefined || decision.result === "none") {
      throw new SpfError("permerror", `redirect=${target ?? ""} has no SPF record`);
    }
    return decision;
  }

  /** The one SPF record of a domain, `undefined` where it has none. */
  async #record(domain: string): Promise<SpfRecord | undefined> {
    if (!canBeAsked(domain)) return undefined;
    const answer = await this.#resolver.txt(domain, this.#asked);
    if (answer.kind === "failed") throw new SpfError("temperror", `TXT of ${domain}: ${answer.reason}`);
    const records = answer.kind === "found" ? spfRecords(answer.records) : [];
    const [record] = records;
    if (record === undefined) return undefined;
    if (records.length > 1) throw new SpfError("permerror", `${domain} has ${records.length} SPF records`);
    return parseSpfRecord(record);
  }

  async #matches(mechanism: Mechanism, domain: string): Promise<boolean> {
    const { name } = mechanism;
    if (name === "all") return true;
    if (name === "ip4" || name === "ip6") return this.#within(mechanism.network ?? "", mechanism);
    this.#countLookup();
    const target = mechanism.domain === undefined ? domain : await this.#expand(mechanism.domain, domain);
    if (target === undefined) return false;
    switch (name) {
      case "include": {
        const { result } = await this.check(target, { included: true });
        if (result === "none") throw new SpfError("permerror", `include:${target} has no SPF record`);
        return result === "pass";
      }
      case "a":
        return await this.#hostMatches(target, mechanism);
      case "mx":
        return await this.#exchangerMatches(target, mechanism);
      case "exists":
        return this.#records(await this.#ask("a", target), `A of ${target}`).length > 0;
      case "ptr":
        return await this.#reverseMatches(target);
    }
  }

  async #hostMatches(host: string, mechanism: Mechanism): Promise<boolean> {
    const addresses = this.#records(await this.#addresses(host), `addresses of ${host}`);
    return addresses.some((address) => this.#within(address, mechanism));
  }

  async #exchangerMatches(domain: string, mechanism: Mechanism): Promise<boolean> {
    const exchangers = this.#records(await this.#ask("mx", domain), `MX of ${domain}`);
    if (exchangers.length > MAX_HOSTS) {
      throw new SpfError("permerror", `mx:${domain} has more than ${MAX_HOSTS} hosts`);
    }
    for (const { exchange } of exchangers) {
      // The null MX (RFC 7505), and names that are none.
      if (exchange === "." || exchange === "") continue;
      if (await this.#hostMatches(exchange, mechanism)) return true;
    }
    return false;
  }

  async #reverseMatches(domain: string): Promise<boolean> {
    for (const name of await this.#reverseNames()) {
      if (isWithin(name, domain) && await this.#leadsBack(name)) return true;
    }
    return false;
  }

  /** The first 10 names of the client's address; none where DNS fails (§5.5). */
  #reverseNames(): Promise<readonly string[]> {
    this.#names ??= this.#resolver.ptr(this.#ip, this.#asked).then((answer) =>
      answer.kind === "found" ? answer.records.slice(0, MAX_HOSTS) : []
    );
    return this.#names;
  }

  /** Whether a name of the client's address has the address; no where DNS fails (§5.5). */
  #leadsBack(name: string): Promise<boolean> {
    let validated = this.#validated.get(name);
    if (validated === undefined) {
      validated = this.#addresses(name).then((answer) =>
        answer.kind === "found" && answer.records.some((address) => this.#within(address, WHOLE))
      );
      this.#validated.set(name, validated);
    }
    return validated;
  }

  /** `%{p}` (§7.3): the domain itself if it is a name of the client, else one below it, else any, else `unknown`. */
  async #validatedName(domain: string): Promise<string> {
    const names = await this.#reverseNames();
    const rank = (name: string) => name === domain ? 0 : isWithin(name, domain) ? 1 : 2;
    for (const name of names.toSorted((a, b) => rank(a) - rank(b))) {
      if (await this.#leadsBack(name)) return name;
    }
    return "unknown";
  }

  #addresses(host: string): Promise<Answer<string>> {
    return this.#ask(this.#address.length === 4 ? "a" : "aaaa", host);
  }

  async #ask<T extends "a" | "aaaa" | "mx">(
    type: T,
    name: string,
  ): Promise<Awaited<ReturnType<Resolver[T]>>> {
    type Result = Awaited<ReturnType<Resolver[T]>>;
    if (!canBeAsked(name)) return { kind: "no-such-name", authenticated: false } as Result;
    return await this.#resolver[type](name, this.#asked) as Result;
  }

  #records<T>(answer: Answer<T>, what: string): readonly T[] {
    if (answer.kind === "failed") throw new SpfError("temperror", `${what}: ${answer.reason}`);
    if (answer.kind === "found") return answer.records;
    if (++this.#voids > MAX_VOID_LOOKUPS) {
      throw new SpfError("permerror", `more than ${MAX_VOID_LOOKUPS} names in the record have no records`);
    }
    return [];
  }

  #countLookup(): void {
    if (++this.#lookups > MAX_LOOKUPS) {
      throw new SpfError("permerror", `the record needs more than ${MAX_LOOKUPS} look-ups in DNS`);
    }
  }

  #within(network: string, { prefix4, prefix6 }: Pick<Mechanism, "prefix4" | "prefix6">): boolean {
    const bytes = ipBytes(network);
    if (bytes === undefined || bytes.length !== this.#address.length) return false;
    const bits = bytes.length === 4 ? prefix4 : prefix6;
    return bytes.every((byte, i) => {
      const mask = (0xff00 >> Math.min(8, Math.max(0, bits - 8 * i))) & 0xff;
      return ((byte ^ (this.#address[i] ?? 0)) & mask) === 0;
    });
  }

  /**
   * The name that a domain-spec stands for; `undefined` where it has the local-part and that is not ASCII, for then the
   * term never matches (RFC 8616 §4).
   */
  async #expand(spec: DomainSpec, domain: string): Promise<string | undefined> {
    if (!this.#localPartIsAscii && uses(spec, "sl")) return undefined;
    return expandDomain(spec, await this.#values(spec, domain));
  }

  async #values(tokens: readonly Token[], domain: string): Promise<MacroValues> {
    const name = uses(tokens, "p") ? await this.#validatedName(domain) : undefined;
    return (letter) => letter === "d" ? domain : letter === "p" ? name : this.#value(letter);
  }

  /** What a macro stands for that is the same for all domains (§7.2). */
  #value(letter: string): string | undefined {
    const { helo, receiver = "unknown", now = Date.now } = this.#question;
    const { localPart, domain } = this.#sender;
    const isIpv4 = this.#address.length === 4;
    switch (letter) {
      case "s":
        return `${localPart}@${domain}`;
      case "l":
        return localPart;
      case "o":
        return domain;
      case "h":
        return helo;
      case "v":
        return isIpv4 ? "in-addr" : "ip6";
      case "i":
        return isIpv4 ? this.#ip : nibbles(this.#address);
      case "c":
        return this.#ip.toLowerCase();
      case "r":
        return receiver;
      case "t":
        return String(Math.floor(now() / 1000));
      default:
        return undefined;
    }
  }

  /** The explanation of a `fail`; whatever goes wrong with it, there is none then (§6.2). */
  async #explain({ explanation: spec }: SpfRecord, domain: string): Promise<string | undefined> {
    const name = spec === undefined ? undefined : await this.#expand(spec, domain);
    if (name === undefined || !canBeAsked(name)) return undefined;
    const answer = await this.#resolver.txt(name, this.#asked);
    const [text, ...more] = answer.kind === "found" ? answer.records : [];
    const tokens = text === undefined || more.length > 0
      ? undefined
      : parseMacros(text, { explanation: true });
    if (tokens === undefined) return undefined;
    const explanation = expandExplanation(tokens, await this.#values(tokens, domain), MAX_EXPLANATION);
    return /^[\x20-\x7e]+$/.test(explanation) ? explanation : undefined;
  }
}

const WHOLE = { prefix4: 32, prefix6: 128 };

function uses(tokens: readonly Token[], letters: string): boolean {
  return tokens.some((token) => typeof token !== "string" && letters.includes(token.letter));
}

function isWithin(name: string, domain: string): boolean {
  return name === domain || name.endsWith(`.${domain}`);
}

/** The 32 nibbles of an IPv6 address, with dots between them (§7.3). */
function nibbles(bytes: Uint8Array): string {
  return Array.from(
    bytes,
    (byte) => byte.toString(16).toUpperCase().padStart(2, "0").split("").join("."),
  ).join(".");
}
