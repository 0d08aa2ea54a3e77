/**
 * Configurations with one mistake each, and by which finding `mailapp selftest` tells of it.
 *
 * @module
 */
import { createTestAuthority } from "../../selftest/authority.ts";
import type { Group } from "../../selftest/groups.ts";

/** Tables of a configuration; what they say goes before what `mailapp init` wrote. */
export type Tables = Readonly<Record<string, unknown>>;

/** One mistake. */
export interface Misconfiguration {
  /** For people. */
  readonly mistake: string;
  /** What the file says. */
  readonly tables: Tables;
  /** The group of cases that tells of it. */
  readonly group: Group;
  /** The id of the finding. */
  readonly finding: string;
  /** What `next` must name: the key to change. */
  readonly names: RegExp;
}

/** A certificate of an authority that the machine does not know, with these names and dates. */
async function certificate(
  directory: string,
  { name, names, expired = false }: {
    readonly name: string;
    readonly names: readonly string[];
    readonly expired?: boolean;
  },
): Promise<Tables> {
  const authority = await createTestAuthority();
  const day = 86_400_000;
  const { cert, key } = await authority.issue({
    names,
    ...(expired && { notBefore: new Date(Date.now() - 9 * day), notAfter: new Date(Date.now() - day) }),
  });
  const [certFile, keyFile] = [`${directory}/${name}.crt`, `${directory}/${name}.key`];
  await Deno.writeTextFile(certFile, cert);
  await Deno.writeTextFile(keyFile, key, { mode: 0o600 });
  return { tls: { cert: certFile, key: keyFile, self_signed: false } };
}

