import assert from "node:assert/strict";
import { relative } from "@std/path";
import { ConfigError, ConfigFileError } from "./errors.ts";
import { loadConfig, parseConfig } from "./load.ts";

const systemHostname = () => "mx.system.test";
const parse = (text: string) => parseConfig(text, { file: "c.toml", systemHostname });

function issuesOf(text: string, options: Parameters<typeof parseConfig>[1] = {}): string[] {
  try {
    parseConfig(text, { file: "c.toml", systemHostname, ...options });
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message.split("\n");
  }
  assert.fail("taken as valid");
}

/** What stands in place of cert, key and self_signed. */
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
const CONTRACT = `
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
    /^c\.toml:39: mailboxes\.users\[1\] = "bob@example\.net": is reached only by aliases/,
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

Deno.test("parseConfig() lets the dashboard listen beyond loopback with tokens only", () => {
  const { dashboard } = parse("");
  assert.deepEqual(dashboard, { installed: false, listen: { address: "127.0.0.1", port: 8025 }, hosts: [] });
  for (const address of ["0.0.0.0:8025", "192.0.2.1:8025", "[::]:8025"]) {
    assert.throws(() => parse(`[dashboard]\nlisten = "${address}"`), /dashboard\.listen/, address);
    const listen = `[dashboard]\nlisten = "${address}"\ntoken_file = "/t"`;
    assert.equal(parse(listen).dashboard.installed, true);
  }
});

Deno.test("parseConfig() takes [tls.acme], and names what is wrong in it", () => {
  const acme = (lines: string) => parse(`data_dir = "/d"\n[tls.acme]\n${lines}`).tls;
  assert.deepEqual(acme(""), {
    selfSigned: false,
    certificate: { certFile: "/d/tls/current/cert.pem", keyFile: "/d/tls/current/key.pem" },
    acme: { directory: "https://acme-v02.api.letsencrypt.org/directory", challenge: "http-01", names: [] },
  });
  const dns = `dns = { server = "192.0.2.1:5353", zone = "a.test", key_name = "k", key_file = "/k" }`;
  assert.deepEqual(acme(`challenge = "dns-01"\n${dns}`).acme?.dns, {
    address: "192.0.2.1",
    port: 5353,
    zone: "a.test",
    keyName: "k",
    keyFile: "/k",
  });
  const wrong: [string, RegExp][] = [
    [`directory = "http://ca.test/"`, /https URL/],
    [`challenge = "tls-alpn-01"`, /tls-alpn-01 is not possible/],
    [`challenge = "dns-01"`, /must be set for dns-01/],
    [dns, /serves challenge = "dns-01" only/],
    [`account_id = "x"`, /must be set where account_id is/],
    [`names = ["short"]`, /a full name/],
    [`mail = "x"`, /unknown key/],
  ];
  for (const [lines, expected] of wrong) {
    assert.match(issuesOf(`[tls.acme]\n${lines}`).join("\n"), expected, lines);
  }
  assert.match(
    issuesOf("[tls]\nself_signed = true\n[tls.acme]").join("\n"),
    /cannot be combined with cert/,
  );
});

Deno.test("parseConfig() takes the forms of [serve-submit], and names what is wrong in it", () => {
  assert.equal(parse("").serveSubmit, undefined);
  const submit = (lines: string) => parse(`[serve-submit]\n${lines}`).serveSubmit;
  assert.equal(
    submit('auth = "dovecot:/run/dovecot/auth-client"')?.dovecotSocket,
    "/run/dovecot/auth-client",
  );
  assert.equal(submit('accounts_file = "/etc/mailapp/accounts"')?.accountsFile, "/etc/mailapp/accounts");
  assert.equal(submit("messages_an_hour = 0")?.sending.messagesAnHour, Infinity);
  assert.equal(submit("max_connections = 7")?.maxConnectionsPerIp, 7);
  assert.deepEqual(submit('send_as = { "Bob@EXAMPLE.net" = "info" }')?.sendAs, {
    "Bob@example.net": ["info"],
  });
  const issues = (lines: string) => issuesOf(`[serve-submit]\n${lines}`).join("\n");
  assert.match(issues("port = false\ntls_port = false"), /tls_port = false: must be a port, such as 465/);
  assert.match(issues("port = 465"), /tls_port: must differ from port/);
  assert.match(issues('auth = "dovecot:auth"'), /auth = "dovecot:auth": must be "dovecot:/);
  assert.match(issues('auth = "dovecot:/a"\naccounts_file = "/b"'), /accounts_file = "\/b": must be ""/);
  assert.match(issues("mesages_an_hour = 1"), /did you mean messages_an_hour/);
  assert.match(issues("send_as = { alice = [] }"), /send_as\.alice.*must name an address/);
  assert.match(
    issues('send_as = { alice = "info@example.com" }'),
    /send_as\.alice: must be a whole address/,
  );
  assert.ok(parse('[serve-in]\ndomains = ["example.com"]\n[serve-submit.send_as]\nalice = "a@b.example"'));
});

Deno.test("parseConfig() takes each form of a value", () => {
  const listen = (value: string) => parse(`[serve-in]\nlisten = ${value}`).serveIn.listen;
  assert.deepEqual(listen('"any"'), "any");
  assert.deepEqual(listen('"eth0"'), "eth0");
  assert.deepEqual(listen('"::1"'), ["::1"]);
  assert.deepEqual(listen('["192.0.2.1", "2001:DB8:0::1"]'), ["192.0.2.1", "2001:db8::1"]);
  assert.equal(parse("[serve-in]\ntls_port = false").serveIn.tlsPort, false);
  assert.equal(parse("[serve-in]\nmax_message_size = 1000").serveIn.maxMessageSize, 1000);
  assert.deepEqual(
    parse('[serve-in]\ndomains = ["BÜCHER.example.", "xn--bcher-kva.example"]').serveIn.domains,
    [
      "xn--bcher-kva.example",
    ],
  );
  assert.deepEqual(parse('[dns]\nservers = ["127.0.0.1:5353", "::1", "[2001:db8::1]:54"]').dns.servers, [
    { address: "127.0.0.1", port: 5353 },
    { address: "::1", port: 53 },
    { address: "2001:db8::1", port: 54 },
  ]);
  assert.equal(parse('[mailboxes]\nusers = "system"').mailboxes.users, "system");
  const { routes } = parse(
    '[serve-out]\nsmtp_port = 2525\n[serve-out.routes]\n"A.example" = "[::1]"\nb = { host = "h.test" }',
  ).serveOut;
  assert.deepEqual(routes, {
    "a.example": { host: "::1", port: 2525, tls: "prefer" },
    b: { host: "h.test", port: 2525, tls: "prefer" },
  });
});

Deno.test("parseConfig() takes a limit on all connections below the one per address", () => {
  assert.equal(parse("[serve-in]\nmax_connections = 7").serveIn.maxConnectionsPerIp, 7);
});

Deno.test("parseConfig() names everything that is wrong, with file, line, key, value and what is allowed", () => {
  assert.deepEqual(
    issuesOf(`hostname = "mx"
