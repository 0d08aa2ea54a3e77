/**
 * An MTA-STS policy (RFC 8461 §3.2): its text, and which MX hosts it allows.
 *
 * @module
 */
import { normalizeDomain } from "../net/domain_name.ts";

/** What a sender is asked to do with a host that does not match or does not verify. */
export type PolicyMode = "enforce" | "testing" | "none";

/** A policy. */
export interface Policy {
  readonly mode: PolicyMode;
  /** How long it may be kept, in seconds; at most 31,557,600. */
  readonly maxAge: number;
  /** Host names in their one spelling, some with `*.` in place of their first label; none for mode `none`. */
  readonly mx: readonly string[];
}

/** The text is no policy; the message says why. */
export class PolicyError extends Error {
  override readonly name = "PolicyError";
}

/** Where a policy host has its policy (RFC 8461 §3.3). */
export const POLICY_PATH = "/.well-known/mta-sts.txt";
/** Octets of a policy that are read (RFC 8461 §3.3 leaves the bound to the sender). */
export const MAX_POLICY = 64 * 1024;
/** Seconds; about a year (RFC 8461 §3.2). */
export const MAX_MAX_AGE = 31_557_600;
const MAX_MX = 200;

const LINE = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*:(.*)$/s;

/**
 * Reads a policy. Lines end with LF or CRLF; of a field that is there twice the first counts, but for `mx`; unknown
 * fields are ignored.
 * @throws {PolicyError}
 */
export function parsePolicy(text: string): Policy {
  if (text.length > MAX_POLICY) throw new PolicyError(`longer than ${MAX_POLICY} octets`);
  const fields = new Map<string, string>();
  const mx: string[] = [];
  for (const line of text.split("\n")) {
    const bare = line.trimEnd();
    if (bare === "") continue;
    const [, name, value = ""] = LINE.exec(bare) ?? [];
    if (name === undefined) throw new PolicyError("a line is not of the form name: value");
    if (name === "mx") mx.push(value.trimStart());
    else if (!fields.has(name)) fields.set(name, value.trimStart());
  }
  if (fields.get("version") !== "STSv1") throw new PolicyError("version is not STSv1");
  const mode = fields.get("mode");
  if (mode !== "enforce" && mode !== "testing" && mode !== "none") {
    throw new PolicyError("mode is not enforce, testing or none");
  }
  const maxAge = fields.get("max_age") ?? "";
  if (!/^\d{1,10}$/.test(maxAge)) throw new PolicyError("max_age is not a number of seconds");
  if (mode === "none") return { mode, maxAge: Math.min(Number(maxAge), MAX_MAX_AGE), mx: [] };
  if (mx.length === 0) throw new PolicyError("no mx");
  if (mx.length > MAX_MX) throw new PolicyError(`more than ${MAX_MX} mx`);
  return { mode, maxAge: Math.min(Number(maxAge), MAX_MAX_AGE), mx: mx.map(parsePattern) };
}

function parsePattern(pattern: string): string {
  const wildcard = pattern.startsWith("*.");
  const domain = normalizeDomain(wildcard ? pattern.slice(2) : pattern);
  if (domain === undefined) throw new PolicyError("an mx is not a host name");
  return wildcard ? `*.${domain}` : domain;
}

/**
 * Whether the policy allows an MX host (§4.1): by its name, or by `*.` in place of exactly its first label.
 * @param host in its one spelling
 */
export function allowsMx({ mx }: Policy, host: string): boolean {
  const dot = host.indexOf(".");
  return mx.includes(host) || (dot > 0 && mx.includes(`*${host.slice(dot)}`));
}
