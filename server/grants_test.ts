import assert from "node:assert/strict";
import { parseConfig } from "../config/load.ts";
import { dialogueGrants } from "./dialogues/grants.ts";
import { serveIn } from "./serve_in.ts";
import { serveOut } from "./serve_out.ts";
import { serveSubmit } from "./serve_submit.ts";
import { programFiles } from "./threads.ts";

const TEXT = `hostname = "mx.example.com"
data_dir = "/var/lib/mailapp"
[log]
file = "/var/log/mailapp/in.log"
[tls]
cert = "/etc/letsencrypt/live/mx.example.com/fullchain.pem"
key = "/etc/letsencrypt/live/mx.example.com/privkey.pem"
[serve-in]
domains = ["example.com"]
threads = 1
[mailboxes]
path = "/srv/mail/{domain}/{user}"
users = ["alice"]
aliases = { postmaster = "alice" }
[serve-out.routes]
"*" = { host = "smtp.example.net", port = 587, user = "u", password_file = "/etc/mailapp/password", tls = "verify" }
[dkim]
"example.com" = { selector = "a", key = "/etc/mailapp/dkim/a.pem" }
"example.org" = { selector = "a", key = "/etc/org.pem" }
`;

const configFile = "/etc/mailapp/config.toml";
const config = parseConfig(TEXT, { file: configFile });

Deno.test("serveIn.grants() has Maildirs, ports, certificate and log, and nothing of serve-out's", () => {
  const grants = serveIn.grants(config, {
    configFile,
    addresses: ["192.0.2.1", "2001:db8::1"],
    dnsServers: [{ address: "127.0.0.53", port: 53 }, { address: "fe80::1%2", port: 53 }],
  });
  assert.deepEqual(grants, {
    net: [
      "192.0.2.1:25",
      "192.0.2.1:465",
      "[2001:db8::1]:25",
      "[2001:db8::1]:465",
      "127.0.0.53:53",
      "[fe80::1]:53",
    ],
    read: [
      "/srv/mail",
      "/var/lib/mailapp/incoming",
      "/etc/letsencrypt/live/mx.example.com/fullchain.pem",
      "/etc/letsencrypt/live/mx.example.com/privkey.pem",
      "/etc/resolv.conf",
      "/etc/mailapp/config.toml",
    ],
    write: ["/srv/mail", "/var/lib/mailapp/incoming", "/var/log/mailapp/in.log"],
    sys: ["statfs", "uid"],
  });
});

Deno.test("serve-in with several threads may start them; they have no configuration, metrics and alerts", () => {
  const text = TEXT.replace("threads = 1", "threads = 4") +
    '[metrics]\nserve_in = "127.0.0.1:9465"\n[alerts]\nwebhook = "https://alerts.example.com/x"\n';
  const threaded = parseConfig(text, { file: configFile });
  const options = { addresses: ["192.0.2.1"], dnsServers: [] };
  const own = serveIn.grants(threaded, { configFile, ...options });
  const thread = dialogueGrants(threaded, options);
  const beyond = (kind: "net" | "read" | "write" | "sys") =>
    Array.from(own[kind] as readonly string[]).filter((name) =>
      !(thread[kind] as readonly string[]).includes(name)
    );
  assert.deepEqual(beyond("read"), [configFile, ...programFiles()]);
  assert.deepEqual(beyond("net"), ["127.0.0.1:9465", "alerts.example.com:443", "127.0.0.1:25"]);
  assert.deepEqual([beyond("write"), beyond("sys")], [[], []]);
  for (const kind of ["net", "read", "write", "sys"] as const) {
    for (const name of thread[kind] as readonly string[]) {
      assert.ok((own[kind] as readonly string[]).includes(name));
    }
  }
});

Deno.test("serveIn.grants() has the self-signed certificate, and /etc/passwd for the system's users", () => {
  const other = parseConfig(
    TEXT.replace(/cert = .*\nkey = .*/, "self_signed = true").replace('["alice"]', '"system"'),
  );
  const { read, write } = serveIn.grants(other, { configFile, addresses: [], dnsServers: [] });
  assert.ok(read.includes("/etc/passwd") && !write.includes("/etc/passwd"));
  assert.ok(write.includes("/var/lib/mailapp/tls"));
});

