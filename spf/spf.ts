/**
 * SPF (RFC 7208): whether a domain lets an address send in its name.
 *
 * @module
 */
import { isIPv4, isIPv6 } from "node:net";
import type { Answer, Resolver } from "../dns/resolver.ts";
import { ipBytes } from "../net/ip_address.ts";

/** What came of it (§2.6). */
export type SpfResult = "none" | "neutral" | "pass" | "fail" | "softfail" | "temperror" | "permerror";

/** The verdict. */
export interface SpfVerdict {
  /** What came of it. */
  readonly result: SpfResult;
  /** Why: the mechanism that decided, as it is written; or what is wrong. Absent with `none`. */
  readonly reason?: string;
}

/** Who sends. */
export interface SpfQuestion {
  /** The domain of the reverse-path, or of EHLO. */
  readonly domain: string;
  /** The client's IP address. */
  readonly address: string;
  /** The reverse-path; `postmaster@domain` if absent (§4.3). */
  readonly sender?: string;
  /** The domain of EHLO; the domain if absent. */
  readonly helo?: string;
}

/** Whom to ask. */
export interface SpfOptions {
  /** Answers. */
  readonly resolver: Resolver;
  /** Gives up. */
  readonly signal?: AbortSignal;
}

// §4.6.4.
const MAX_LOOKUPS = 10;
const MAX_VOID_LOOKUPS = 2;
const MAX_HOSTS = 10;

const RESULTS: Readonly<Record<string, SpfResult>> = {
  "+": "pass",
  "-": "fail",
  "~": "softfail",
  "?": "neutral",
};

/** Ends the whole evaluation. */
class SpfError extends Error {
  readonly result: "temperror" | "permerror";
  constructor(result: "temperror" | "permerror", message: string) {
    super(message);
    this.result = result;
  }
}

/** The texts among these TXT records that are SPF records (§4.5). */
export function spfRecords(texts: readonly string[]): string[] {
  return texts.filter((text) => /^v=spf1(?: |$)/i.test(text));
}

/** Evaluates the SPF record of a domain for an address (check_host, §4). Never throws. */
export async function checkSpf(question: SpfQuestion, options: SpfOptions): Promise<SpfVerdict> {
  try {
    return await new Evaluation(question, options).check(question.domain);
  } catch (error) {
    if (!(error instanceof SpfError)) throw error;
    return { result: error.result, reason: error.message };
  }
}

/**
 * What is wrong with a record by itself, without asking anybody; `undefined` where nothing is.
 * @param record as in DNS, `v=spf1 …`
 */
export function spfSyntaxError(record: string): string | undefined {
  try {
    parseRecord(record);
    return undefined;
  } catch (error) {
    if (!(error instanceof SpfError)) throw error;
    return error.message;
  }
}

interface Mechanism {
  readonly text: string;
  readonly qualifier: string;
  readonly name: string;
  /** After the colon; a domain, or the address of ip4 and ip6. */
  readonly value?: string;
  readonly prefix4: number;
  readonly prefix6: number;
}

interface SpfRecord {
  readonly mechanisms: readonly Mechanism[];
  readonly redirect?: string;
}

const NEEDS_VALUE = new Set(["include", "exists", "ip4", "ip6"]);
const MAY_HAVE_VALUE = new Set(["a", "mx", "ptr"]);
const HAS_PREFIX = new Set(["a", "mx", "ip4", "ip6"]);

function parseRecord(record: string): SpfRecord {
  const mechanisms: Mechanism[] = [];
  const modifiers = new Map<string, string>();
  for (const term of record.slice("v=spf1".length).split(" ").filter((term) => term !== "")) {
    const [, modifier, value = ""] = /^([a-z][a-z0-9_.-]*)=(.*)$/is.exec(term) ?? [];
    if (modifier === undefined) {
      mechanisms.push(parseMechanism(term));
      continue;
    }
    const name = modifier.toLowerCase();
    if (name !== "redirect" && name !== "exp") continue;
    if (modifiers.has(name)) throw new SpfError("permerror", `${name}= stands there twice`);
    if (value === "") throw new SpfError("permerror", `${name}= names no domain`);
    modifiers.set(name, value);
  }
  const redirect = modifiers.get("redirect");
  return { mechanisms, ...(redirect !== undefined && { redirect }) };
}

