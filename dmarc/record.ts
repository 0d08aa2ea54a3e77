/**
 * The record of DMARC (RFC 9989 §4.7, §4.8): finding it among TXT records, and its tags. No I/O.
 *
 * @module
 */

/** What the domain's owner asks to be done with mail that fails. */
export type DmarcPolicy = "none" | "quarantine" | "reject";

/** How close an authenticated domain must be: the same organization's, or the very same. */
export type AlignmentMode = "relaxed" | "strict";

/** A parsed record. */
export interface DmarcRecord {
  /** As in DNS. */
  readonly text: string;
  /** For the domain itself, and below it where nothing else is said. */
  readonly policy: DmarcPolicy;
  /** For names below it that exist. */
  readonly subdomainPolicy?: DmarcPolicy;
  /** For names below it that do not. */
  readonly nonexistentPolicy?: DmarcPolicy;
  /** For domains of DKIM signatures. */
  readonly dkimAlignment: AlignmentMode;
  /** For the domain of SPF. */
  readonly spfAlignment: AlignmentMode;
  /** Whether the domain is a public suffix: `y` yes, `n` no, it is an organization's, `u` not said. */
  readonly psd: "y" | "n" | "u";
  /** Whether the policy is only tried out: it counts one level milder. */
  readonly testing: boolean;
  /**
   * Why the policy cannot be determined: p= is missing, or p=, sp= or np= is none of the three, and rua= is missing
   * (with reports the record counts as `p=none`).
   */
  readonly wrong?: string;
}

/** No record has as many; one of 64 KiB could have thousands. */
const MAX_TAGS = 100;

/** The texts among these TXT records that are DMARC records: `v=DMARC1`, exactly so, is their first tag. */
export function dmarcRecords(texts: readonly string[]): string[] {
  return texts.filter((text) => /^[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)/.test(text));
}

/**
 * Parses a record that {@linkcode dmarcRecords} found. Unknown tags, among them `pct` of older times, and what is wrong
 * in others is ignored; of a tag that comes twice the first counts, and tags after the first 100 do not.
 */
export function parseDmarcRecord(text: string): DmarcRecord {
  const tags = new Map<string, string>();
  for (const part of text.split(";", MAX_TAGS)) {
    const equals = part.indexOf("=");
    const name = part.slice(0, Math.max(0, equals)).trim().toLowerCase();
    if (equals > 0 && !tags.has(name)) tags.set(name, part.slice(equals + 1).trim());
  }
  const tag = (name: string) => tags.get(name)?.toLowerCase();
  const wrong = policyProblem(tags);
  const reports = (tags.get("rua") ?? "").split(",").some(isReportUri);
  const subdomainPolicy = readPolicy(tag("sp"));
  const nonexistentPolicy = readPolicy(tag("np"));
  return {
    text,
    ...(wrong === undefined
      ? {
        policy: readPolicy(tag("p")) ?? "none",
        ...(subdomainPolicy && { subdomainPolicy }),
        ...(nonexistentPolicy && { nonexistentPolicy }),
      }
      : { policy: "none", ...(!reports && { wrong }) }),
    dkimAlignment: tag("adkim") === "s" ? "strict" : "relaxed",
    spfAlignment: tag("aspf") === "s" ? "strict" : "relaxed",
    psd: tag("psd") === "y" ? "y" : tag("psd") === "n" ? "n" : "u",
    testing: tag("t") === "y",
  };
}

/** What is wrong with the policies of these tags. */
function policyProblem(tags: ReadonlyMap<string, string>): string | undefined {
  if (!tags.has("p")) return "it has no p=";
  for (const name of ["p", "sp", "np"]) {
    const value = tags.get(name);
    if (value === undefined || readPolicy(value.toLowerCase()) !== undefined) continue;
    return `${name}=${shown(value)} is none of none, quarantine, reject`;
  }
  return undefined;
}

function readPolicy(value: string | undefined): DmarcPolicy | undefined {
  return value === "none" || value === "quarantine" || value === "reject" ? value : undefined;
}

/** A URI (RFC 3986 §3), perhaps with the size limit of RFC 7489. */
function isReportUri(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:[^\s]+$/i.test(text.trim());
}

function shown(value: string): string {
  return value.slice(0, 30).replace(/[^\x20-\x7e]/g, "?");
}
