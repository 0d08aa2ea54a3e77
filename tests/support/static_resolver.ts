/**
 * A resolver that answers from a table, for tests.
 *
 * @module
 */
import { canonicalName } from "../../dns/name.ts";
import type { Answer, MxRecord, Resolver, TlsaRecord } from "../../dns/resolver.ts";

/** What a name has. A type that is absent is answered `none`. */
export interface StaticName {
  /** Its mail exchangers. */
  readonly mx?: readonly MxRecord[];
  /** Its IPv4 addresses. */
  readonly a?: readonly string[];
  /** Its IPv6 addresses. */
  readonly aaaa?: readonly string[];
  /** Its text records. */
  readonly txt?: readonly string[];
  /** What it is an alias of; it has nothing else then. */
  readonly cname?: string;
  /** Its TLSA records. */
  readonly tlsa?: readonly TlsaRecord[];
  /** Types for which this name's servers fail, or `"*"` for all. */
  readonly fails?: readonly ("mx" | "a" | "aaaa" | "txt" | "ptr" | "cname" | "tlsa" | "*")[];
  /** The AD bit of its answers. */
  readonly authenticated?: boolean;
}

type RecordType = "mx" | "a" | "aaaa" | "txt" | "cname" | "tlsa";

/**
 * Answers from a table of names (lower case, no trailing dot). A name that is not in it does not exist. Aliases are
 * followed as a real resolver does; a loop of them fails.
 */
export class StaticResolver implements Resolver {
  /** Each question asked, such as `mx example.com`, in order. */
  readonly asked: string[] = [];
  readonly #names: Readonly<Record<string, StaticName>>;
  readonly #addresses: Readonly<Record<string, readonly string[]>>;

  /** Makes it. @param names what each name has @param options `ptr`: the names of addresses */
  constructor(
    names: Readonly<Record<string, StaticName>>,
    options: { readonly ptr?: Readonly<Record<string, readonly string[]>> } = {},
  ) {
    this.#names = names;
    this.#addresses = options.ptr ?? {};
  }

  /** Mail exchangers. */
  mx(name: string): Promise<Answer<MxRecord>> {
    return Promise.resolve(this.#ask(name, "mx", (entry) => entry.mx));
  }

  /** IPv4 addresses. */
  a(name: string): Promise<Answer<string>> {
    return Promise.resolve(this.#ask(name, "a", (entry) => entry.a));
  }

  /** IPv6 addresses. */
  aaaa(name: string): Promise<Answer<string>> {
    return Promise.resolve(this.#ask(name, "aaaa", (entry) => entry.aaaa));
  }

  /** Text records. */
  txt(name: string): Promise<Answer<string>> {
    return Promise.resolve(this.#ask(name, "txt", (entry) => entry.txt));
  }

  /** Names of an address. */
  ptr(address: string): Promise<Answer<string>> {
    this.asked.push(`ptr ${address}`);
    const records = this.#addresses[address];
    return Promise.resolve(
      records === undefined
        ? { kind: "no-such-name", authenticated: false }
        : { kind: "found", records, authenticated: false },
    );
  }

  /** The alias of this very name. */
  cname(name: string): Promise<Answer<string>> {
    return Promise.resolve(
      this.#ask(name, "cname", (entry) => entry.cname === undefined ? undefined : [entry.cname]),
    );
  }

  /** TLSA records. */
  tlsa(name: string): Promise<Answer<TlsaRecord>> {
    return Promise.resolve(this.#ask(name, "tlsa", (entry) => entry.tlsa));
  }

  #ask<T>(
    name: string,
    type: RecordType,
    pick: (entry: StaticName) => readonly T[] | undefined,
  ): Answer<T> {
    this.asked.push(`${type} ${name}`);
    let current = canonicalName(name);
    let authenticated = true;
    for (let hops = 0; hops < 8; hops++) {
      const entry = current === undefined ? undefined : this.#names[current];
      if (entry === undefined) return { kind: "no-such-name", authenticated: false };
      if (entry.fails?.includes(type) || entry.fails?.includes("*")) {
        return { kind: "failed", reason: "SERVFAIL" };
      }
      authenticated &&= entry.authenticated ?? false;
      if (entry.cname === undefined || type === "cname") {
        const records = pick(entry);
        return records === undefined || records.length === 0
          ? { kind: "none", authenticated }
          : { kind: "found", records, authenticated, ...(hops > 0 && current && { expanded: current }) };
      }
      current = canonicalName(entry.cname);
    }
    return { kind: "failed", reason: "alias loop" };
  }
}
