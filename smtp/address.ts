/**
 * Addresses: the grammar of RFC 5321 §4.1.2 and §4.1.3, with the extension of RFC 6531 §3.3.
 *
 * @module
 */
import { domainToASCII } from "node:url";
import { normalizeDomain } from "../net/domain_name.ts";
import { isIpv4, isIpv6 } from "../net/ip_address.ts";
import type { MailboxAddress, ReversePath } from "./envelope.ts";

/** Why a path was refused; `nonAscii` and `tooLong` have their own replies. */
export type AddressFault = "syntax" | "nonAscii" | "tooLong";

/** A path or mailbox that does not follow the grammar. The message says why, in words for the peer. */
export class AddressError extends Error {
  /** Which kind of fault. */
  readonly fault: AddressFault;

  /** `message` may be shown to the peer, and quotes nothing of what the peer sent. */
  constructor(message: string, fault: AddressFault = "syntax") {
    super(message);
    this.name = "AddressError";
    this.fault = fault;
  }
}

/** The address with its domain in A-labels; `undefined` where it needs SMTPUTF8 even so, as its local-part does. */
export function asciiForm(address: string): string | undefined {
  if (isAscii(address)) return address;
  const at = address.lastIndexOf("@");
  const domain = domainToASCII(address.slice(at + 1));
  return at === -1 || domain === "" || !isAscii(address.slice(0, at))
    ? undefined
    : `${address.slice(0, at)}@${domain}`;
}

/** Local-part and domain of an address; the domain is "" where there is none. */
export function splitAddress(text: string): { localPart: string; domain: string } {
  const at = text.lastIndexOf("@");
  return at < 0
    ? { localPart: text, domain: "" }
    : { localPart: text.slice(0, at), domain: text.slice(at + 1) };
}

/** How to read a path. */
export interface PathOptions {
  /** Whether non-ASCII characters are allowed, as they are after SMTPUTF8. */
  readonly smtputf8: boolean;
  /** Whether a local-part may stand without a domain: `any`, only `postmaster` (§4.1.1.3), or `none`. */
  readonly bare: "any" | "postmaster" | "none";
}

// §4.5.3.1.1 has 64 octets for a local-part, and asks for no limits where they can be done without: senders that put
// another address into theirs need more. What a path holds is bound enough.
const MAX_DOMAIN = 255; // §4.5.3.1.2
/** Octets of a path, with its angle brackets (§4.5.3.1.3). */
export const MAX_PATH = 256;

const ATEXT = String.raw`A-Za-z0-9!#$%&'*+\-/=?^_\x60{|}~\u0080-\u{10ffff}`;
const DOT_STRING = new RegExp(String.raw`[${ATEXT}]+(?:\.[${ATEXT}]+)*`, "uy");
// Providers have given out addresses with dots in a row, or before the @ (docomo.ne.jp, ezweb.ne.jp).
const LOOSE_DOT_STRING = new RegExp(String.raw`\.*[${ATEXT}][${ATEXT}.]*`, "uy");
// qtextSMTP and quoted-pairSMTP: printable ASCII and space, and what SMTPUTF8 adds.
const QUOTED_STRING = /"((?:[ !#-[\]-~\u{80}-\u{10ffff}]|\\[ -~])*)"/uy;
const DOMAIN_CHARACTERS = /[A-Za-z0-9\-._\u0080-\u{10ffff}]+/uy;
const LITERAL = /\[([!-Z^-~]*)\]/y;
const NON_ASCII = /[\u0080-\u{10ffff}]/u;
const C1_OR_SEPARATOR = /[\u0080-\u009f\u2028\u2029\ufffd\p{Cs}]/u;

const encoder = new TextEncoder();

/** Whether a text can do without SMTPUTF8. */
export function isAscii(text: string): boolean {
  return !NON_ASCII.test(text);
}

/** The length in octets, as RFC 5321 counts. */
function octets(text: string): number {
  return NON_ASCII.test(text) ? encoder.encode(text).length : text.length;
}

/** A path as it was read. */
export interface ReadPath {
  /** The mailbox; `null` for `<>`. */
  readonly path: ReversePath;
  /** What follows it. */
  readonly rest: string;
  /** Whether it deviates from the grammar: white space before it, or no angle brackets. */
  readonly loose: boolean;
}

/**
 * Reads a path at the start of the text, and says what follows it. Source routes (§4.1.1.3, appendix C) are read and
 * dropped. `<>` gives `null`. White space before it is taken, and so is a mailbox without angle brackets, where it has
 * a domain or cannot be anything else: people type that, and old devices send it.
 * @throws {AddressError}
 */
export function parsePath(text: string, options: PathOptions): ReadPath {
  let begin = 0;
  while (text[begin] === " " || text[begin] === "\t") begin++;
  const path = begin === 0 ? text : text.slice(begin);
  if (!path.startsWith("<")) return barePath(path, options);
  const loose = begin > 0;
  if (path.startsWith("<>")) return { path: null, rest: path.slice(2), loose };
  const start = 1 + sourceRouteLength(path.slice(1));
  const { mailbox, length } = scanMailbox(path.slice(start), options);
  const end = start + length;
  if (path[end] !== ">") throw new AddressError("the address does not end with >");
  requirePathLength(path.slice(1, end));
  return { path: mailbox, rest: path.slice(end + 1), loose };
}

/** A mailbox without its angle brackets, up to a space or the end. */
function barePath(text: string, options: PathOptions): ReadPath {
  if (text === "") throw new AddressError("there is no address");
  const { mailbox, length } = scanMailbox(text, options);
  const rest = text.slice(length);
  // SIZE=1 is a parameter whose address was forgotten, and no local-part.
  const isParameter = mailbox.domain === "" && mailbox.text.includes("=");
  if (isParameter || (rest !== "" && !rest.startsWith(" "))) {
    throw new AddressError("the address is not in angle brackets");
  }
  requirePathLength(mailbox.text);
  return { path: mailbox, rest, loose: true };
}

