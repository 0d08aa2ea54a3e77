/**
 * DANE-TA (RFC 7672 §3.1.2, RFC 7671 §5.2): whether a server's certificate comes from an authority that DNSSEC names, and
 * is for the right name.
 *
 * Signatures, dates and the mark of an authority are checked for all that leads there; the authority itself is trusted on
 * the word of DNSSEC, within its dates.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPublicKey, X509Certificate } from "node:crypto";
import type { TlsaRecord } from "../dns/resolver.ts";
import { matchesTlsa } from "./dane.ts";

/** What a chain is held against. */
export interface AuthorityCheck {
  /** The records; those of another usage than 2 are passed over. */
  readonly records: readonly TlsaRecord[];
  /** Names that the certificate may be for, in lower case: one is enough (RFC 7672 §3.2.3). */
  readonly names: readonly string[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

// Signatures that are checked for one chain.
const MAX_SIGNATURES = 40;

/**
 * What is wrong with a chain; `undefined` where it leads to an authority that a record names.
 * @param chain DER, the server's own certificate first; the order of the others does not matter
 */
export function authorityProblem(
  chain: readonly Uint8Array[],
  { records, names, now }: AuthorityCheck,
): AuthorityProblem | undefined {
  const authorities = records.filter(({ usage }) => usage === 2);
  const [own, ...others] = chain.map(readCertificate);
  if (own === undefined) return "certificate-not-trusted";
  const path = new Path(others, { records: authorities, now });
  if (!path.leadsOut(own)) return path.expired ? "certificate-expired" : "certificate-not-trusted";
  return namesOf(own).some((name) => names.some((wanted) => covers(name, wanted)))
    ? undefined
    : "certificate-host-mismatch";
}

/** `undefined` where it cannot be read: a chain may hold more than leads to the authority. */
function readCertificate(der: Uint8Array): X509Certificate | undefined {
  try {
    return new X509Certificate(der);
  } catch {
    return undefined;
  }
}

/** What can be wrong, in the words of TLSRPT (RFC 8460 §4.3). */
export type AuthorityProblem =
  | "certificate-not-trusted"
  | "certificate-expired"
  | "certificate-host-mismatch";

/** Looks for the way from a certificate to an authority that is named; each certificate is stepped on once. */
class Path {
  readonly #records: readonly TlsaRecord[];
  readonly #now: number;
  readonly #unused: Set<X509Certificate>;
  #signatures = 0;
  /** Whether a way was given up for its dates. */
  expired = false;

  constructor(
    others: readonly (X509Certificate | undefined)[],
    { records, now }: { readonly records: readonly TlsaRecord[]; readonly now: number },
  ) {
    this.#records = records;
    this.#now = now;
    const whole = records.filter(({ selector, matchingType }) => selector === 0 && matchingType === 0);
    // An authority that stands in DNS as a whole need not be sent by the server (RFC 7671 §5.2.2).
    const issuers = [...others, ...whole.map(({ data }) => readCertificate(data))];
    this.#unused = new Set(issuers.filter((issuer) => issuer !== undefined));
  }

  leadsOut(certificate: X509Certificate): boolean {
    if (!this.#isValidNow(certificate)) return false;
    if (this.#records.some((record) => this.#isSignedByKey(certificate, record))) return true;
    for (const issuer of [...this.#unused]) {
      if (!this.#unused.has(issuer) || !issuer.ca || !certificate.checkIssued(issuer)) continue;
      if (!this.#verifies(certificate, () => issuer.publicKey)) continue;
      this.#unused.delete(issuer);
      const der = new Uint8Array(issuer.raw);
      if (this.#records.some((record) => matchesTlsa(der, record)) && this.#isValidNow(issuer)) return true;
      if (this.leadsOut(issuer)) return true;
    }
    return false;
  }

  #isValidNow({ validFromDate, validToDate }: X509Certificate): boolean {
    const valid = validFromDate.getTime() <= this.#now && this.#now <= validToDate.getTime();
    if (!valid) this.expired = true;
    return valid;
  }

  /** Whether it bears the signature of the bare key that a record holds. */
  #isSignedByKey(certificate: X509Certificate, { selector, matchingType, data }: TlsaRecord): boolean {
    if (selector !== 1 || matchingType !== 0) return false;
    return this.#verifies(
      certificate,
      () => createPublicKey({ key: Buffer.from(data), format: "der", type: "spki" }),
    );
  }

  #verifies(certificate: X509Certificate, key: () => ReturnType<typeof createPublicKey>): boolean {
    if (++this.#signatures > MAX_SIGNATURES) return false;
    try {
      return certificate.verify(key());
    } catch {
      // Of another kind than the signature.
      return false;
    }
  }
}

/** The DNS names of a certificate, or, where it has none, its common name (RFC 7672 §3.2.2). */
function namesOf({ subjectAltName = "", subject }: X509Certificate): string[] {
  const names = subjectAltName.split(", ").flatMap((entry) =>
    entry.startsWith("DNS:") ? [entry.slice(4)] : []
  );
  if (names.length > 0) return names.map((name) => name.toLowerCase());
  return subject.split("\n").flatMap((line) => line.startsWith("CN=") ? [line.slice(3).toLowerCase()] : []);
}

/** Whether a name of a certificate, with `*` for its whole first label perhaps, is this one. */
function covers(name: string, wanted: string): boolean {
  return name === wanted || (name.startsWith("*.") && name.slice(1) === wanted.slice(wanted.indexOf(".")));
}
