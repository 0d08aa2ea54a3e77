/**
 * Whether the TLSA records (DANE, RFC 7672) match the key of STARTTLS.
 *
 * @module
 */
import type { TlsaRecord } from "../../dns/resolver.ts";
import { matchesTlsa, tlsaDefect } from "../../tls/dane.ts";
import { failure, type Finding, ok, unanswered, untested, warning } from "../finding.ts";
import type { Setup } from "../setup.ts";
import { publicKeyHash } from "../zone.ts";
import type { World } from "../world.ts";

/** What the check needs besides DNS. */
export type KeySetup = Pick<Setup, "nextKey" | "authority" | "clock">;

/** Checks the TLSA records of the server's name, if there are any. */
export async function checkTlsa(world: World, setup: KeySetup): Promise<Finding[]> {
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
    const others = answer.records.filter((record) => record.usage === 3 && !matching.includes(record));
    const pending = checkOtherKeys(name, { others: others.map(tlsaText), setup });
    if (pending.length > 0) return pending;
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

/** What a change of keys has left to do. */
function checkOtherKeys(
  name: string,
  { others, setup: { nextKey, authority, clock } }: {
    readonly others: readonly string[];
    readonly setup: KeySetup;
  },
): Finding[] {
  const unknown = others.filter((record) => record !== nextKey?.tlsa);
  if (nextKey === undefined) {
    // Without [tls.acme] a record may be of a key that something else will use next.
    if (authority === undefined || unknown.length === 0) return [];
    return [warning("tlsa.leftover", name, {
      what: `${unknown.length} of its records ${
        unknown.length === 1 ? "names a key" : "name keys"
      } that this server does not have: whoever has such a key could pose as it`,
      next: `Remove: ${unknown.map((record) => `${name}. TLSA ${record}`).join(", ")}`,
    })];
  }
  const { tlsa, usableFrom } = nextKey;
  const rollover = "As root: mailapp certificate rollover";
  if (!others.includes(tlsa)) {
    return [warning("tlsa.rollover", name, {
      what: "a change of keys has begun, and the record of the next key is not published",
      next:
        `Publish beside the current record: ${name}. TLSA ${tlsa}. Then, as root: mailapp certificate rollover.`,
    })];
  }
  if (usableFrom === undefined) {
    return [warning("tlsa.rollover", name, {
      what: "a change of keys has begun, and the record of the next key is published",
      next: `${rollover}, which says from when on the key may be used.`,
    })];
  }
  const when = `${new Date(usableFrom).toISOString().slice(0, 16).replace("T", " ")} UTC`;
  return [warning("tlsa.rollover", name, {
    what: clock.now() < usableFrom
      ? `the record of the next key is published; resolvers may have the old answer until ${when}`
      : `the record of the next key has been published for long enough since ${when}`,
    next: `${rollover}${clock.now() < usableFrom ? ", after that" : ""}.`,
  })];
}

function tlsaText({ usage, selector, matchingType, data }: TlsaRecord): string {
  return `${usage} ${selector} ${matchingType} ${data.toHex()}`;
}
