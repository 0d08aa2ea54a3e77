/**
 * Checks the certificate of STARTTLS on the disk.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { type CertificatePair, isRenewalDue } from "../../tls/certificates.ts";
import { failure, type Finding, ok, untested, warning } from "../finding.ts";
import type { AuthorityState, Setup } from "../setup.ts";
import { AS_ROOT } from "./config.ts";

/** Checks the certificate of a serve-in, wherever it is. */
export function checkServeInCertificate(
  { hostname, domains, certificate, selfSigned, authority, clock }: Pick<
    Setup,
    "hostname" | "domains" | "certificate" | "selfSigned" | "authority" | "clock"
  >,
): Finding[] {
  if (domains.length === 0) return [];
  const asked = authority === undefined ? [] : checkAuthority(authority, hostname);
  if (authority?.issued === false) return asked;
  const common = { hostname, now: clock.now(), selfSigned };
  switch (certificate.kind) {
    case "known":
      return [...asked, ...checkCertificate({ ...common, pair: certificate.pair })];
    case "unusable":
      return checkCertificate({ ...common, error: certificate.reason });
    case "forbidden":
      return [untested("certificate", hostname, { what: certificate.reason, next: AS_ROOT })];
    case "to-be-made":
      return [untested("certificate", hostname, { what: "serve-in makes one at its first start" })];
  }
}

/** Whether the authority of `[tls.acme]` has issued one, and what its last refusal was. */
export function checkAuthority({ issued, error }: AuthorityState, hostname: string): Finding[] {
  const findings: Finding[] = [];
  if (!issued) {
    findings.push(warning("certificate.not_issued", hostname, {
      what: "the authority of [tls.acme] has issued none yet, and a self-signed one is used",
      next: "As root: mailapp certificate obtain.",
    }));
  }
  if (error !== undefined) {
    findings.push(warning("certificate.refused", hostname, {
      what: `the last attempt to get one failed: ${error}`,
      next: "As root: mailapp certificate renew, which tries again and shows why.",
    }));
  }
  return findings;
}

/** The input of the check. */
export interface CertificateCheck {
  /** The server's name. */
  readonly hostname: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** The pair; absent where there is none. */
  readonly pair?: CertificatePair | undefined;
  /** Why it cannot be used. */
  readonly error?: string | undefined;
  /** Whether serve-in made it itself. */
  readonly selfSigned: boolean;
}

/** Checks dates, names and chain. */
export function checkCertificate({ hostname, now, pair, error, selfSigned }: CertificateCheck): Finding[] {
  if (error !== undefined) {
    return [
      failure("certificate.unusable", hostname, {
        what: error,
        next: "Fix it; serve-in will not start.",
      }),
    ];
  }
  if (pair === undefined) {
    return [warning("certificate.missing", hostname, {
      what: "there is no certificate: mail arrives in plaintext, and some senders refuse to send without TLS",
      next: "Set [tls] cert and key; until there is one, self_signed = true is better than nothing.",
    })];
  }
  const { leaf, names, warnings } = pair;
  const left = leaf.validToDate.getTime() - now;
  const expiring = expiry(leaf, { selfSigned, now });
  const others = warnings.filter((text) => !/: (?:expired on|expires on) /.test(text));
  const findings = others.map((what) =>
    warning("certificate.unfit", hostname, {
      what,
      next: "Get a valid one, and put its whole chain into [tls] cert.",
    })
  );
  if (expiring !== undefined) {
    const report = left <= 0 ? failure : warning;
    findings.push(report(left <= 0 ? "certificate.expired" : "certificate.expiring", hostname, expiring));
  }
  if (findings.length > 0) return findings;
  return [ok("certificate", hostname, `for ${names.join(", ")}, until ${day(leaf.validToDate)}`)];
}

/** The texts for a certificate that should have been renewed; `undefined` for any other. */
export function expiry(
  leaf: X509Certificate,
  { selfSigned, now }: { readonly selfSigned: boolean; readonly now: number },
): { what: string; next: string } | undefined {
  if (!isRenewalDue(leaf, now)) return undefined;
  const until = leaf.validToDate;
  const left = until.getTime() - now;
  const next = selfSigned
    ? "Restart serve-in, which then makes another."
    : "Renew it (certbot renew), and find out why that did not happen automatically; serve-in picks up the new one.";
  if (left <= 0) return { what: `the certificate expired on ${day(until)}`, next };
  const days = Math.floor(left / 86_400_000);
  return { what: `the certificate expires on ${day(until)}, in ${days} day${days === 1 ? "" : "s"}`, next };
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
