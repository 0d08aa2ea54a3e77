import assert from "node:assert/strict";
import type { Config } from "../config/config.ts";
import { parseConfig } from "../config/load.ts";
import { serveInFixed, serveOutFixed } from "./fixed_settings.ts";
import { keepFixed } from "./reload.ts";
import { serveIn } from "./serve_in.ts";
import { serveOut } from "./serve_out.ts";

const TEXT = `hostname = "mx.example.com"
data_dir = "/var/lib/mailapp"
dns = { servers = ["192.0.2.53", "192.0.2.54"] }
[log]
level = "info"
[serve-in]
domains = ["example.com"]
[serve-in.checks]
filter = ["rspamd:http://127.0.0.1:11333", "milter:unix:/run/x.sock"]
[mailboxes]
path = "/srv/mail/{domain}/{user}"
users = ["alice"]
aliases = { postmaster = "alice" }
[serve-out]
expire_after = "5d"
[serve-out.routes]
"*" = { host = "smtp.example.net", port = 587, user = "u", password_file = "/etc/mailapp/password", tls = "verify" }
[dkim]
"example.com" = { selector = "a", key = "/etc/mailapp/dkim/a.pem" }
"example.org" = { selector = "a", key = "/etc/org.pem" }
`;

const configFile = "/etc/mailapp/config.toml";

/** The outcome of a reload after these replacements in the file. */
function changed(server: "serve-in" | "serve-out", ...replacements: readonly (readonly [string, string])[]) {
  const current = parseConfig(TEXT, { file: configFile });
  let text = TEXT;
  for (const [before, after] of replacements) {
    assert.ok(text.includes(before), before);
    text = text.replace(before, after);
  }
  const next = parseConfig(text, { file: configFile });
  const options = { configFile, addresses: [], dnsServers: current.dns.servers };
  const fixed = server === "serve-in"
    ? serveInFixed({ grants: serveIn.grants(current, options), config: current })
    : serveOutFixed({ grants: serveOut.grants(current, options), config: current });
  return { next, current, ...keepFixed(next, { current, fixed }) };
}

for (
  const { server, what, replacements, of } of [
    {
      server: "serve-in",
      what: "a domain",
      replacements: [['["example.com"]', '["example.com", "b.test"]']],
      of: "serveIn",
    },
    {
      server: "serve-in",
      what: "a user",
      replacements: [['["alice"]', '["alice", "bob"]']],
      of: "mailboxes",
    },
    {
      server: "serve-in",
      what: "another path below the root",
      replacements: [["/srv/mail/", "/srv/mail/x/"]],
      of: "mailboxes",
    },
    {
      server: "serve-in",
      what: "other checks",
      replacements: [["[serve-in.checks]", '[serve-in.checks]\ndmarc = "mark"\ngreylist = "all"']],
      of: "serveIn",
    },
    {
      server: "serve-in",
      what: "one filter less",
      replacements: [[
        '["rspamd:http://127.0.0.1:11333", "milter:unix:/run/x.sock"]',
        '"milter:unix:/run/x.sock"',
      ]],
      of: "serveIn",
    },
    {
      server: "serve-in",
      what: "one DNS server less",
      replacements: [['"192.0.2.53", ', ""]],
      of: "dns",
    },
    { server: "serve-in", what: "the level of the log", replacements: [['"info"', '"debug"']], of: "log" },
    {
      server: "serve-out",
      what: "a domain",
      replacements: [['["example.com"]', '["example.com", "b.test"]']],
      of: "serveIn",
    },
    { server: "serve-out", what: "a limit", replacements: [['"5d"', '"3d"']], of: "serveOut" },
    {
      server: "serve-out",
      what: "another smarthost",
      replacements: [["smtp.example.net", "smtp.b.test"]],
      of: "serveOut",
    },
    {
      server: "serve-out",
      what: "a key beside one of before",
      replacements: [["dkim/a.pem", "dkim/b.pem"]],
      of: "dkim",
    },
    {
      server: "serve-out",
      what: "a key in data_dir",
      replacements: [["/etc/org.pem", "/var/lib/mailapp/dkim/o.pem"]],
      of: "dkim",
    },
  ] as const
) {
  Deno.test(`keepFixed() lets ${server} take over ${what}`, () => {
    const { next, current, config, kept } = changed(server, ...replacements);
    assert.deepEqual(kept, []);
    assert.deepEqual(config, next);
    assert.notDeepEqual(config[of], current[of]);
  });
}