function parseMechanism(text: string): Mechanism {
  const wrong = (why: string) => new SpfError("permerror", `"${text}" ${why}`);
  const match = /^([+?~-])?([a-z][a-z0-9]*)(?::([^/]*(?:\/(?!\/?\d+(?:\/|$))[^/]*)*))?(\/.*)?$/is.exec(text);
  const [, qualifier = "+", word = "", value, cidr = ""] = match ?? [];
  const name = word.toLowerCase();
  const known = name === "all" || NEEDS_VALUE.has(name) || MAY_HAVE_VALUE.has(name);
  if (match === null || !known) throw wrong("is no mechanism of SPF");
  if (value === "" || (value === undefined && NEEDS_VALUE.has(name))) throw wrong("names nothing");
  if (name === "all" && value !== undefined) throw wrong("must stand alone");
  const [, four, six] = /^(?:\/(\d{1,3}))?(?:\/\/(\d{1,3}))?$/.exec(cidr) ?? [];
  if (cidr !== "" && four === undefined && six === undefined) throw wrong("has no such prefix length");
  if (cidr !== "" && !HAS_PREFIX.has(name)) throw wrong("takes no prefix length");
  if (name.startsWith("ip")) {
    if (six !== undefined) throw wrong("has no such prefix length");
    if (!(name === "ip4" ? isIPv4(value ?? "") : isIPv6(value ?? ""))) {
      throw wrong("is no address of that kind");
    }
  }
  const [prefix4, prefix6] = name === "ip6"
    ? [32, Number(four ?? 128)]
    : [Number(four ?? 32), Number(six ?? 128)];
  if (prefix4 > 32 || prefix6 > 128) throw wrong("has no such prefix length");
  return { text, qualifier, name, ...(value !== undefined && { value }), prefix4, prefix6 };
}

class Evaluation {
  readonly #question: SpfQuestion;
  readonly #options: SpfOptions;
  readonly #address: Uint8Array;
  #lookups = 0;
  #voids = 0;

  constructor(question: SpfQuestion, options: SpfOptions) {
    this.#question = question;
    this.#options = options;
    const bytes = ipBytes(question.address);
    if (bytes === undefined) throw new RangeError(`not an IP address: ${question.address}`);
    this.#address = bytes;
  }

  async check(domain: string): Promise<SpfVerdict> {
    const { resolver, signal } = this.#options;
    const answer = await resolver.txt(domain, { ...(signal && { signal }) });
    if (answer.kind === "failed") throw new SpfError("temperror", `TXT of ${domain}: ${answer.reason}`);
    const records = answer.kind === "found" ? spfRecords(answer.records) : [];
    const [record] = records;
    if (record === undefined) return { result: "none" };
    if (records.length > 1) throw new SpfError("permerror", `${domain} has ${records.length} SPF records`);
    const { mechanisms, redirect } = parseRecord(record);
    for (const mechanism of mechanisms) {
      if (await this.#matches(mechanism, domain)) {
        return { result: RESULTS[mechanism.qualifier] ?? "neutral", reason: mechanism.text };
      }
    }
    if (redirect === undefined) return { result: "neutral", reason: "nothing in the record matches" };
    this.#countLookup();
    const target = this.#expand(redirect, domain);
    const verdict = await this.check(target);
    if (verdict.result === "none") throw new SpfError("permerror", `redirect=${target} has no SPF record`);
    return verdict;
  }

  async #matches(mechanism: Mechanism, domain: string): Promise<boolean> {
    const { name, value } = mechanism;
    if (name === "all") return true;
    if (name === "ip4" || name === "ip6") return this.#within(value ?? "", mechanism);
    this.#countLookup();
    const { resolver, signal } = this.#options;
    const asked = { ...(signal && { signal }) };
    const target = value === undefined ? domain : this.#expand(value, domain);
    switch (name) {
      case "include": {
        const { result } = await this.check(target);
        if (result === "none") throw new SpfError("permerror", `include:${target} has no SPF record`);
        return result === "pass";
      }
      case "a":
        return await this.#hostMatches(target, mechanism);
      case "mx": {
        const hosts = this.#records(await resolver.mx(target, asked), `MX of ${target}`);
        if (hosts.length > MAX_HOSTS) throw new SpfError("permerror", `mx:${target} has more than 10 hosts`);
        for (const { exchange } of hosts) {
          if (exchange !== "." && await this.#hostMatches(exchange, mechanism)) return true;
        }
        return false;
      }
      case "exists":
        return this.#records(await resolver.a(target, asked), `A of ${target}`).length > 0;
      default:
        return await this.#reverseMatches(target);
    }
  }

