/**
 * The record of SPF (RFC 7208 §4.5, §4.6, §12): finding it among TXT records, and its grammar. No I/O.
 *
 * @module
 */
import { Memo } from "../base/memo.ts";
import { ownText } from "../base/own_text.ts";
import { isIpv4, isIpv6 } from "../net/ip_address.ts";
import { type DomainSpec, parseDomainSpec, parseMacros } from "./macros.ts";

/** The outcome of a check (§2.6). */
export type SpfResult = "none" | "neutral" | "pass" | "fail" | "softfail" | "temperror" | "permerror";

/** A mechanism with its qualifier. */
export interface Mechanism {
  /** As it is written, at most 100 characters. */
  readonly text: string;
  /** What a match means. */
  readonly result: SpfResult;
  /** Lower case. */
  readonly name: "all" | "include" | "a" | "mx" | "ptr" | "ip4" | "ip6" | "exists";
  /** The domain after the colon. */
  readonly domain?: DomainSpec;
  /** The address of `ip4` and `ip6`. */
  readonly network?: string;
  /** 0–32. */
  readonly prefix4: number;
  /** 0–128. */
  readonly prefix6: number;
}

/** A parsed record. */
export interface SpfRecord {
  /** In order. */
  readonly mechanisms: readonly Mechanism[];
  /** The record to go on with where nothing matches. */
  readonly redirect?: DomainSpec;
  /** Where the explanation of a `fail` is. */
  readonly explanation?: DomainSpec;
}

/** A record that is none; the message says what is wrong. */
export class SpfSyntaxError extends Error {
  override readonly name = "SpfSyntaxError";
}

/** The texts among these TXT records that are SPF records (§4.5). */
export function spfRecords(texts: readonly string[]): string[] {
  return texts.filter((text) => /^v=spf1(?: |$)/i.test(text));
}

/**
 * What is wrong with a record by itself, without asking anybody; `undefined` where nothing is.
 * @param record as in DNS, `v=spf1 …`
 */
export function spfSyntaxError(record: string): string | undefined {
  try {
    parseSpfRecord(record);
    return undefined;
  } catch (error) {
    if (!(error instanceof SpfSyntaxError)) throw error;
    return error.message;
  }
}

// Far beyond what anybody publishes; it keeps a hostile answer of 64 KB from holding up others.
const MAX_LENGTH = 16_384;
const MAX_TERMS = 500;

/**
 * Parses a record, all of it: an error anywhere counts (§4.6). So does a length over 16,384 characters, and more than 500
 * terms.
 * @throws {SpfSyntaxError}
 */
export function parseSpfRecord(record: string): SpfRecord {
  const known = parsed.get(record);
  if (known !== undefined) return known;
  const own = ownText(record);
  return parsed.keep(own, parse(own));
}

/** Records, which come again with each message of a domain. */
const parsed = new Memo<SpfRecord>();

function parse(record: string): SpfRecord {
  if (record.length > MAX_LENGTH) {
    throw new SpfSyntaxError(`the record has ${record.length} characters, more than ${MAX_LENGTH}`);
  }
  const mechanisms: Mechanism[] = [];
  const modifiers = new Map<string, DomainSpec>();
  let terms = 0;
  for (const term of record.slice("v=spf1".length).split(" ")) {
    if (term === "") continue;
    if (++terms > MAX_TERMS) throw new SpfSyntaxError(`the record has more than ${MAX_TERMS} terms`);
    const equals = term.indexOf("=");
    const name = equals > 0 ? term.slice(0, equals).toLowerCase() : "";
    if (!/^[a-z][a-z0-9_.-]*$/.test(name)) {
      mechanisms.push(parseMechanism(term));
      continue;
    }
    const value = term.slice(equals + 1);
    if (name !== "redirect" && name !== "exp") {
      if (parseMacros(value) === undefined) throw wrong(term, "has an unknown macro");
      continue;
    }
    if (modifiers.has(name)) throw new SpfSyntaxError(`${name}= occurs twice`);
    if (value === "") throw new SpfSyntaxError(`${name}= names no domain`);
    modifiers.set(name, domainOf(value, term));
  }
  const redirect = modifiers.get("redirect");
  const explanation = modifiers.get("exp");
  return { mechanisms, ...(redirect && { redirect }), ...(explanation && { explanation }) };
}

