import assert from "node:assert/strict";
import { parseConfig } from "./load.ts";
import { parse, systemHostname } from "../tests/support/config.ts";

/** What is in place of cert, key and self_signed. */
const ACME = `[tls.acme]
directory = "https://acme-v02.api.letsencrypt.org/directory"
email = ""
challenge = "http-01"
names = []
ca_file = ""
account_id = ""
account_key_file = ""
dns = { server = "192.0.2.53", zone = "example.com", key_name = "acme.key", key_file = "/etc/mailapp/tsig" }
`;

/** The configuration as the contract shows it; kept word for word. */
export const CONTRACT = `
hostname = "mx.example.com"
data_dir = "/var/lib/mailapp"
[log]
level = "info"
format = "auto"
file = ""
[tls]
cert = "/etc/mailapp/tls/fullchain.pem"
key = "/etc/mailapp/tls/privkey.pem"
self_signed = false
[dns]
servers = []
dnssec = false
[serve-in]
listen = "auto"
port = 25
tls_port = 465
domains = ["example.com"]
max_message_size = "50MiB"
max_recipients = 100
max_connections = 1000
max_connections_per_ip = 50
idle_timeout = "5m"
min_free_space = "256MiB"
threads = "auto"
[serve-in.checks]
spf = true
dkim = true
arc = true
dmarc = "enforce"
trusted_sealers = []
timeout = "10s"
dns_lists = []
greylist = "off"
filter = ""
filter_failure = "accept"
[mailboxes]
path = "/var/mail/{domain}/{user}"
users = ["alice", "bob@example.net"]
subaddress_separator = "+"
junk_folder = "Junk"
[mailboxes.aliases]
postmaster = "alice"
abuse = ["alice", "bob@example.net"]
"*" = "alice"
[serve-out]
listen = ["127.0.0.1", "::1"]
port = 25
qualify_domain = ""
max_message_size = "50MiB"
max_recipients = 1000
max_connections = 200
idle_timeout = "5m"
min_free_space = "256MiB"
threads = "auto"
family = "auto"
source_ipv4 = ""
source_ipv6 = ""
smtp_port = 25
allow_private_targets = false
retry = ["1m", "5m", "15m", "30m", "1h", "2h", "4h"]
expire_after = "5d"
delay_notice_after = "4h"
keep_undeliverable = "30d"
max_undeliverable = 1000
max_connections_per_host = 5
show_account = true
mta_sts = true
tls_reports = true
[serve-out.timeouts]
connect = "30s"
command = "5m"
data = "3m"
data_end = "10m"
[serve-out.routes]
"example.net" = "smtp.example.net:25"
"*" = { host = "smtp.provider.net", port = 587, tls = "verify", user = "u", password_file = "/etc/mailapp/relay.pass" }
[serve-out.tls_policy]
"bank.example" = "verify"
[serve-submit]
listen = "auto"
port = 587
tls_port = 465
accounts_file = ""
auth = ""
max_message_size = "50MiB"
max_recipients = 100
max_connections = 500
max_connections_per_ip = 50
idle_timeout = "5m"
messages_an_hour = 100
messages_a_day = 500
recipients_an_hour = 300
recipients_a_day = 1000
new_recipients_a_day = 300
show_client_address = false
[serve-submit.send_as]
alice = ["info@example.com", "*@example.net"]
[serve-policy]
listen = ["192.0.2.1"]
port = 443
[mta_sts]
mode = "enforce"
max_age = "30d"
mx = ["mx.example.com", "*.Example.NET"]
[queue]
store = "postgres"
url_file = "/etc/mailapp/queue.url"
ca_file = ""
durability = "standby"
lease = "30s"
[metrics]
serve_in = "127.0.0.1:9465"
serve_out = "[::1]:9466"
serve_submit = "127.0.0.1:9467"
serve_policy = "127.0.0.1:9468"
token_file = "/etc/mailapp/metrics.token"

[dashboard]
listen = "127.0.0.1:8025"
token_file = "/etc/mailapp/dashboard.tokens"
hosts = ["Mail.example.com"]
reports = "reports@example.com"

[alerts]
webhook = "https://ntfy.example.com/topic"
template = "json"
token_file = "/etc/mailapp/ntfy.token"
secret_file = "/etc/mailapp/alerts.secret"
mail_via = "smtps://user@smtp.example.net"
password_file = "/etc/mailapp/alerts.pass"
mail_from = "mailapp@example.net"
mail_to = "ann@example.net"

[dkim]
"example.com" = { selector = "s2026", key = "/etc/mailapp/dkim/example.com.pem" }
`;