/** The mistakes; files that they need are written to the directory. */
export async function misconfigurations(directory: string): Promise<readonly Misconfiguration[]> {
  const checks = (settings: Tables) => ({ "serve-in": { checks: settings } });
  const serveIn = (settings: Tables) => ({ "serve-in": settings });
  const serveOut = (settings: Tables) => ({ "serve-out": settings });
  const submit = (settings: Tables) => ({ "serve-submit": settings });
  const row = (
    mistake: string,
    tables: Tables,
    { group, finding, names }: Pick<Misconfiguration, "group" | "finding" | "names">,
  ): Misconfiguration => ({ mistake, tables, group, finding, names });
  return [
    row("a catch-all", { mailboxes: { aliases: { "*": "alice" } } }, {
      group: "receive",
      finding: "address.catch_all",
      names: /mailboxes\.aliases/,
    }),
    row("a catch-all of one domain", { mailboxes: { aliases: { "*@example.com": "bob" } } }, {
      group: "receive",
      finding: "address.catch_all",
      names: /mailboxes\.aliases/,
    }),
    row("abuse with a typo", { mailboxes: { aliases: { abuse: undefined, abbuse: "alice" } } }, {
      group: "receive",
      finding: "deliver.abuse",
      names: /abuse/,
    }),
    row("a limit on messages that no message fits", serveIn({ max_message_size: 10 }), {
      group: "receive",
      finding: "deliver.refused",
      names: /max_message_size/,
    }),
    row(
      "a certificate for another name",
      await certificate(directory, { name: "other", names: ["mx.elsewhere.test"] }),
      { group: "receive", finding: "tls.certificate", names: /mx\.example\.com/ },
    ),
    row(
      "a certificate that has expired",
      await certificate(directory, { name: "expired", names: ["mx.example.com"], expired: true }),
      { group: "receive", finding: "tls.certificate", names: /[Rr]enew/ },
    ),
    row(
      "a certificate of an unknown authority",
      await certificate(directory, { name: "unknown", names: ["mx.example.com"] }),
      { group: "receive", finding: "tls.certificate", names: /intermediate|authority/ },
    ),
    row("a policy that lists another MX host", {
      ...await certificate(directory, { name: "policy", names: ["mx.example.com", "mta-sts.example.com"] }),
      "serve-policy": {},
      mta_sts: { mode: "enforce", mx: ["mx.exmaple.com"] },
    }, { group: "policy", finding: "policy.mx", names: /mx\.example\.com.*\[mta_sts\]/ }),
    row("a policy in testing that lists the MX hosts of another domain", {
      ...await certificate(directory, { name: "policy", names: ["mx.example.com", "mta-sts.example.com"] }),
      "serve-policy": {},
      mta_sts: { mode: "testing", mx: ["*.example.net", "*.mx.example.com"] },
    }, { group: "policy", finding: "policy.mx", names: /mx\.example\.com.*\[mta_sts\]/ }),
    row("a certificate without the name of the policy host", {
      ...await certificate(directory, { name: "no-policy", names: ["mx.example.com"] }),
      "serve-policy": {},
    }, { group: "policy", finding: "policy.certificate", names: /mta-sts\.example\.com/ }),
    row("no certificate", { tls: { self_signed: false }, "serve-submit": undefined }, {
      group: "receive",
      finding: "tls.none",
      names: /self_signed/,
    }),
    row("DMARC off", checks({ dmarc: "off" }), { group: "forged", finding: "forged.reject", names: /dmarc/ }),
    row("DMARC marked only", checks({ dmarc: "mark" }), {
      group: "forged",
      finding: "forged.reject",
      names: /dmarc/,
    }),
    row("no folder for junk", { mailboxes: { junk_folder: "" } }, {
      group: "forged",
      finding: "forged.quarantine",
      names: /junk_folder/,
    }),
    row("greylisting everything", checks({ greylist: "all" }), {
      group: "greylist",
      finding: "greylist.good",
      names: /greylist/,
    }),
    row("one recipient", serveIn({ max_recipients: 1 }), {
      group: "limit",
      finding: "limit.recipients",
      names: /max_recipients/,
    }),
    row("one connection", serveIn({ max_connections: 1, max_connections_per_ip: 1 }), {
      group: "limit",
      finding: "limit.connections",
      names: /max_connections/,
    }),
    row("one connection of each client", serveIn({ max_connections_per_ip: 1 }), {
      group: "limit",
      finding: "limit.connections",
      names: /max_connections_per_ip/,
    }),
    row("all connections for one client", serveIn({ max_connections_per_ip: 1000 }), {
      group: "limit",
      finding: "limit.greedy",
      names: /max_connections_per_ip/,
    }),
    row("a small limit on messages", serveIn({ max_message_size: "1MiB" }), {
      group: "limit",
      finding: "limit.size",
      names: /max_message_size/,
    }),
    row("a smarthost that is this machine's serve-in", serveOut({ routes: { "*": "mx.example.com:25" } }), {
      group: "send",
      finding: "send.good",
      names: /back to ourselves/,
    }),
    row("a smarthost that is this machine's serve-out", serveOut({ routes: { "*": "127.0.0.1:25" } }), {
      group: "send",
      finding: "send.good",
      names: /back to ourselves/,
    }),
    row("a route of one domain to itself", serveOut({ routes: { "example.net": "localhost:25" } }), {
      group: "send",
      finding: "send.route",
      names: /example\.net.*back to ourselves/,
    }),
    row("a DKIM key for a domain with a typo", {
      dkim: { "example.com": undefined, "exmaple.com": "(as of example.com)" },
    }, { group: "send", finding: "send.signature", names: /example\.com/ }),
    row("bare names in a foreign domain", serveOut({ qualify_domain: "example.invalid" }), {
      group: "send",
      finding: "send.bare",
      names: /qualify_domain/,
    }),
    row("one program at a time", serveOut({ max_connections: 1 }), {
      group: "send",
      finding: "send.connections",
      names: /max_connections/,
    }),
    row("one recipient of a program's message", serveOut({ max_recipients: 1 }), {
      group: "send",
      finding: "send.recipients",
      names: /max_recipients/,
    }),
    row("small messages of programs", serveOut({ max_message_size: "100KiB" }), {
      group: "send",
      finding: "send.size",
      names: /max_message_size/,
    }),
    row("one message an hour", submit({ messages_an_hour: 1 }), {
      group: "submit",
      finding: "submit.own",
      names: /messages_an_hour/,
    }),
    row("one new recipient a day", submit({ new_recipients_a_day: 1 }), {
      group: "submit",
      finding: "submit.own",
      names: /limits on recipients/,
    }),
    row("one connection of a household", submit({ max_connections_per_ip: 1 }), {
      group: "submit",
      finding: "submit.connections",
      names: /max_connections_per_ip/,
    }),
    row("a login that may write as everybody", submit({ send_as: { alice: "*@example.com" } }), {
      group: "submit",
      finding: "submit.other",
      names: /send_as/,
    }),
    row("logins without limits", submit({ messages_an_hour: 0, messages_a_day: 0 }), {
      group: "setting",
      finding: "setting.submission_limits",
      names: /messages_a_day/,
    }),
    row("short patience with clients", serveIn({ idle_timeout: "10s" }), {
      group: "setting",
      finding: "setting.idle",
      names: /idle_timeout/,
    }),
    row("giving up within an hour", serveOut({ expire_after: "1h" }), {
      group: "setting",
      finding: "setting.expire",
      names: /expire_after/,
    }),
    row("trying again every second", serveOut({ retry: ["1s"] }), {
      group: "setting",
      finding: "setting.retry_always",
      names: /retry/,
    }),
    row("a long first wait", serveOut({ retry: ["1d"] }), {
      group: "setting",
      finding: "setting.retry_once",
      names: /retry/,
    }),
    row("no notice of a delay", serveOut({ delay_notice_after: "5d" }), {
      group: "setting",
      finding: "setting.delay_notice",
      names: /delay_notice_after/,
    }),
    row("short patience at the final dot", serveOut({ timeouts: { data_end: "10s" } }), {
      group: "setting",
      finding: "setting.patience",
      names: /data_end/,
    }),
    row("targets within the own network", serveOut({ allow_private_targets: true }), {
      group: "setting",
      finding: "setting.private_targets",
      names: /allow_private_targets/,
    }),
    row("MTA-STS off", serveOut({ mta_sts: false }), {
      group: "setting",
      finding: "setting.mta_sts",
      names: /mta_sts/,
    }),
    row("MTA-STS promised with a self-signed certificate", { mta_sts: { mode: "enforce" } }, {
      group: "setting",
      finding: "setting.mta_sts_promise",
      names: /mta_sts/,
    }),
    row("MTA-STS promised for another MX host", { mta_sts: { mode: "enforce", mx: ["mx.example.net"] } }, {
      group: "setting",
      finding: "setting.mta_sts_promise",
      names: /mta_sts/,
    }),
    row("a TLS policy that weakens", serveOut({ tls_policy: { "bank.example": "prefer" } }), {
      group: "setting",
      finding: "setting.tls_policy",
      names: /tls_policy/,
    }),
    row("DNSSEC by the word of a far server", { dns: { servers: ["192.0.2.53"], dnssec: true } }, {
      group: "setting",
      finding: "setting.dnssec",
      names: /dnssec/,
    }),
    row("more room asked for than the disk has", serveIn({ min_free_space: "900000GiB" }), {
      group: "setting",
      finding: "setting.room",
      names: /min_free_space/,
    }),
    row("trusted sealers without ARC", checks({ arc: false, trusted_sealers: ["lists.example.org"] }), {
      group: "setting",
      finding: "setting.sealers",
      names: /arc/,
    }),
    row("no time for the checks", checks({ timeout: "1s" }), {
      group: "setting",
      finding: "setting.checks_timeout",
      names: /timeout/,
    }),
    row("a hostname of the local network", { hostname: "mx.office.lan" }, {
      group: "setting",
      finding: "setting.hostname",
      names: /hostname/,
    }),
    row("serve-in on loopback", serveIn({ listen: ["127.0.0.1"] }), {
      group: "setting",
      finding: "setting.listen",
      names: /listen/,
    }),
    row("serve-in on a port that other servers do not use", serveIn({ port: 2525 }), {
      group: "setting",
      finding: "setting.listen",
      names: /port/,
    }),
    row("a log without messages", { log: { level: "error" } }, {
      group: "setting",
      finding: "setting.log",
      names: /level/,
    }),
    row("another port for all mail servers", serveOut({ smtp_port: 587 }), {
      group: "setting",
      finding: "setting.smtp_port",
      names: /smtp_port/,
    }),
    row("IPv6 alone", serveOut({ family: "ipv6" }), {
      group: "setting",
      finding: "setting.family",
      names: /family/,
    }),
    row("a source address of another machine", serveOut({ source_ipv4: "192.0.2.77" }), {
      group: "setting",
      finding: "setting.source",
      names: /source_ipv4/,
    }),
    row("no patience with commands", serveOut({ timeouts: { command: "5s" } }), {
      group: "setting",
      finding: "setting.timeouts",
      names: /command/,
    }),
    row("a notice of delay within a minute", serveOut({ delay_notice_after: "1m" }), {
      group: "setting",
      finding: "setting.delay_notice_early",
      names: /delay_notice_after/,
    }),
    row("trying for two months", serveOut({ expire_after: "60d" }), {
      group: "setting",
      finding: "setting.expire_late",
      names: /expire_after/,
    }),
    row("a hundred connections to each receiver", serveOut({ max_connections_per_host: 100 }), {
      group: "setting",
      finding: "setting.per_host",
      names: /max_connections_per_host/,
    }),
    row("a route for a domain of serve-in", serveOut({ routes: { "example.com": "mx.elsewhere.test:25" } }), {
      group: "setting",
      finding: "setting.route_own",
      names: /routes/,
    }),
    row("held notices that are dropped at once", serveOut({ keep_undeliverable: "1h" }), {
      group: "setting",
      finding: "setting.undeliverable",
      names: /keep_undeliverable/,
    }),
    row("nothing kept free on the disk", serveIn({ min_free_space: 0 }), {
      group: "setting",
      finding: "setting.no_reserve",
      names: /min_free_space/,
    }),
    row(
      "a list of good servers that refuses them",
      checks({ dns_lists: [{ zone: "list.dnswl.org", action: "refuse" }] }),
      { group: "setting", finding: "setting.list_action", names: /dns_lists/ },
    ),
    row(
      "a list of bad servers that lets them in",
      checks({ dns_lists: [{ zone: "zen.spamhaus.org", action: "allow" }] }),
      { group: "setting", finding: "setting.list_action", names: /dns_lists/ },
    ),
    row("a DNS list by way of a public resolver", {
      dns: { servers: ["8.8.8.8"] },
      "serve-in": { checks: { dns_lists: [{ zone: "zen.spamhaus.org", action: "refuse" }] } },
    }, { group: "setting", finding: "setting.list_resolver", names: /servers/ }),
    row("junk in the trash", { mailboxes: { junk_folder: "Trash" } }, {
      group: "setting",
      finding: "setting.junk_folder",
      names: /junk_folder/,
    }),
    row("one Maildir for two people of one name", {
      "serve-in": { domains: ["example.com", "example.net"] },
      mailboxes: { path: "/var/mail/{user}", users: ["alice", "bob"] },
    }, { group: "setting", finding: "setting.shared_maildir", names: /path/ }),
    row("no patience with mail programs", submit({ idle_timeout: "5s" }), {
      group: "setting",
      finding: "setting.submit_idle",
      names: /idle_timeout/,
    }),
    row("a login with a typo in send_as", submit({ send_as: { alcie: ["info@example.com"] } }), {
      group: "setting",
      finding: "setting.send_as",
      names: /send_as/,
    }),
    row("the queue in memory", { data_dir: "/dev/shm/mailapp" }, {
      group: "setting",
      finding: "setting.disk",
      names: /disk/,
    }),
  ];
}
