/**
 * The one spelling of a domain name.
 *
 * @module
 */
import { domainToASCII } from "node:url";
import { Memo } from "../base/memo.ts";
import { ownText } from "../base/own_text.ts";

// Underscores are not in the grammar, but in the names of real hosts that send mail.
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const NON_ASCII = /[\u0080-\u{10ffff}]/u;
// Characters at which the URL parser would unescape or cut a host name.
const NO_NAME = /[\0-,/:-@[-^`{-\x7f]/;
const MAX_DOMAIN = 255; // RFC 5321 §4.5.3.1.2, octets
// Characters of a name as written: each takes at least one octet of the A-label, unless it is one that the mapping
// drops (a soft hyphen) or joins to another (an accent).
const MAX_WRITTEN = 4 * MAX_DOMAIN;

/**
 * The one spelling of a domain: lower case, no trailing dot, U-labels as A-labels (RFC 5891 by way of UTS 46).
 * `undefined` when it is none.
 */
export function normalizeDomain(name: string): string | undefined {
  if (name.length > MAX_WRITTEN) return undefined;
  const known = normalized.get(name);
  if (known !== undefined) return known;
  const domain = spellDomain(name);
  return domain === undefined ? undefined : normalized.keep(name, ownText(domain));
}

/** Normalised domains, by the text that was given. */
const normalized = new Memo<string>();

function spellDomain(name: string): string | undefined {
  let domain = name.endsWith(".") ? name.slice(0, -1) : name;
  if (NO_NAME.test(domain)) return undefined;
  domain = NON_ASCII.test(domain) ? domainToASCII(domain.normalize("NFC")) : domain.toLowerCase();
  if (domain.length === 0 || domain.length > MAX_DOMAIN) return undefined;
  for (const label of domain.split(".")) if (!LABEL.test(label)) return undefined;
  return domain;
}