Deno.test("serveIn.grants() has no port 465 without a certificate", () => {
  const plain = parseConfig(TEXT.replace(/cert = .*\nkey = .*/, ""));
  const { net } = serveIn.grants(plain, { configFile, addresses: ["192.0.2.1"], dnsServers: [] });
  assert.deepEqual(net, ["192.0.2.1:25"]);
});

Deno.test("serveOut.grants() has the data directory and the secrets, and no Maildir and no certificate", () => {
  const grants = serveOut.grants(config, { configFile, addresses: [], dnsServers: [] });
  assert.deepEqual(grants.read, [
    "/var/lib/mailapp",
    "/etc/mailapp/config.toml",
    "/etc/mailapp/password",
    "/etc/mailapp/dkim",
    "/etc/org.pem",
    "/etc/resolv.conf",
    "/etc/passwd",
  ]);
  assert.deepEqual(grants.write, ["/var/lib/mailapp", "/var/log/mailapp/in.log"]);
});

Deno.test("serveIn.grants() has nothing for DNS where nothing is asked", () => {
  const text = `${TEXT}[serve-in.checks]\nspf = false\ndkim = false\narc = false\ndmarc = "off"\n`;
  const quiet = parseConfig(text);
  assert.equal(serveIn.asksDns?.(quiet), false);
  assert.equal(serveIn.asksDns?.(config), true);
  assert.ok(
    !serveIn.grants(quiet, { configFile, addresses: [], dnsServers: [] }).read.includes("/etc/resolv.conf"),
  );
  const fixed = parseConfig(`${TEXT}[dns]\nservers = ["127.0.0.1:5353"]\n`);
  const { net, read } = serveIn.grants(fixed, { configFile, addresses: [], dnsServers: fixed.dns.servers });
  assert.deepEqual(net, ["127.0.0.1:5353"]);
  assert.ok(!read.includes("/etc/resolv.conf"));
});

Deno.test("serveIn.grants() has the filters, and nothing around them", () => {
  const filter = '["rspamd:http://127.0.0.1:11333", "milter:unix:/run/x/filter.sock", "milter:[::1]:8891"]';
  const filtered = parseConfig(
    TEXT.replace(
      "[mailboxes]",
      `[serve-in.checks]\nspf = false\ndkim = false\narc = false\ndmarc = "off"\nfilter = ${filter}\n[mailboxes]`,
    ),
  );
  const { net, read, write } = serveIn.grants(filtered, { configFile, addresses: [], dnsServers: [] });
  assert.deepEqual(net, ["127.0.0.1:11333", "unix:/run/x/filter.sock", "[::1]:8891"]);
  assert.ok(!read.includes("/etc/resolv.conf"));
  for (const paths of [read, write]) {
    assert.deepEqual(paths.filter((path) => path.startsWith("/run")), ["/run/x/filter.sock"]);
  }
});

Deno.test("serveSubmit.grants() has its ports, certificate, accounts and serve-out, and for alerts their addresses and secrets", () => {
  const addresses = ["192.0.2.1"];
  const grants = (more: string) =>
    serveSubmit.grants(parseConfig(`${TEXT}[serve-submit]\nlisten = ["192.0.2.1"]\n${more}`), {
      configFile,
      addresses,
      dnsServers: [],
    });
  const plain = grants("");
  assert.deepEqual(plain.net, ["192.0.2.1:587", "192.0.2.1:465", "127.0.0.1:25"]);
  for (const paths of [plain.read, plain.write]) {
    assert.ok(!paths.some((path) => /spool|dkim|\/srv\/mail|^\/var\/lib\/mailapp$/.test(path)), paths.join());
  }
  const alerting = grants(
    '[alerts]\nwebhook = "https://hooks.example/x"\ntemplate = "matrix"\ntoken_file = "/etc/mailapp/token"\n',
  );
  assert.deepEqual(alerting.net, [...plain.net, "hooks.example:443"]);
  assert.deepEqual(alerting.read.filter((path) => !plain.read.includes(path)), ["/etc/mailapp/token"]);
  assert.deepEqual(alerting.write, plain.write);
});
