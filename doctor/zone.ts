/**
 * The DNS records to publish for a mail server.
 *
 * @module
 */
import { createHash, type KeyObject, type X509Certificate } from "node:crypto";
import { policyHostOf, type PublishedPolicy } from "../mta_sts/own_policy.ts";
import { addressScope } from "../net/ip_address.ts";
import { recordType } from "./world.ts";

/** RFC 8314 §3.2. */
const IMAPS_PORT = 993;

/** The input for the records. */
export interface ZonePlan {
  /** The server's name. */
  readonly hostname: string;
  /** The domains that it takes mail for. */
  readonly domains: readonly string[];
  /** The addresses that the server's name has: where it listens, and from where it sends. */
  readonly addresses: readonly string[];
  /** The addresses that it sends from. */
  readonly sending: readonly string[];
  /** Public keys of DKIM. */
  readonly dkim: readonly { readonly domain: string; readonly recordName: string; readonly record: string }[];
  /** The certificate that STARTTLS shows; absent if there is none, or no DNSSEC. */
  readonly certificate?: X509Certificate;
  /** The key that the certificate will have after the next change of keys; absent without one. */
  readonly nextKey?: KeyObject;
  /** The MTA-STS policy of the domains; absent: they promise none. */
  readonly policy?: PolicyPlan;
  /** The smarthost that all mail leaves through, if any. */
  readonly smarthost?: string;
  /** The submission ports, if any; a disabled port is `false`. */
  readonly submission?: { readonly tlsPort: number | false; readonly port: number | false };
}

/** The policy, and how senders get it. */
export interface PolicyPlan extends Pick<PublishedPolicy, "record"> {
  /** The addresses of its host, or the name of a host that has the same; absent: a web server serves it. */
  readonly host?: { readonly addresses: readonly string[] } | { readonly name: string };
}

/** One record; a TXT record has `text`, all others `data` as in a zone file. */
export interface ZoneRecord {
  /** The name, absolute, without the trailing dot. */
  readonly name: string;
  /** The type. */
  readonly type: "A" | "AAAA" | "CNAME" | "MX" | "TXT" | "TLSA" | "SRV";
  /** As in a zone file, names with their trailing dot; for TXT the text, not quoted. */
  readonly data: string;
  /** The purpose, in a few words. */
  readonly purpose: string;
}

/** Records that belong together. */
export interface ZoneSection {
  /** The domain, or the server's name. */
  readonly name: string;
  /** In the order to be shown. */
  readonly records: readonly ZoneRecord[];
  /** Further notes; lines that begin with a space are preformatted. */
  readonly notes: readonly string[];
}

/** The records for a server and its domains, the server's own name first. */
export function zoneSections(plan: ZonePlan): ZoneSection[] {
  const { hostname, domains } = plan;
  return [hostSection(plan), ...domains.map((domain) => domainSection(domain, plan)), ...otherKeys(plan)]
    .filter(({ records, notes, name }) => records.length + notes.length > 0 || name === hostname);
}

function hostSection(plan: ZonePlan): ZoneSection {
  const { hostname, addresses, domains, certificate, nextKey } = plan;
  const records = addresses.map((address): ZoneRecord => ({
    name: hostname,
    type: recordType(address),
    data: address,
    purpose: "where the server is",
  }));
  const hidden = addresses.filter((address) => addressScope(address) !== "public");
  const notes = addresses.length === 0
    ? ["The addresses of this machine are not known; add an A record, and AAAA where there is IPv6."]
    : hidden.length > 0
    ? [
      `${hidden.join(", ")} cannot be reached from the Internet: if this machine is behind NAT, ` +
      "put the public address in its place.",
    ]
    : [];
  // Bounces have no sender, and are checked by the server's name (RFC 7208 §2.4).
  if (!domains.includes(hostname)) {
    records.push({
      name: hostname,
      type: "TXT",
      data: spfFor(plan, "-all"),
      purpose: "SPF for mail without a sender, such as bounces",
    });
  }
  if (certificate !== undefined) {
    records.push({
      name: `_25._tcp.${hostname}`,
      type: "TLSA",
      data: `3 1 1 ${publicKeyHash(certificate.publicKey)}`,
      purpose: "DANE: the key that STARTTLS shows",
    });
    if (nextKey !== undefined) {
      records.push({
        name: `_25._tcp.${hostname}`,
        type: "TLSA",
        data: `3 1 1 ${publicKeyHash(nextKey)}`,
        purpose: "DANE: the next key, which mailapp certificate rollover puts into use once this is known",
      });
    }
    notes.push(
      "Before the certificate gets another key, publish its TLSA beside this one, and wait for the TTL; " +
        "or keep the key (mailapp certificate renew does; certbot: --reuse-key). Publish it only in a zone that is " +
        "signed with DNSSEC.",
    );
  }
  return { name: hostname, records, notes };
}

