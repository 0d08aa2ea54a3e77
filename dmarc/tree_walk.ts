/**
 * Where DMARC records are found (RFC 9989 §4.10): by walking up the tree of names from a domain, without a list of
 * public suffixes.
 *
 * @module
 */
import type { Resolver } from "../dns/resolver.ts";
import { type DmarcRecord, dmarcRecords, parseDmarcRecord } from "./record.ts";

/** What one name has. */
export type Lookup =
  | { readonly kind: "found"; readonly record: DmarcRecord }
  /** No record, or several, of which none counts. */
  | { readonly kind: "none"; readonly several?: number }
  /** DNS could not tell. */
  | { readonly kind: "failed"; readonly reason: string };

/** A record and the domain that it is about. */
export interface PlacedRecord {
  /** Without `_dmarc.`. */
  readonly domain: string;
  /** What it says. */
  readonly record: DmarcRecord;
}

/** Where an organization's domain begins, or why that cannot be determined. */
export type Organization =
  | {
    readonly kind: "found";
    /** The Organizational Domain. */
    readonly domain: string;
    /** Its record, or that of the public suffix above it; absent where there is neither. */
    readonly policy?: PlacedRecord;
  }
  | { readonly kind: "failed"; readonly reason: string };

const MAX_LABELS = 8;

/** The names of a walk, from the domain up to the top-level domain: at most eight (§4.10). */
export function walkNames(domain: string): string[] {
  const labels = domain.split(".");
  const above = labels.slice(Math.max(1, labels.length - (MAX_LABELS - 1)));
  return [domain, ...above.map((_, i) => above.slice(i).join("."))];
}

/** Looks up DMARC records for one message; no name is asked for twice. */
export class TreeWalk {
  readonly #resolver: Resolver;
  readonly #signal: AbortSignal | undefined;
  readonly #lookups = new Map<string, Promise<Lookup>>();

  /** Asks nothing yet. */
  constructor(resolver: Resolver, signal?: AbortSignal) {
    this.#resolver = resolver;
    this.#signal = signal;
  }

  /** The record at `_dmarc.` of this very domain. */
  lookUp(domain: string): Promise<Lookup> {
    let lookup = this.#lookups.get(domain);
    if (lookup === undefined) {
      lookup = this.#ask(domain);
      this.#lookups.set(domain, lookup);
    }
    return lookup;
  }

  /**
   * Whether the domain exists (RFC 8020); `undefined` where DNS cannot tell. The question is for an alias, since that is
   * the one type whose answer never speaks of another name.
   */
  async exists(domain: string): Promise<boolean | undefined> {
    const { kind } = await this.#resolver.cname(domain, { ...(this.#signal && { signal: this.#signal }) });
    return kind === "failed" ? undefined : kind !== "no-such-name";
  }

  /** The Organizational Domain of a domain (§4.10.2), which is the domain itself where no record says otherwise. */
  async organization(domain: string): Promise<Organization> {
    const found: PlacedRecord[] = [];
    for (const name of walkNames(domain)) {
      const lookup = await this.lookUp(name);
      if (lookup.kind === "failed") {
        if (isIrrelevant(name, found)) continue;
        return { kind: "failed", reason: `TXT of _dmarc.${name}: ${lookup.reason}` };
      }
      if (lookup.kind === "none") continue;
      found.push({ domain: name, record: lookup.record });
      if (lookup.record.psd !== "u") break;
    }
    const last = found.at(-1);
    if (last === undefined) return { kind: "found", domain };
    // A public suffix that is not where the walk began: the organization is one label below.
    const organization = last.record.psd === "y" && last.domain !== domain
      ? domain.split(".").slice(-(last.domain.split(".").length + 1)).join(".")
      : last.domain;
    const own = found.find((placed) => placed.domain === organization);
    return { kind: "found", domain: organization, policy: own ?? last };
  }

  async #ask(domain: string): Promise<Lookup> {
    const answer = await this.#resolver.txt(`_dmarc.${domain}`, {
      ...(this.#signal && { signal: this.#signal }),
    });
    if (answer.kind === "failed") return { kind: "failed", reason: answer.reason };
    const records = answer.kind === "found" ? dmarcRecords(answer.records) : [];
    const [record, ...more] = records;
    if (record === undefined) return { kind: "none" };
    return more.length > 0
      ? { kind: "none", several: records.length }
      : { kind: "found", record: parseDmarcRecord(record) };
  }
}

/**
 * Whether a failure at this name leaves the result as it is: at a top-level domain, with a record right below it, which
 * is the organization's whether the top-level domain says that it is a public suffix or says nothing. Many resolvers
 * answer for no top-level domain but their own.
 */
function isIrrelevant(name: string, found: readonly PlacedRecord[]): boolean {
  return !name.includes(".") && found.at(-1)?.domain.split(".").length === 2;
}
