import assert from "node:assert/strict";
import { join } from "@std/path";
import { loadConfig, parseConfig } from "../config/load.ts";
import { guardedPaths, refuseForeignDataDir, rightsWarnings } from "./rights.ts";

const ROOMS = ["data/spool", "data/dkim", "data/tls", "data/incoming", "data/acme"];

async function withConfig(use: (directory: string, file: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const file = join(directory, "config.toml");
    const key = join(directory, "key.pem");
    await Deno.writeTextFile(
      file,
      `hostname = "mx.example.com"
data_dir = "${directory}/data"
[tls]
cert = "${directory}/cert.pem"
key = "${key}"
[serve-in]
domains = ["example.com"]
[mailboxes]
path = "${directory}/mail/{domain}/{user}"
users = ["alice"]
[mailboxes.aliases]
postmaster = "alice"
[serve-out.routes]
"*" = { host = "smtp.provider.test", user = "u", password_file = "${directory}/secrets/relay.pass" }
[dkim]
"example.com" = [
  { selector = "a", key = "${directory}/data/dkim/a.pem" },
  { selector = "b", key = "${directory}/secrets/b.pem" },
]
[log]
file = "${directory}/log/mail.log"
`,
    );
    const directories = ["", "data", ...ROOMS, "mail", "secrets", "log"].map((name) => join(directory, name));
    for (const path of directories) await Deno.mkdir(path, { recursive: true });
    for (const path of directories) await Deno.chmod(path, 0o750);
    const maildrop = join(directory, "data/maildrop");
    await Deno.mkdir(maildrop);
    await Deno.chmod(maildrop, 0o3733);
    const files = [
      "cert.pem",
      "data/dkim/a.pem",
      "secrets/b.pem",
      "secrets/relay.pass",
      "data/tls/selfsigned.key",
    ];
    for (const name of [...files, "data/control.sock", "log/mail.log"]) {
      await Deno.writeTextFile(join(directory, name), "", { createNew: true });
      await Deno.chmod(join(directory, name), 0o640);
    }
    await Deno.writeTextFile(key, "");
    for (const path of [file, key]) await Deno.chmod(path, 0o640);
    await use(directory, file);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const load = (file: string) => loadConfig(file, { env: { get: () => undefined } });

Deno.test("rightsWarnings() names every secret and every directory that other accounts can read or change", async () => {
  await withConfig(async (directory, file) => {
    assert.deepEqual(await rightsWarnings(await load(file)), []);
    const at = (name: string) => join(directory, name);
    const wide: readonly (readonly [name: string, mode: number, what: string, problem: string])[] = [
      ["key.pem", 0o644, "[tls] key", "read it: chmod o="],
      ["key.pem", 0o666, "[tls] key", "change it: chmod o="],
      ["cert.pem", 0o646, "[tls] cert", "change it: chmod o-w"],
      ["config.toml", 0o666, "the configuration", "change it: chmod o-w"],
      ["data/dkim/a.pem", 0o604, `dkim."example.com"[0].key`, "read it: chmod o="],
      ["secrets/b.pem", 0o602, `dkim."example.com"[1].key`, "change it: chmod o="],
      ["secrets/relay.pass", 0o644, `serve-out.routes."*".password_file`, "read it: chmod o="],
      ["data/tls/selfsigned.key", 0o644, "[tls] self_signed", "read it: chmod o="],
      ["data", 0o777, "data_dir", "change it: chmod o-w"],
      // Though nothing there can be removed, something could be there first.
      ["data", 0o1777, "data_dir", "change it: chmod o-w"],
      ...ROOMS.map((room) => [room, 0o755, "data_dir", "read it: chmod o="] as const),
      ...ROOMS.map((room) => [room, 0o751, "data_dir", "enter it: chmod o="] as const),
      ["data/spool", 0o777, "data_dir", "change it: chmod o="],
      ["data/control.sock", 0o666, "the control socket", "change it: chmod o="],
      ["data/maildrop", 0o2733, "the maildrop", "change it: chmod o-w"],
      ["data/maildrop", 0o3777, "the maildrop", "read it: chmod o-r"],
      ["mail", 0o777, "[mailboxes] path", "change it: chmod o-w"],
      ["log/mail.log", 0o666, "[log] file", "change it: chmod o-w"],
    ];
    for (const [name, mode, what, problem] of wide) {
      const before = (await Deno.stat(at(name))).mode ?? 0;
      await Deno.chmod(at(name), mode);
      assert.deepEqual(await rightsWarnings(await load(file)), [
        `${what}: every account can ${problem} ${at(name)}`,
      ]);
      await Deno.chmod(at(name), before & 0o7777);
    }
    assert.deepEqual(await rightsWarnings(await load(file)), []);
    for (
      const [name, mode] of [["mail", 0o1777], ["data", 0o755], ["config.toml", 0o644], [
        "cert.pem",
        0o644,
      ]] as const
    ) {
      await Deno.chmod(at(name), mode);
    }
    assert.deepEqual(await rightsWarnings(await load(file)), []);
  });
});

Deno.test("guardedPaths() has every file that a configuration can name", async () => {
  const config = parseConfig(
    `hostname = "mx.example.com"
[log]
file = "/x/log"
[tls.acme]
directory = "https://acme.test/directory"
challenge = "dns-01"
ca_file = "/x/ca.pem"
account_id = "a"
account_key_file = "/x/account.key"
dns = { server = "192.0.2.53", zone = "example.com", key_name = "acme.key", key_file = "/x/tsig" }
[serve-submit]
accounts_file = "/x/accounts"
[queue]
store = "postgres"
url_file = "/x/queue.url"
ca_file = "/x/queue-ca.pem"
[metrics]
token_file = "/x/token"
[alerts]
webhook = "https://ntfy.test/topic"
token_file = "/x/alerts.token"
secret_file = "/x/secret"
mail_via = "smtps://u@smtp.test"
password_file = "/x/alerts.password"
mail_from = "a@example.com"
mail_to = "a@example.net"
[serve-out.routes]
"*" = { host = "smtp.provider.test", user = "u", password_file = "/x/password" }
[dkim]
"example.com" = { selector = "a", key = "/x/dkim.pem" }
`,
    { file: "/x/config.toml" },
  );
  const guarded = new Set(guardedPaths(config).map(({ path }) => path));
  const seen = new Set<string>();
  const visit = (value: object): void => {
    for (const [name, inner] of Object.entries(value)) {
      if (typeof inner === "object" && inner !== null) visit(inner);
      else if (/[fF]ile$/.test(name) && typeof inner === "string") {
        seen.add(name);
        assert.ok(guarded.has(inner), `${name}: ${inner}`);
      }
    }
  };
  visit(config);
  // Whoever adds one puts it into the configuration above, too.
  const source = await Deno.readTextFile(new URL("../config/config.ts", import.meta.url));
  const named = new Set([...source.matchAll(/readonly (\w*[fF]ile)\??: string/g)].map(([, name]) => name));
  assert.deepEqual([...seen].sort(), [...named].sort());
});

Deno.test("rightsWarnings() names directories in which a secret could be replaced, once", async () => {
  await withConfig(async (directory, file) => {
    const secrets = join(directory, "secrets");
    await Deno.chmod(secrets, 0o773);
    assert.deepEqual(await rightsWarnings(await load(file)), [
      `dkim."example.com"[1].key: every account can change ${secrets}, and so replace it: chmod o-w ${secrets}`,
    ]);
    await Deno.chmod(secrets, 0o750);
    // Behind a symbolic link, as certbot has them.
    const archive = join(directory, "archive 1");
    await Deno.mkdir(archive);
    await Deno.chmod(archive, 0o757);
    await Deno.rename(join(directory, "key.pem"), join(archive, "key.pem"));
    await Deno.symlink(join(archive, "key.pem"), join(directory, "key.pem"));
    assert.deepEqual(await rightsWarnings(await load(file)), [
      `[tls] key: every account can change ${archive}, and so replace it: chmod o-w '${archive}'`,
    ]);
  });
});

Deno.test("rightsWarnings() looks at nothing beyond the grants", async () => {
  await withConfig(async (directory, file) => {
    const config = await load(file);
    for (const name of ["key.pem", "data/dkim/a.pem"]) await Deno.chmod(join(directory, name), 0o644);
    const grants = { net: [], write: [], sys: [], read: [join(directory, "data/dkim")] };
    assert.deepEqual(await rightsWarnings(config, { grants }), [
      `dkim."example.com"[0].key: every account can read it: chmod o= ${directory}/data/dkim/a.pem`,
    ]);
  });
});

Deno.test({
  name: "refuseForeignDataDir() keeps root out of what belongs to an account",
  ignore: Deno.uid() !== 0,
  fn: async () => {
    for (const name of ["data", "data/spool", "data/incoming"]) {
      await withConfig(async (directory, file) => {
        const config = await load(file);
        await refuseForeignDataDir(config, "mailapp-out");
        await Deno.chown(join(directory, name), 12345, 12345);
        await assert.rejects(
          refuseForeignDataDir(config, "mailapp-out"),
          /belongs to account 12345.*systemctl start mailapp-out/s,
        );
      });
    }
  },
});