data_dri = "/x"
[serve-in]
port = 99999
max_mesage_size = "1MB"
idle_timeout = 300
domains = ["example.com", "not a domain"]
listen = ["192.0.2.1", "192.0.2.256"]
[serve-out]
listen = ["127.0.0.1", "0.0.0.0"]
family = "ipv5"
retry = []
timeouts = 3
`),
    [
      "c.toml:2: data_dri: unknown key; did you mean data_dir?",
      'c.toml:8: serve-in.listen[1] = "192.0.2.256": must be an IP address, such as "192.0.2.1" or "2001:db8::1"',
      "c.toml:4: serve-in.port = 99999: must be a port, 0 to 65535 (0: any free one)",
      'c.toml:7: serve-in.domains[1] = "not a domain": must be a domain, such as "example.com"',
      'c.toml:6: serve-in.idle_timeout = 300: must be a duration such as "90s", "5m", "4h" or "5d", from 1s to 1d',
      "c.toml:5: serve-in.max_mesage_size: unknown key; did you mean max_message_size?",
      'c.toml:10: serve-out.listen[1] = "0.0.0.0": must be a loopback address, "127.0.0.1" or "::1": serve-out ' +
      "relays for whoever can reach it",
      'c.toml:11: serve-out.family = "ipv5": must be one of "auto", "ipv4", "ipv6", "ipv4-first"',
      "c.toml:12: serve-out.retry = []: must have at least one duration",
      "c.toml:13: serve-out.timeouts = 3: must be a table",
      'c.toml:1: hostname = "mx": must be a fully qualified name, such as "mx.example.com"',
    ],
  );
});

Deno.test("parseConfig() refuses keys that do not go together", () => {
  assert.deepEqual(
    issuesOf(`[tls]