function domainSection(domain: string, plan: ZonePlan): ZoneSection {
  const { hostname, smarthost, policy } = plan;
  const notes = [
    ...(policy === undefined
      ? [
        "MTA-STS: nothing is promised. With [serve-policy] in the configuration mailapp serves a policy, by which others " +
        "send to this domain over verified TLS only, or find out what is in the way of that.",
      ]
      : policy.host === undefined
      ? [
        `MTA-STS: before _mta-sts.${domain} is published, a web server must have what mailapp dns --policy prints at\n` +
        `  https://mta-sts.${domain}/.well-known/mta-sts.txt`,
      ]
      : []),
    "DMARC: p=none only watches. Once doctor finds nothing and mail arrives, p=quarantine keeps others from " +
    `using your name; add rua=mailto:postmaster@${domain} for reports.`,
  ];
  if (smarthost !== undefined) {
    notes.unshift(
      `SPF: mail leaves through ${smarthost}. Add the include: that its provider names, before ~all.`,
    );
  }
  return {
    name: domain,
    notes,
    records: [
      { name: domain, type: "MX", data: `10 ${hostname}.`, purpose: "where mail for the domain goes" },
      {
        name: domain,
        type: "TXT",
        // Not -all, which has some receivers refuse forwarded mail before they see its DKIM signature (RFC 7489 §10.1).
        data: spfFor(plan, "~all"),
        purpose: "SPF: who sends for the domain",
      },
      ...keyRecords(domain, plan),
      {
        name: `_dmarc.${domain}`,
        type: "TXT",
        data: "v=DMARC1; p=none",
        purpose: "DMARC: what to do with mail that fails both SPF and DKIM",
      },
      {
        name: `_smtp._tls.${domain}`,
        type: "TXT",
        data: `v=TLSRPTv1; rua=mailto:postmaster@${domain}`,
        purpose: "TLSRPT: where others report problems with TLS",
      },
      ...policyRecords(domain, plan),
      ...programRecords(domain, plan),
    ],
  };
}

/** MTA-STS (RFC 8461 §3). */
function policyRecords(domain: string, { policy, hostname }: ZonePlan): ZoneRecord[] {
  if (policy === undefined) return [];
  const { host, record } = policy;
  const name = policyHostOf(domain);
  const purpose = "MTA-STS: where the policy is served";
  const places = host === undefined || name === hostname
    ? []
    : "name" in host
    ? [{ name, type: "CNAME", data: `${host.name}.`, purpose } as const]
    : host.addresses.map((address) => ({ name, type: recordType(address), data: address, purpose }));
  return [
    ...places,
    {
      name: `_mta-sts.${domain}`,
      type: "TXT",
      data: record,
      purpose: "MTA-STS: that there is a policy, and which",
    },
  ];
}

/** The keys of domains that this server only sends for. */
function otherKeys(plan: ZonePlan): ZoneSection[] {
  const others = new Set(plan.dkim.map(({ domain }) => domain));
  for (const domain of plan.domains) others.delete(domain);
  return [...others].map((name) => ({
    name,
    records: keyRecords(name, plan),
    notes: [`This server only sends for ${name}: its SPF record must let it (${spfFor(plan, "~all")}).`],
  }));
}

/** SRV records for mail programs (RFC 6186, RFC 8314 §5.1): implicit TLS before STARTTLS. */
function programRecords(domain: string, { hostname, submission }: ZonePlan): ZoneRecord[] {
  if (submission === undefined) return [];
  const services = [
    {
      service: "submissions",
      priority: 0,
      port: submission.tlsPort,
      what: "where they send, with TLS at once",
    },
    { service: "submission", priority: 10, port: submission.port, what: "where they send, with STARTTLS" },
    {
      service: "imaps",
      priority: 0,
      port: IMAPS_PORT,
      what: "where they read; leave it out if no IMAP server runs there",
    },
  ];
  return services.map(({ service, priority, port, what }) => ({
    name: `_${service}._tcp.${domain}`,
    type: "SRV",
    // RFC 2782: "." means that the service is not available.
    data: port === false ? "0 0 0 ." : `${priority} 1 ${port} ${hostname}.`,
    purpose: `mail programs: ${what}`,
  }));
}

function keyRecords(domain: string, { dkim }: ZonePlan): ZoneRecord[] {
  return dkim.filter((key) => key.domain === domain).map(({ recordName, record }) => ({
    name: recordName,
    type: "TXT",
    data: record,
    purpose: "DKIM: the public key of signatures",
  }));
}

/** Uses addresses: they cost the receiver no look-up, and stay valid when MX changes. Behind NAT uses the name. */
function spfFor({ hostname, sending, smarthost }: ZonePlan, end: string): string {
  if (sending.length === 0 || smarthost !== undefined) {
    return `v=spf1 mx ${smarthost === undefined ? end : "~all"}`;
  }
  if (sending.some((address) => addressScope(address) !== "public")) return `v=spf1 a:${hostname} ${end}`;
  const terms = sending.map((address) => `ip${address.includes(":") ? 6 : 4}:${address}`);
  return ["v=spf1", ...terms, end].join(" ");
}

/** The SHA-256 of a public key in hex, as in `TLSA 3 1 1`. */
export function publicKeyHash(publicKey: KeyObject): string {
  const der = publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(der).digest("hex");
}