function requirePathLength(text: string): void {
  if (octets(text) + 2 > MAX_PATH) throw new AddressError(`a path has at most ${MAX_PATH} octets`, "tooLong");
}

/**
 * Reads a whole text as a mailbox, without angle brackets.
 * @throws {AddressError}
 */
export function parseMailbox(text: string, options: PathOptions): MailboxAddress {
  const { mailbox, length } = scanMailbox(text, options);
  if (length !== text.length) throw new AddressError("there is text after the address");
  requirePathLength(text);
  return mailbox;
}

function sourceRouteLength(text: string): number {
  if (!text.startsWith("@")) return 0;
  const colon = text.indexOf(":");
  // A literal of IPv6 has colons of its own, but a route of literals has not been seen since 1989.
  if (colon < 0) throw new AddressError("the source route does not end with a colon");
  for (const part of text.slice(0, colon).split(",")) {
    if (!part.startsWith("@") || normalizeDomain(part.slice(1)) === undefined) {
      throw new AddressError("the source route is not @domain,@domain:");
    }
  }
  return colon + 1;
}

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

function scanMailbox(text: string, options: PathOptions): { mailbox: MailboxAddress; length: number } {
  let localPart: string;
  let at: number;
  let oddDots = false;
  if (text.startsWith('"')) {
    const quoted = match(QUOTED_STRING, text, 0);
    if (!quoted) throw new AddressError("the quoted local-part is not closed, or has a control character");
    localPart = (quoted[1] ?? "").replace(/\\(.)/gsu, "$1");
    at = quoted[0].length;
  } else {
    localPart = match(DOT_STRING, text, 0)?.[0] ?? "";
    oddDots = text[localPart.length] === ".";
    if (oddDots) localPart = match(LOOSE_DOT_STRING, text, 0)?.[0] ?? localPart;
    at = localPart.length;
    if (at === 0) {
      throw new AddressError("the local-part is empty, or begins with a character that needs quotes");
    }
  }
  let domain = "";
  if (text[at] === "@") {
    const rest = match(text[at + 1] === "[" ? LITERAL : DOMAIN_CHARACTERS, text, at + 1)?.[0] ?? "";
    const normalized = rest.startsWith("[") ? normalizeLiteral(rest) : normalizeDomain(rest);
    if (octets(rest) > MAX_DOMAIN) {
      throw new AddressError(`a domain has at most ${MAX_DOMAIN} octets`, "tooLong");
    }
    requireAscii(rest, options);
    if (normalized === undefined) throw new AddressError("the domain is not a valid name or address literal");
    domain = normalized;
    at += 1 + rest.length;
  } else if (
    options.bare === "none" || (options.bare === "postmaster" && localPart.toLowerCase() !== "postmaster")
  ) {
    throw new AddressError("no @ and domain follow the local-part");
  }
  // Other servers may take the grammar literally.
  const written = oddDots ? formatLocalPart(localPart) + text.slice(localPart.length, at) : text.slice(0, at);
  if (oddDots) requirePathLength(written);
  requireAscii(written, options);
  if (C1_OR_SEPARATOR.test(written)) throw new AddressError("the address has a control character");
  return { mailbox: { localPart, domain, text: written }, length: at };
}

function requireAscii(text: string, { smtputf8 }: PathOptions): void {
  if (!smtputf8 && NON_ASCII.test(text)) {
    throw new AddressError("an address with non-ASCII characters needs SMTPUTF8", "nonAscii");
  }
}

/**
 * The one spelling of an address literal, brackets included (§4.1.3); `undefined` when it is none. An IPv6 address
 * without its tag, as many write it, gets it.
 */
export function normalizeLiteral(literal: string): string | undefined {
  const inner = /^\[(.*)\]$/s.exec(literal)?.[1];
  if (inner === undefined) return undefined;
  if (isIpv4(inner)) return `[${inner}]`;
  const ipv6 = inner.replace(/^IPv6:/i, "");
  return isIpv6(ipv6) ? `[IPv6:${ipv6.toLowerCase()}]` : undefined;
}

/** A local-part as it is written in a path: quoted only where it must be. */
export function formatLocalPart(localPart: string): string {
  const plain = match(DOT_STRING, localPart, 0)?.[0];
  return plain === localPart && plain !== "" ? localPart : `"${localPart.replace(/["\\]/g, "\\$&")}"`;
}

/**
 * The name in HELO or EHLO: a domain or an address literal (§4.1.1.1), in the spelling of the client, but U-labels as
 * A-labels and without a trailing dot, since the name goes into Received (§4.4). An IPv6 address without its tag, as
 * many write it, gets it. `undefined` when it is neither.
 */
export function parseHelloName(text: string): string | undefined {
  const valid = text.startsWith("[") ? normalizeLiteral(text) : normalizeDomain(text);
  if (valid === undefined) return undefined;
  const isUntagged = valid.startsWith("[IPv6:") && !/^\[ipv6:/i.test(text);
  return isAscii(text) && !isUntagged ? text.replace(/\.$/, "") : valid;
}

const MAX_ODD_NAME = 255;
// Everything that a comment in a header field may not hold (RFC 5322 §3.2.2).
const NOT_IN_COMMENT = /[^ -'*-[\]-~]/gu;

/** An invalid name from HELO or EHLO, for a comment in Received and for replies: printable ASCII, shortened. */
export function printableHelloName(text: string): string {
  return text.slice(0, MAX_ODD_NAME).replace(NOT_IN_COMMENT, "?");
}