Deno.test("parseConfig() takes every key of the contract", () => {
  const { warnings, ...config } = parse(CONTRACT);
  assert.deepEqual(config, {
    file: "c.toml",
    hostname: "mx.example.com",
    dataDir: "/var/lib/mailapp",
    log: { level: "info", format: "auto" },
    tls: {
      selfSigned: false,
      certificate: { certFile: "/etc/mailapp/tls/fullchain.pem", keyFile: "/etc/mailapp/tls/privkey.pem" },
    },
    dns: { servers: [], dnssec: false },
    serveIn: {
      listen: "auto",
      port: 25,
      tlsPort: 465,
      domains: ["example.com"],
      maxMessageSize: 52428800,
      maxRecipients: 100,
      maxConnections: 1000,
      maxConnectionsPerIp: 50,
      idleTimeoutMs: 300_000,
      minFreeSpace: 268435456,
      threads: "auto",
      checks: {
        spf: true,
        dkim: true,
        arc: true,
        dmarc: "enforce",
        trustedSealers: [],
        timeoutMs: 10_000,
        dnsLists: [],
        greylist: "off",
        filters: [],
        filterFailure: "accept",
      },
    },
    mailboxes: {
      path: "/var/mail/{domain}/{user}",
      users: ["alice", "bob@example.net"],
      subaddressSeparator: "+",
      aliases: { postmaster: ["alice"], abuse: ["alice", "bob@example.net"], "*": ["alice"] },
      junkFolder: "Junk",
    },
    serveOut: {
      listen: ["127.0.0.1", "::1"],
      port: 25,
      qualifyDomain: "example.com",
      maxMessageSize: 52428800,
      maxRecipients: 1000,
      maxConnections: 200,
      idleTimeoutMs: 300_000,
      minFreeSpace: 268435456,
      threads: "auto",
      family: "auto",
      smtpPort: 25,
      allowPrivateTargets: false,
      retryMs: [60_000, 300_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000],
      expireAfterMs: 432_000_000,
      delayNoticeAfterMs: 14_400_000,
      keepUndeliverableMs: 30 * 86_400_000,
      maxUndeliverable: 1000,
      maxConnectionsPerHost: 5,
      mtaSts: true,
      showAccount: true,
      tlsReports: true,
      timeouts: { connectMs: 30_000, commandMs: 300_000, dataMs: 180_000, dataEndMs: 600_000 },
      routes: {
        "example.net": { host: "smtp.example.net", port: 25, tls: "prefer" },
        "*": {
          host: "smtp.provider.net",
          port: 587,
          tls: "verify",
          login: { user: "u", passwordFile: "/etc/mailapp/relay.pass" },
        },
      },
      tlsPolicy: { "bank.example": "verify" },
    },
    serveSubmit: {
      listen: "auto",
      port: 587,
      tlsPort: 465,
      maxMessageSize: 52_428_800,
      maxRecipients: 100,
      maxConnections: 500,
      maxConnectionsPerIp: 50,
      idleTimeoutMs: 300_000,
      sending: {
        messagesAnHour: 100,
        messagesADay: 500,
        recipientsAnHour: 300,
        recipientsADay: 1000,
        newRecipientsADay: 300,
      },
      showClientAddress: false,
      sendAs: { alice: ["info@example.com", "*@example.net"] },
    },
    servePolicy: { listen: ["192.0.2.1"], port: 443 },
    mtaSts: { mode: "enforce", maxAgeMs: 2_592_000_000, mx: ["mx.example.com", "*.example.net"] },
    dkim: { "example.com": [{ selector: "s2026", keyFile: "/etc/mailapp/dkim/example.com.pem" }] },
    queue: {
      store: "postgres",
      urlFile: "/etc/mailapp/queue.url",
      durability: "standby",
      leaseMs: 30_000,
    },
    metrics: {
      serveIn: { address: "127.0.0.1", port: 9465 },
      serveOut: { address: "::1", port: 9466 },
      serveSubmit: { address: "127.0.0.1", port: 9467 },
      servePolicy: { address: "127.0.0.1", port: 9468 },
      tokenFile: "/etc/mailapp/metrics.token",
    },
    dashboard: {
      installed: true,
      listen: { address: "127.0.0.1", port: 8025 },
      tokenFile: "/etc/mailapp/dashboard.tokens",
      hosts: ["mail.example.com"],
      reports: "reports@example.com",
    },
    alerts: {
      webhook: {
        url: "https://ntfy.example.com/topic",
        template: "json",
        tokenFile: "/etc/mailapp/ntfy.token",
        secretFile: "/etc/mailapp/alerts.secret",
      },
      mail: {
        user: "user",
        host: "smtp.example.net",
        port: 465,
        passwordFile: "/etc/mailapp/alerts.pass",
        from: "mailapp@example.net",
        to: "ann@example.net",
      },
    },
  });
  assert.equal(warnings.length, 1);
  assert.match(
    warnings[0] ?? "",
    /^c\.toml:40: mailboxes\.users\[1\] = "bob@example\.net": is reached only by aliases/,
  );
});

Deno.test("config.example.toml has exactly the defaults, and every key of the contract", async () => {
  const text = await Deno.readTextFile(new URL("../config.example.toml", import.meta.url));
  const defaults = parseConfig("", { systemHostname });
  assert.deepEqual(parseConfig(text, { systemHostname }), defaults);
  const keys = (toml: string) =>
    [...toml.matchAll(/^(?:# )?(\[[\w.-]+\]|[\w"*.-]+(?= = ))/gm)].map(([, key]) => key);
  assert.deepEqual(keys(text), keys(CONTRACT.replace("[dns]", `${ACME}[dns]`)));
  // A table that is off unless it is there: what its comments say is what it has when it is empty.
  for (
    const [name, key] of [["serve-submit", "serveSubmit"], ["serve-policy", "servePolicy"], [
      "mta_sts",
      "mtaSts",
    ]] as const
  ) {
    const [, table = ""] = new RegExp(`^(# \\[${name}\\].*\n(?:# .*\n)+)`, "m").exec(text) ?? [];
    const { [key]: commented } = parseConfig(table.replaceAll(/^# /gm, ""), { systemHostname });
    assert.ok(commented, name);
    assert.deepEqual(commented, parseConfig(`[${name}]`, { systemHostname })[key]);
  }
});