cert = "/c.pem"
[serve-in]
port = 465
domains = ["example.com"]
[serve-out.tls_policy]
"bank.example" = "dane"
[serve-out.routes]
"*" = { host = "h.test", user = "u", tls = "prefer" }
`),
    [
      "c.toml:1: tls.key: must be set as well, since cert is",
      'c.toml:9: serve-out.routes."*".password_file: must be set as well, since user is',
      "c.toml:3: serve-in.tls_port = 465: must differ from port, where the dialogue begins without TLS",
    ],
  );
  assert.deepEqual(issuesOf('[serve-out.tls_policy]\n"bank.example" = "dane"'), [
    'c.toml:2: serve-out.tls_policy."bank.example" = "dane": needs [dns] dnssec = true: DANE is only as good as ' +
    "validated answers",
  ]);
  assert.deepEqual(
    issuesOf('[serve-out.routes]\n"*" = { host = "h", user = "u", password_file = "/p", tls = "prefer" }'),
    ['c.toml:2: serve-out.routes."*".tls = "prefer": must be "require", "verify" or "dane", since a password is sent'],
  );
});

Deno.test("parseConfig() refuses DANE for a route to an IP address", () => {
  const allowed = (address: string) =>
    `needs a host name in the route: DNSSEC names no certificate for ${address}`;
  const routes = `[dns]
dnssec = true
[serve-out.tls_policy]
"a.example" = "dane"
"b.example" = "dane"
[serve-out.routes]
"b.example" = "smtp.b.example"
"c.example" = { host = "192.0.2.1", tls = "dane" }
`;
  assert.deepEqual(issuesOf(routes), [
    `c.toml:8: serve-out.routes."c.example".tls = "dane": ${allowed("192.0.2.1")}`,
  ]);
  assert.deepEqual(issuesOf(`${routes}"*" = "2001:db8::1"\n`), [
    `c.toml:4: serve-out.tls_policy."a.example" = "dane": ${allowed("2001:db8::1")}`,
    `c.toml:8: serve-out.routes."c.example".tls = "dane": ${allowed("192.0.2.1")}`,
  ]);
});

Deno.test("parseConfig() refuses DANE for a domain that serve-in serves", () => {
  const problem =
    "needs another policy: mail for a domain of [serve-in] goes straight to serve-in, for which DNSSEC " +
    "names no certificate";
  for (const rest of ["[dns]\ndnssec = true", '[serve-out.routes]\n"*" = "192.0.2.1"']) {
    const text = `[serve-in]
domains = ["own.example", "other.example"]
[serve-out.tls_policy]
"own.example" = "dane"
"other.example" = "verify"
${rest}
`;
    assert.deepEqual(issuesOf(text), [
      `c.toml:4: serve-out.tls_policy."own.example" = "dane": ${problem}`,
    ]);
  }
});

Deno.test("parseConfig() refuses a log file that a confined server could not open", () => {
  const allowed = `must be an absolute path, not in /dev, /proc or /sys, or "" for standard error`;
  for (const file of ["/dev/stdout", "/proc/self/fd/2", "mail.log"]) {
    assert.deepEqual(issuesOf(`[log]\nfile = "${file}"`), [`c.toml:2: log.file = "${file}": ${allowed}`]);
  }
});

Deno.test("parseConfig() shows the name of a key's file", () => {
  assert.deepEqual(issuesOf(`[tls]\ncert = "/c.pem"\nkey = "privkey.pem"`), [
    `c.toml:3: tls.key = "privkey.pem": must be an absolute path, or "" for none`,
  ]);
});

Deno.test("parseConfig() never shows a secret", () => {
  const secret = "hunter2";
  for (
    const text of [
      `[serve-out.routes]\n"*" = { host = "h", user = "u", password = "${secret}" }`,
      `[serve-out.routes]\n"*" = { host = "h", user = "u", password_file = "${secret}" }`,
      `[serve-out.routes]\n"*" = "smtps://u:${secret}@h:465"`,
      `[serve-out]\nroutes = [{ password = "${secret}" }]`,
      `[tls]\nkey = "${secret}"`,
      `[dkim]\n"example.com" = { selector = "s", key = "${secret}" }`,
      `password = "${secret}`,
      `secret = "${secret}"`,
    ]
  ) {
    assert.ok(!issuesOf(text).join("\n").includes(secret), issuesOf(text).join("\n"));
  }
});

