import assert from "node:assert/strict";
import { issuesOf } from "../tests/support/config.ts";

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

Deno.test("parseConfig() shows no control bytes of the file", () => {
  const [line = ""] = issuesOf('[serve-in]\nlisten = "a\\u001b[31m\\u009b b"\n');
  assert.match(line, /^c\.toml:2: serve-in\.listen = "a\\u001b\[31m\? b": must be/);
});

Deno.test("parseConfig() says where the file is not TOML", () => {
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
