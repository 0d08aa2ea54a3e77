/**
 * DANE for SMTP (RFC 7672): what a zone signed with DNSSEC says about a mail host's certificate.
 *
 * Of the four certificate usages DANE-EE (3), the server's own certificate, and DANE-TA (2), an authority that it comes
 * from, are used; where there are only others, TLS is still a must, with any certificate.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, createPublicKey, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type { Resolver, TlsaRecord } from "../dns/resolver.ts";

/** What the zone asks for. */
export type DaneNeed =
  /** Nothing; `reason` says why there is no DANE for this host. */
  | { readonly kind: "none"; readonly reason: string }
  /** TLS, with any certificate: there are records, but none that can be used (§2.2). */
  | { readonly kind: "encrypt"; readonly reason: string }
  /**
   * TLS, with one of the certificates of usage 3, of which neither name nor dates matter (§3.1.1), or under one
   * of usage 2. They were found at `baseDomain`, which is the name for SNI (§8.1).
   */
  | { readonly kind: "records"; readonly records: readonly TlsaRecord[]; readonly baseDomain: string }
  /** Unknown now, so the host cannot be used now (§2.1.2): whoever can suppress records must not gain by it. */
  | { readonly kind: "unknown"; readonly reason: string };

/** The host that is asked about. */
export interface DaneHost {
  /** Its name. */
  readonly host: string;
  /** The name at the end of its aliases, if it has any and DNSSEC secures all of them. */
  readonly expanded?: string;
  /** The TCP port. */
  readonly port: number;
  /** Whether DNSSEC secures the way to it: MX and address records, or its alias. */
  readonly authenticated: boolean;
}

/**
 * Looks up what is asked of a host's certificate, first where its aliases end, then at its own name (§2.2.3); the
 * resolver's AD bit is trusted.
 */
export async function daneNeed(
  { host, expanded, port, authenticated }: DaneHost,
  { resolver, signal }: { readonly resolver: Resolver; readonly signal?: AbortSignal },
): Promise<DaneNeed> {
  if (!authenticated || isIP(host) !== 0) {
    return { kind: "none", reason: `the way to ${host} is not secured by DNSSEC` };
  }
  for (const baseDomain of expanded === undefined ? [host] : [expanded, host]) {
    const answer = await resolver.tlsa(`_${port}._tcp.${baseDomain}`, { ...(signal && { signal }) });
    if (answer.kind === "failed") {
      return { kind: "unknown", reason: `TLSA of ${baseDomain}: ${answer.reason}` };
    }
    if (answer.kind !== "found" || !answer.authenticated) continue;
    const records = strongest(answer.records.filter(isUsable));
    return records.length > 0
      ? { kind: "records", records, baseDomain }
      : { kind: "encrypt", reason: `none of the TLSA records of ${baseDomain} can be used here` };
  }
  return { kind: "none", reason: `${host} has no signed TLSA records` };
}

function isUsable(record: TlsaRecord): boolean {
  return (record.usage === 2 || record.usage === 3) && tlsaDefect(record) === undefined;
}

/** Of digests of the same thing the strongest count, so that breaking a weaker one gains nothing (RFC 7671 §9). */
function strongest(records: readonly TlsaRecord[]): TlsaRecord[] {
  return records.filter(({ usage, selector, matchingType }) =>
    matchingType === 0 ||
    !records.some((other) =>
      other.usage === usage && other.selector === selector && other.matchingType > matchingType
    )
  );
}

/** Octets of each digest (RFC 6698 §2.1.3). */
const DIGEST_LENGTHS: Readonly<Record<number, number>> = { 1: 32, 2: 64 };

/**
 * What is wrong with a record, whatever its usage; `undefined` for nothing. Such a record is not a record that can be used
 * (RFC 7672 §2.2): by itself it asks for TLS, and beside others it is passed over.
 */
export function tlsaDefect({ selector, matchingType, data }: TlsaRecord): string | undefined {
  if (selector > 1) return `there is no selector ${selector}`;
  if (matchingType > 2) return `there is no matching type ${matchingType}`;
  const length = DIGEST_LENGTHS[matchingType];
  if (length !== undefined) {
    return data.length === length ? undefined : `its digest has ${data.length} octets, and not ${length}`;
  }
  try {
    if (selector === 0) new X509Certificate(data);
    else createPublicKey({ key: Buffer.from(data), format: "der", type: "spki" });
    return undefined;
  } catch {
    return `its data is no ${selector === 0 ? "certificate" : "public key"}`;
  }
}

/** Whether a record names this certificate (DER), or its key (RFC 6698 §2.1). */
export function matchesTlsa(certificate: Uint8Array, { selector, matchingType, data }: TlsaRecord): boolean {
  let part: Uint8Array;
  try {
    part = selector === 0
      ? certificate
      : new X509Certificate(certificate).publicKey.export({ type: "spki", format: "der" });
  } catch {
    return false;
  }
  const seen = matchingType === 0
    ? part
    : createHash(matchingType === 1 ? "sha256" : "sha512").update(part).digest();
  return seen.length === data.length && data.every((byte, i) => byte === seen[i]);
}
