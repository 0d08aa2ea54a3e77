/**
 * The results in a report about TLS, explained.
 *
 * @module
 */

/** What each result means, and what to do (RFC 8460 §4.3). */
const RESULTS: ReadonlyMap<string, string> = new Map(Object.entries({
  "starttls-not-supported":
    "STARTTLS was not offered. Check that there is a certificate, and that no firewall rewrites SMTP.",
  "certificate-host-mismatch":
    "The certificate is not for the host's name. Get one that names it: mailapp doctor checks it.",
  "certificate-expired": "The certificate has expired. Renew it, and check that serve-in uses it.",
  "certificate-not-trusted":
    "The certificate is not from an authority that they trust, or an intermediate one is missing from the file.",
  "validation-failure": "TLS failed for another reason.",
  "tlsa-invalid": "A TLSA record cannot be used. mailapp dns prints the right one.",
  "dnssec-invalid": "DNSSEC validation of the domain failed. Check whether its signatures have expired.",
  "dane-required": "They require DANE, and the domain has none.",
  "sts-policy-fetch-error":
    "The MTA-STS policy could not be fetched. Check that https://mta-sts.DOMAIN/.well-known/mta-sts.txt answers.",
  "sts-policy-invalid": "The MTA-STS policy is malformed. mailapp dns prints it.",
  "sts-webpki-invalid": "The certificate of the policy host is not valid.",
}));

/** What a result means, and what to do; `undefined` if it is not known. */
export function tlsResultMeaning(type: string): string | undefined {
  return RESULTS.get(type);
}
