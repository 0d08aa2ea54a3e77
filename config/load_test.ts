import assert from "node:assert/strict";
import { relative } from "@std/path";
import { ConfigFileError } from "./errors.ts";
import { loadConfig, parseConfig } from "./load.ts";
import { issuesOf, parse, systemHostname } from "../tests/support/config.ts";
import { CONTRACT } from "./every_key_test.ts";

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
  assert.equal(acme(`challenge = "tls-alpn-01"\n[serve-policy]\nport = 8443`).acme?.challenge, "tls-alpn-01");
  const wrong: [string, RegExp][] = [
    [`directory = "http://ca.test/"`, /https URL/],
    [`challenge = "tls-sni-01"`, /"http-01", "tls-alpn-01", "dns-01"|http-01.*tls-alpn-01.*dns-01/],
    [
      `challenge = "tls-alpn-01"\n[serve-policy]`,
      /tls\.acme\.challenge = .*: needs port 443, which serve-policy has/,
    ],
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

Deno.test("parseConfig() warns of a message time that leaves no room for a second attempt", () => {
  const warnings = (text: string) => parse(`[serve-out]\n${text}`).warnings;
  for (const text of ['expire_after = "1m"', 'retry = ["2h"]\nexpire_after = "90m"']) {
    assert.equal(warnings(text).length, 1);
    assert.match(
      warnings(text)[0] ?? "",
      /^c\.toml:\d: serve-out\.expire_after: is not longer than the first step/,
    );
  }
  assert.deepEqual(warnings('retry = ["2h"]\nexpire_after = "121m"'), []);
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
