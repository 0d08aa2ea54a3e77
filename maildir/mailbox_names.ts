/**
 * Names of users, and the Maildir paths made from them.
 *
 * @module
 */
import { resolve } from "node:path";
import { normalizeDomain } from "../net/domain_name.ts";

/** Names that are special in every Maildir or to a shell, or would be options to a command. */
const RESERVED = new Set(["new", "cur", "tmp"]);
const USER_NAME = /^[\p{L}\p{M}\p{N}_](?:[\p{L}\p{M}\p{N}._+='&-]*[\p{L}\p{M}\p{N}_+='&-])?$/u;
/** What {@linkcode isUserName} allows, as text. */
export const USER_NAME_RULE =
  "letters, digits and . _ + = ' & -, beginning with a letter, a digit or _; at most 254 octets; not new, cur or tmp";

const encoder = new TextEncoder();

/** A local-part in the form for comparison: NFC, in lower case. */
export function normalizeLocalPart(localPart: string): string {
  return localPart.normalize("NFC").toLowerCase().normalize("NFC");
}

/** Whether a user may have this name, which becomes a directory. */
export function isUserName(name: string): boolean {
  return USER_NAME.test(name) && !name.includes("..") && !RESERVED.has(name) && !tooLong(name);
}

/** Octets of a path without its angle brackets (RFC 5321 §4.5.3.1.3): no local-part has more. */
const MAX_LOCAL_PART = 254;
/** Octets of a file name, in Linux. */
export const MAX_FILE_NAME = 255;

/** Whether the local-part is too long for any path of SMTP. */
export function tooLong(localPart: string): boolean {
  return encoder.encode(localPart).length > MAX_LOCAL_PART;
}

/** Splits `local-part` or `local-part@domain`, and normalises both. */
export function splitAddress(text: string): { localPart: string; domain?: string; badDomain: boolean } {
  const at = text.lastIndexOf("@");
  if (at === -1) return { localPart: normalizeLocalPart(text), badDomain: false };
  const domain = normalizeDomain(text.slice(at + 1));
  const localPart = normalizeLocalPart(text.slice(0, at));
  return domain === undefined ? { localPart, badDomain: true } : { localPart, domain, badDomain: false };
}

/** A parsed `mailboxes.path`. */
export interface PathTemplate {
  /** Absolute. */
  readonly root: string;
  /** The components below the root. */
  readonly rest: readonly string[];
  /** Whether it has `{domain}`. */
  readonly hasDomain: boolean;
  /** What is wrong with it. */
  readonly problem?: string;
}

const PATH_RULE =
  "allowed is a directory, then {user} and {domain}, each once, like /var/mail/{domain}/{user}";

/** Parses a `mailboxes.path`. */
export function parseTemplate(path: string): PathTemplate {
  const placeholders: string[] = path.match(/\{[^}]*\}?/g) ?? [];
  const parts = path.split("/");
  const first = parts.findIndex((part) => part.includes("{"));
  const root = resolve(parts.slice(0, Math.max(first, 0)).join("/") || (path.startsWith("/") ? "/" : "."));
  const rest = parts.slice(Math.max(first, 0)).filter((part) => part !== "");
  const template = { root, rest, hasDomain: placeholders.includes("{domain}") };
  const problem = (what: string) => ({ ...template, problem: `${what}; ${PATH_RULE}` });
  if (path.includes("\0")) return problem("has a NUL");
  if (!placeholders.includes("{user}")) return problem("has no {user}");
  if (placeholders.some((name) => name !== "{user}" && name !== "{domain}")) {
    return problem("has a placeholder that is not known");
  }
  if (new Set(placeholders).size < placeholders.length) return problem("has a placeholder twice");
  if (root === "/") return problem("has no directory before the first placeholder");
  if (rest.some((part) => part === "." || part === "..")) return problem("has . or .. after a placeholder");
  return template;
}