for (
  const { server, replacements, kept, needs = [], as } of [
    { server: "serve-in", replacements: [["mx.example", "mx2.example"]], kept: ["hostname"], as: "hostname" },
    {
      server: "serve-out",
      replacements: [["mx.example", "mx2.example"]],
      kept: ["hostname"],
      as: "hostname",
    },
    {
      server: "serve-in",
      replacements: [["[log]", '[log]\nfile = "/var/log/x"']],
      kept: ["log.file"],
      as: "log",
    },
    {
      server: "serve-in",
      replacements: [["/srv/mail/", "/srv/mailboxes/"]],
      kept: ["mailboxes"],
      needs: ["/srv/mailboxes/{domain}/{user}"],
      as: "mailboxes",
    },
    {
      server: "serve-in",
      replacements: [['["alice"]', '"system"'], ['["example.com"]', '["example.com", "b.test"]']],
      kept: ["mailboxes"],
      needs: ["/etc/passwd"],
      as: "serveIn",
    },
    {
      server: "serve-in",
      replacements: [["rspamd:http://127.0.0.1:11333", "rspamd:http://127.0.0.1:11334"]],
      kept: ["serve-in.checks.filter"],
      needs: ["127.0.0.1:11334"],
      as: "serveIn",
    },
    {
      server: "serve-in",
      replacements: [["unix:/run/x.sock", "unix:/run/y.sock"], [
        "[serve-in.checks]",
        "[serve-in.checks]\narc = false",
      ]],
      kept: ["serve-in.checks.filter"],
      needs: ["unix:/run/y.sock"],
    },
    {
      server: "serve-in",
      replacements: [["192.0.2.54", "192.0.2.55"]],
      kept: ["dns"],
      needs: ["192.0.2.55:53"],
      as: "dns",
    },
    {
      server: "serve-in",
      replacements: [['["192.0.2.53", "192.0.2.54"]', "[]"]],
      kept: ["dns"],
      needs: ["/etc/resolv.conf"],
      as: "dns",
    },
    {
      server: "serve-in",
      replacements: [["[serve-in]", "[serve-in]\nport = 2525"]],
      kept: ["serve-in.port"],
      as: "serveIn",
    },
    {
      server: "serve-out",
      replacements: [["[serve-in]", "[serve-in]\nport = 2525"]],
      kept: ["serve-in.port"],
      as: "serveIn",
    },
    {
      server: "serve-out",
      replacements: [["[serve-out]", "[serve-out]\nport = 2525"]],
      kept: ["serve-out.port"],
      as: "serveOut",
    },
    {
      server: "serve-out",
      replacements: [["/etc/mailapp/password", "/etc/mailapp/other"]],
      kept: ["serve-out.routes"],
      needs: ["/etc/mailapp/other"],
      as: "serveOut",
    },
    {
      server: "serve-out",
      replacements: [["/etc/org.pem", "/etc/b.pem"]],
      kept: ["dkim"],
      needs: ["/etc/b.pem"],
      as: "dkim",
    },
  ] as const satisfies readonly {
    server: "serve-in" | "serve-out";
    replacements: readonly (readonly [string, string])[];
    kept: readonly string[];
    needs?: readonly string[];
    as?: keyof Config;
  }[]
) {
  Deno.test(`keepFixed() keeps ${kept} of ${server}, and says so: ${replacements.map(([, after]) => after)}`, () => {
    const { current, config, ...rest } = changed(server, ...replacements);
    assert.deepEqual(rest.kept, kept);
    assert.deepEqual(rest.needs, needs);
    if (as !== undefined) assert.deepEqual(config[as], current[as]);
  });
}

Deno.test("keepFixed() keeps checks off that would ask DNS where the server may ask none", () => {
  const off = '[serve-in.checks]\nspf = false\ndkim = false\narc = false\ndmarc = "off"';
  const text = TEXT.replace("[serve-in.checks]", off);
  const current = parseConfig(text, { file: configFile });
  const grants = serveIn.grants(current, { configFile, addresses: [], dnsServers: [] });
  const fixed = serveInFixed({ grants, config: current });
  const on = keepFixed(parseConfig(text.replace("spf = false", "spf = true"), { file: configFile }), {
    current,
    fixed,
  });
  assert.deepEqual([on.kept, on.needs], [["serve-in.checks"], ["192.0.2.53:53"]]);
  assert.equal(on.config.serveIn.checks.spf, false);
  const other = keepFixed(parseConfig(text.replace("192.0.2.54", "192.0.2.55"), { file: configFile }), {
    current,
    fixed,
  });
  assert.deepEqual(other.kept, []);
});

Deno.test("keepFixed() lets through what else has changed", () => {
  const { config, kept } = changed(
    "serve-out",
    ["/etc/mailapp/password", "/etc/mailapp/other"],
    ['["example.com"]', '["example.com", "b.test"]'],
    ['"5d"', '"3d"'],
  );
  assert.deepEqual(kept, ["serve-out.routes"]);
  assert.deepEqual(config.serveIn.domains, ["example.com", "b.test"]);
  assert.equal(config.serveOut.expireAfterMs, 3 * 24 * 3_600_000);
  assert.equal(config.serveOut.routes["*"]?.login?.passwordFile, "/etc/mailapp/password");
});

Deno.test("a reload takes only keys that the threads of serve-out may read, where these sign", () => {
  for (const { threads, kept } of [{ threads: 1, kept: [] }, { threads: 3, kept: ["dkim"] }]) {
    const text = TEXT.replace("[serve-out]", `[serve-out]\nthreads = ${threads}`);
    const current = parseConfig(text, { file: configFile });
    const options = { configFile, addresses: [], dnsServers: current.dns.servers };
    const fixed = serveOutFixed({ grants: serveOut.grants(current, options), config: current });
    const keptFor = (key: string) => {
      const next = parseConfig(text.replace("/etc/org.pem", key), { file: configFile });
      return keepFixed(next, { current, fixed }).kept;
    };
    assert.deepEqual(keptFor("/var/lib/mailapp/dkim/o.pem"), []);
    assert.deepEqual(keptFor("/etc/mailapp/dkim/o.pem"), []);
    assert.deepEqual(keptFor("/var/lib/mailapp/keys/o.pem"), kept);
  }
});