Deno.test("parseConfig() takes several DKIM keys for a domain", () => {
  const keys = [{ selector: "old", keyFile: "/k/old" }, { selector: "new", keyFile: "/k/new" }];
  for (
    const text of [
      '[dkim]\n"A.example" = [{ selector = "old", key = "/k/old" }, { selector = "new", key = "/k/new" }]',
      '[[dkim."a.example"]]\nselector = "old"\nkey = "/k/old"\n[[dkim."a.example"]]\nselector = "new"\nkey = "/k/new"',
    ]
  ) assert.deepEqual(parse(text).dkim, { "a.example": keys });
  assert.deepEqual(
    issuesOf('[dkim]\n"a.example" = [{ selector = "s", key = "/a" }, { selector = "S", key = "/b" }]'),
    [
      'c.toml:2: dkim."a.example"[1].selector = "S": must differ from the selectors of the other keys: a selector ' +
      "names one key",
    ],
  );
  assert.deepEqual(
    issuesOf('[dkim]\n"a.example" = { selector = "s", kye = "/a" }\n"b.example" = []\n"c.example" = "/k"\n'),
    [
      'c.toml:2: dkim."a.example".key: must be an absolute path, such as "/var/lib/mailapp"',
      'c.toml:2: dkim."a.example".kye: unknown key; did you mean key?',
      'c.toml:3: dkim."b.example" = []: must have 1 to 4 keys',
      'c.toml:4: dkim."c.example" = "/k": must be a table with selector and key, or a list of such tables',
    ],
  );
  const many = Array.from({ length: 5 }, (_, i) => `{ selector = "s${i}", key = "/k" }`).join(", ");
  assert.match(issuesOf(`[dkim]\n"a.example" = [${many}]`)[0] ?? "", /must have 1 to 4 keys$/);
});

Deno.test("parseConfig() shows no control bytes of the file", () => {
  const [line = ""] = issuesOf('[serve-in]\nlisten = "a\\u001b[31m\\u009b b"\n');
  assert.match(line, /^c\.toml:2: serve-in\.listen = "a\\u001b\[31m\? b": must be/);
});

Deno.test("parseConfig() says where the file is no TOML", () => {
  assert.deepEqual(issuesOf("[log]\nlevel = info\n").map((line) => line.slice(0, 26)), [
    "c.toml:2: not valid TOML: ",
  ]);
});

Deno.test("parseConfig() names a missing quote as such", () => {
  for (const text of ['data_dir = "/x\n\n[log]\n', "data_dir = '/x  \r\n", 'data_dir = "/x']) {
    assert.deepEqual(issuesOf(text), ["c.toml:1: not valid TOML: a string has no closing quote"], text);
  }
  assert.match(issuesOf('data_dir = "/x\u0001y"\n').join(), /control characters/);
});

Deno.test("parseConfig() takes the system's name only when it is fully qualified", () => {
  assert.equal(parse("").hostname, "mx.system.test");
  const short = { systemHostname: () => "box" };
  assert.deepEqual(issuesOf('[serve-in]\ndomains = ["example.com"]', short), [
    'c.toml: hostname: must be set to this server\'s full name, such as "mx.example.com": the system\'s own, "box", ' +
    "is not fully qualified",
  ]);
  const config = parseConfig("", short);
  assert.equal(config.hostname, "box.localdomain");
  assert.equal(config.warnings.length, 1);
});

Deno.test("parseConfig() gives data that cannot be changed", () => {
  const config = parse(CONTRACT);
  assert.throws(() => Object.assign(config.serveIn, { port: 1 }), TypeError);
  assert.throws(() => Object.assign(config.mailboxes.aliases["*"] ?? [], { 0: "eve" }), TypeError);
});