  async #hostMatches(host: string, mechanism: Mechanism): Promise<boolean> {
    const addresses = this.#records(await this.#lookUp(host), `addresses of ${host}`);
    return addresses.some((address) => this.#within(address, mechanism));
  }

  async #reverseMatches(domain: string): Promise<boolean> {
    const { resolver, signal } = this.#options;
    const names = await resolver.ptr(this.#question.address, { ...(signal && { signal }) });
    if (names.kind !== "found") return false;
    for (const name of names.records.slice(0, MAX_HOSTS)) {
      if (name !== domain && !name.endsWith(`.${domain}`)) continue;
      const answer = await this.#lookUp(name);
      const addresses = answer.kind === "found" ? answer.records : [];
      if (addresses.some((address) => this.#within(address, { prefix4: 32, prefix6: 128 }))) return true;
    }
    return false;
  }

  #lookUp(host: string): Promise<Answer<string>> {
    const { resolver, signal } = this.#options;
    const asked = { ...(signal && { signal }) };
    return this.#address.length === 4 ? resolver.a(host, asked) : resolver.aaaa(host, asked);
  }

  #records<T>(answer: Answer<T>, what: string): readonly T[] {
    if (answer.kind === "failed") throw new SpfError("temperror", `${what}: ${answer.reason}`);
    if (answer.kind === "found") return answer.records;
    if (++this.#voids > MAX_VOID_LOOKUPS) {
      throw new SpfError("permerror", `more than ${MAX_VOID_LOOKUPS} names in the record lead nowhere`);
    }
    return [];
  }

  #countLookup(): void {
    if (++this.#lookups > MAX_LOOKUPS) {
      throw new SpfError("permerror", `the record needs more than ${MAX_LOOKUPS} look-ups in DNS`);
    }
  }

  #within(network: string, { prefix4, prefix6 }: { prefix4: number; prefix6: number }): boolean {
    const bytes = ipBytes(network);
    if (bytes === undefined || bytes.length !== this.#address.length) return false;
    const bits = bytes.length === 4 ? prefix4 : prefix6;
    return bytes.every((byte, i) => {
      const mask = (0xff00 >> Math.min(8, Math.max(0, bits - 8 * i))) & 0xff;
      return ((byte ^ (this.#address[i] ?? 0)) & mask) === 0;
    });
  }

  /** Macros (§7). */
  #expand(text: string, domain: string): string {
    const expanded = text.replace(
      /%(?:\{([^}]*)\}|(.?))/gs,
      (whole, macro: string | undefined, literal: string) => {
        if (literal === "%") return "%";
        if (literal === "_") return " ";
        if (literal === "-") return "%20";
        const [, letter = "", digits = "", reverse = "", delimiters = ""] =
          /^([slodiphv])(\d*)(r?)([.\-+,\/_=]*)$/i.exec(macro ?? "") ?? [];
        const value = this.#macro(letter.toLowerCase(), domain);
        if (value === undefined || digits === "0") {
          throw new SpfError(
            "permerror",
            `${whole} is no macro of SPF`,
          );
        }
        const parts = value.split(new RegExp(`[${(delimiters || ".").replace(/[\\\]^-]/g, "\\$&")}]`));
        if (reverse !== "") parts.reverse();
        return (digits === "" ? parts : parts.slice(-Number(digits))).join(".");
      },
    );
    const labels = expanded.split(".");
    while (labels.join(".").length > 253 && labels.length > 1) labels.shift();
    return labels.join(".").replace(/\.$/, "").toLowerCase();
  }

  #macro(letter: string, domain: string): string | undefined {
    const { sender = `postmaster@${this.#question.domain}`, helo = this.#question.domain } = this.#question;
    const at = sender.lastIndexOf("@");
    const bytes = this.#address;
    switch (letter) {
      case "s":
        return sender;
      case "l":
        return sender.slice(0, at);
      case "o":
        return sender.slice(at + 1);
      case "d":
        return domain;
      case "h":
        return helo;
      // The validated name of the client, which nobody should ask for (§7.2).
      case "p":
        return "unknown";
      case "v":
        return bytes.length === 4 ? "in-addr" : "ip6";
      case "i":
        return bytes.length === 4
          ? bytes.join(".")
          : Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0").split("").join(".")).join(".");
      default:
        return undefined;
    }
  }
}
