/**
 * What the program asks of DNS, with answers that keep "there is none" apart from "could not be told":
 * only the first may lead a relay to another record type or to a failure (RFC 5321 §5.1).
 *
 * @module
 */

/** What came of a question. */
export type Answer<T> =
  /** There are records; at least one. */
  | { readonly kind: "found"; readonly records: readonly T[]; readonly authenticated: boolean }
  /** The name exists and has no record of the type; said by an authority. */
  | { readonly kind: "none"; readonly authenticated: boolean }
  /** The name does not exist (NXDOMAIN). */
  | { readonly kind: "no-such-name"; readonly authenticated: boolean }
  /** Nobody could tell: SERVFAIL, REFUSED, a timeout, the network, an answer that makes no sense. */
  | { readonly kind: "failed"; readonly reason: string };

/** One MX record. */
export interface MxRecord {
  /** 0–65535; the lowest goes first. */
  readonly preference: number;
  /** The host in lower case without a trailing dot; `"."` is the null MX (RFC 7505). */
  readonly exchange: string;
}

/** One TLSA record (RFC 6698 §2.1). */
export interface TlsaRecord {
  /** 0–3; what of the chain it names. */
  readonly usage: number;
  /** 0 the whole certificate, 1 its public key. */
  readonly selector: number;
  /** 0 the data itself, 1 SHA-256, 2 SHA-512. */
  readonly matchingType: number;
  /** What to compare with. */
  readonly data: Uint8Array;
}

/** How to ask. */
export interface QueryOptions {
  /** Gives up the wait; the answer is then `failed`. */
  readonly signal?: AbortSignal;
}

/**
 * Asks DNS. Names are absolute, with or without the trailing dot, IDN as A-labels. No method throws: what cannot be a
 * domain name is `no-such-name`. `authenticated` is the AD bit of a server that is trusted to validate, else false.
 * The search list of resolv.conf and /etc/hosts are never consulted: mail routing is a matter of DNS alone.
 */
export interface Resolver {
  /** Mail exchangers, in no order. */
  mx(name: string, options?: QueryOptions): Promise<Answer<MxRecord>>;
  /** IPv4 addresses; aliases are followed. */
  a(name: string, options?: QueryOptions): Promise<Answer<string>>;
  /** IPv6 addresses; aliases are followed. */
  aaaa(name: string, options?: QueryOptions): Promise<Answer<string>>;
  /** Text records, the strings of each joined, bytes above 127 as UTF-8 (replaced where invalid). */
  txt(name: string, options?: QueryOptions): Promise<Answer<string>>;
  /** Names of an IP address, which is given as such and turned round here. */
  ptr(address: string, options?: QueryOptions): Promise<Answer<string>>;
  /** The alias of this very name. */
  cname(name: string, options?: QueryOptions): Promise<Answer<string>>;
  /** TLSA records of a name such as `_25._tcp.mx.example.com`. */
  tlsa(name: string, options?: QueryOptions): Promise<Answer<TlsaRecord>>;
}

/**
 * A name as it is asked and compared: lower case, no trailing dot; `undefined` where it is no domain name of at most
 * 253 octets with labels of 1–63 letters, digits, `-` and `_`.
 */
export function canonicalName(name: string): string | undefined {
  const bare = (name.endsWith(".") ? name.slice(0, -1) : name).toLowerCase();
  if (bare.length > 253) return undefined;
  return /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/.test(bare) ? bare : undefined;
}