Deno.test("loadConfig() takes the named file, then $MAILAPP_CONFIG, then the default one, then the defaults", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const file = (name: string) => `${directory}/${name}.toml`;
    for (const name of ["named", "env", "default"]) {
      await Deno.writeTextFile(file(name), `hostname = "${name}.example.com"`);
    }
    const options = { defaultFile: file("default"), env: { get: () => file("env") } };
    const noEnv = { get: () => undefined };
    assert.equal((await loadConfig(file("named"), options)).hostname, "named.example.com");
    const fromEnv = await loadConfig(undefined, options);
    assert.deepEqual([fromEnv.hostname, fromEnv.file], ["env.example.com", file("env")]);
    assert.equal((await loadConfig(undefined, { ...options, env: noEnv })).hostname, "default.example.com");
    const none = await loadConfig(undefined, { env: noEnv, defaultFile: file("none"), systemHostname });
    assert.deepEqual([none.hostname, none.file], ["mx.system.test", undefined]);
    for (
      const named of [() => loadConfig(file("none"), options), () =>
        loadConfig(undefined, {
          ...options,
          env: { get: () => file("none") },
        })]
    ) {
      await assert.rejects(
        named,
        (error) =>
          error instanceof ConfigFileError && error.reason === "missing" && error.file === file("none"),
      );
    }
    await assert.rejects(
      () => loadConfig(directory, options),
      (error) =>
        error instanceof ConfigFileError && error.reason === "unreadable" &&
        error.message === `${directory}: is a directory; name the configuration file in it`,
    );
    const fromHere = relative(Deno.cwd(), file("named"));
    assert.equal((await loadConfig(fromHere, options)).file, file("named"));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("parseConfig() reads [serve-in.checks]", () => {
  const checks = (text: string) => parse(`[serve-in.checks]\n${text}`).serveIn.checks;
  assert.deepEqual(
    checks(
      'dns_lists = [{ zone = "Zen.Example.", action = "refuse" }, { zone = "good.example", action = "allow" }]',
    ).dnsLists,
    [{ zone: "zen.example", action: "refuse" }, { zone: "good.example", action: "allow" }],
  );
  assert.deepEqual(checks('trusted_sealers = ["Lists.example", "lists.example"]').trustedSealers, [
    "lists.example",
  ]);
  const filters = (text: string) => checks(`filter = ${text}`).filters;
  assert.deepEqual(filters('""'), []);
  assert.deepEqual(filters("[]"), []);
  assert.deepEqual(filters('"rspamd:http://127.0.0.1:11333"'), [{
    kind: "rspamd",
    host: "127.0.0.1",
    port: 11333,
  }]);
  assert.deepEqual(
    filters('["milter:unix:/run/x.sock", "milter:[::1]:8891", "rspamd:http://rspamd:11333/"]'),
    [
      { kind: "milter", path: "/run/x.sock" },
      { kind: "milter", host: "::1", port: 8891 },
      { kind: "rspamd", host: "rspamd", port: 11333 },
    ],
  );
  assert.equal(parse('[mailboxes]\njunk_folder = ""').mailboxes.junkFolder, undefined);
  assert.equal(parse('[mailboxes]\njunk_folder = "Lists.Junk mail"').mailboxes.junkFolder, "Lists.Junk mail");
});

Deno.test("parseConfig() names what is wrong in [serve-in.checks] and with the folder for junk", () => {
  for (
    const [text, problem] of [
      ['dmarc = "reject"', 'must be one of "off", "mark", "enforce"'],
      ["spf = false", 'must be "mark" or "off" where spf or dkim is false'],
      ['timeout = "1h"', "from 1s to 5m"],
      ['dns_lists = ["zen.example"]', "must be a table with zone and action"],
      ['dns_lists = [{ zone = "zen.example" }]', 'must be one of "refuse", "junk", "allow"'],
      [
        'dns_lists = [{ zone = "a.example", action = "junk" }, { zone = "a.example", action = "junk" }]',
        "is listed twice",
      ],
      ['filter = "spamd:127.0.0.1:783"', 'must be "rspamd:http'],
      ['filter = "rspamd:https://127.0.0.1:11333"', 'must be "rspamd:http'],
      ['filter = ["milter:unix:run/x.sock"]', 'must be "rspamd:http'],
      ['filter = "milter:127.0.0.1"', 'must be "rspamd:http'],
      ["greylist = true", 'must be one of "off", "suspicious", "all"'],
      ["dkimm = true", "did you mean dkim?"],
    ] as const
  ) {
    const [line = ""] = issuesOf(`[serve-in.checks]\n${text}`);
    assert.ok(/^c\.toml:[12]: serve-in\.checks\./.test(line) && line.includes(problem), line);
  }
  for (const folder of [".Junk", "a/b", "..", "Junk.", "Über", "a\tb"]) {
    assert.match(
      issuesOf(`[mailboxes]\njunk_folder = ${JSON.stringify(folder)}`)[0] ?? "",
      /a folder of the Maildir/,
    );
  }
});
