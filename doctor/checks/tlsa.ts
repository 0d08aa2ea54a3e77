/**
 * Whether the TLSA records (DANE, RFC 7672) match the key of STARTTLS.
 *
 * @module
 */
import { matchesTlsa, tlsaDefect } from "../../tls/dane.ts";
import { failure, type Finding, ok, unanswered, untested, warning } from "../finding.ts";
import { publicKeyHash } from "../zone.ts";
import type { World } from "../world.ts";

/** Checks the TLSA records of the server's name, if there are any. */
export async function checkTlsa(world: World): Promise<Finding[]> {
  const { hostname, certificate, resolver, domains, dnssec } = world;
  if (domains.length === 0) return [];
  const name = `_25._tcp.${hostname}`;
  const answer = await resolver.tlsa(name);
  if (answer.kind === "failed") return [unanswered("tlsa", name, answer.reason)];
  if (answer.kind !== "found") return [];
  if (certificate === undefined) {
    return [failure("tlsa.stale", name, {
      what:
        "the record promises TLS with a certain key, but this server has no certificate: senders will not deliver",
      next: "Remove the record, or set [tls] cert and key.",
    })];
  }
  const publish = `Publish: ${name}. TLSA 3 1 1 ${publicKeyHash(certificate.publicKey)}`;
  const matching = answer.records.filter((record) => matchesTlsa(certificate.raw, record));
  if (matching.some(({ usage }) => usage === 3)) {
    if (!dnssec || answer.authenticated) return [ok("tlsa", name, "the key in use")];
    return [warning("tlsa.unsigned", name, {
      what: "the record is right, but not signed with DNSSEC, so it is ignored",
      next: "Sign the zone, which is usually one setting at the provider; or remove the record.",
    })];
  }
  if (answer.records.some(({ usage }) => usage === 2)) {
    return [
      untested("tlsa", name, {
        what: "the record names an authority (usage 2), which is not checked here",
      }),
    ];
  }
  const defect = answer.records.map(tlsaDefect).find((defect) => defect !== undefined);
  if (defect !== undefined) {
    return [
      failure("tlsa.malformed", name, { what: `a record cannot be used: ${defect}`, next: `${publish}.` }),
    ];
  }
  return [failure("tlsa.stale", name, {
    what: "the record names another key than the certificate in use: senders that use DANE will not deliver",
    next: `${publish}; remove the old record a day later.`,
  })];
}