const RESULTS: Readonly<Record<string, SpfResult>> = {
  "+": "pass",
  "-": "fail",
  "~": "softfail",
  "?": "neutral",
};

function parseMechanism(term: string): Mechanism {
  const [head = "", qualifier = "+", word = ""] = /^([+?~-])?([a-z][a-z0-9]*)(?=[:/]|$)/i.exec(term) ?? [];
  const name = word.toLowerCase();
  const rest = term.slice(head.length);
  const base = {
    text: shown(term),
    result: RESULTS[qualifier] ?? "neutral",
    prefix4: 32,
    prefix6: 128,
  };
  switch (name) {
    case "all":
      if (rest !== "") throw wrong(term, "must stand alone");
      return { ...base, name };
    case "include":
    case "exists":
      if (!rest.startsWith(":") || rest === ":") throw wrong(term, "names nothing");
      return { ...base, name, domain: domainOf(rest.slice(1), term) };
    case "ptr":
      if (rest === "") return { ...base, name };
      if (rest.startsWith("/")) throw wrong(term, "takes no prefix length");
      if (rest === ":") throw wrong(term, "names nothing");
      return { ...base, name, domain: domainOf(rest.slice(1), term) };
    case "a":
    case "mx":
      return { ...base, name, ...parseHosts(rest, term) };
    case "ip4":
    case "ip6":
      return { ...base, name, ...parseNetwork(rest, { term, name }) };
    default:
      throw wrong(term, "is not an SPF mechanism");
  }
}

/** `[":" domain-spec] [dual-cidr-length]`; the domain may have slashes too. */
function parseHosts(rest: string, term: string): Pick<Mechanism, "domain" | "prefix4" | "prefix6"> {
  if (rest === "") return { prefix4: 32, prefix6: 128 };
  const [cidr = "", four, six] = /(?:\/(\d+))?(?:\/\/(\d+))?$/.exec(rest) ?? [];
  const prefixes = { prefix4: prefix(four, 32, term), prefix6: prefix(six, 128, term) };
  const value = rest.slice(0, rest.length - cidr.length);
  if (value === "") return prefixes;
  if (!value.startsWith(":")) throw wrong(term, "has no such prefix length");
  if (value === ":") throw wrong(term, "names nothing");
  return { ...prefixes, domain: domainOf(value.slice(1), term) };
}

function parseNetwork(
  rest: string,
  { term, name }: { readonly term: string; readonly name: "ip4" | "ip6" },
): Pick<Mechanism, "network" | "prefix4" | "prefix6"> {
  if (!rest.startsWith(":") || rest === ":") throw wrong(term, "names nothing");
  const slash = rest.indexOf("/");
  const network = rest.slice(1, slash < 0 ? rest.length : slash);
  if (!(name === "ip4" ? isIpv4(network) : isIpv6(network))) {
    throw wrong(term, "is not an address of that kind");
  }
  const length = slash < 0 ? undefined : rest.slice(slash + 1);
  return name === "ip4"
    ? { network, prefix4: prefix(length, 32, term), prefix6: 128 }
    : { network, prefix4: 32, prefix6: prefix(length, 128, term) };
}

function prefix(digits: string | undefined, longest: number, term: string): number {
  if (digits === undefined) return longest;
  if (!/^(?:0|[1-9]\d{0,2})$/.test(digits) || Number(digits) > longest) {
    throw wrong(term, "has no such prefix length");
  }
  return Number(digits);
}

function domainOf(value: string, term: string): DomainSpec {
  const domain = parseDomainSpec(value);
  if (domain === undefined) {
    throw wrong(
      term,
      isIpv4(value)
        ? "has an address where a name belongs; ip4: is meant"
        : "has no domain name with macros of SPF",
    );
  }
  return domain;
}

function wrong(term: string, why: string): SpfSyntaxError {
  return new SpfSyntaxError(`"${shown(term)}" ${why}`);
}

/** A term for people: it may have up to 64 KB, and any bytes. */
function shown(term: string): string {
  const clipped = term.length > 100 ? `${term.slice(0, 100)}…` : term;
  // deno-lint-ignore no-control-regex
  return clipped.replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
}
