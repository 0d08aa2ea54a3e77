import assert from "node:assert/strict";
import { join } from "@std/path";
import { parseAccounts } from "../../accounts/account.ts";
import { argon2Hasher } from "../../accounts/password_hash.ts";
import { type Finished, runMailapp, Workspace } from "../../tests/support/mailapp.ts";
import { PYTHON, runOk } from "../../tests/support/peers/process.ts";
import { testWith } from "../../tests/support/requires.ts";
import { runInProcess } from "../../tests/support/in_process.ts";

/** Runs the command in this process. */
async function mailapp(config: string, ...args: string[]): Promise<Finished> {
  const { code, out, err } = await runInProcess(["account", ...args, "--config", config]);
  return { code, stdout: out, stderr: err };
}

async function ok(config: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await mailapp(config, ...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

const stored = (place: Workspace) =>
  parseAccounts(Deno.readTextFileSync(place.file("state", "accounts", "accounts.json")));
const SUBMIT = { "serve-submit": {} };

Deno.test("mailapp account add makes a password, shows it once, and stores a hash that only the account can read", async () => {
  await using place = await Workspace.create();
  const config = await place.configure(SUBMIT);
  const said = await ok(config, "add", "Alice@Example.COM");
  const [, password = ""] = /^password: (\S{23})$/m.exec(said) ?? [];
  const [account] = stored(place);
  assert.equal(account?.login, "alice@example.com");
  const [main] = account?.passwords ?? [];
  assert.equal(await argon2Hasher.match(password, [main?.argon2id ?? ""]), main?.argon2id);
  assert.ok(!(await ok(config, "show", "alice")).includes(password));
  const modeOf = async (path: string) => ((await Deno.stat(path)).mode ?? 0) & 0o007;
  assert.equal(await modeOf(place.file("state", "accounts")), 0);
  assert.equal(await modeOf(place.file("state", "accounts", "accounts.json")), 0);
});

Deno.test("mailapp account takes only mailboxes of this server for logins, and says what others are", async () => {
  await using place = await Workspace.create();
  const config = await place.configure(SUBMIT);
  const wrong: readonly (readonly [string, number, RegExp])[] = [
    ["nobody@example.com", 65, /is not a mailbox of this server \(\[mailboxes\] users\)/],
    ["alice@other.example", 65, /\[serve-in\] domains/],
    ["postmaster@example.com", 65, /is an alias for alice@example\.com: add the account for that/],
    ["alice+x@example.com", 65, /is an alias for alice@example\.com/],
    ["a b@example.com", 65, /is not a valid login/],
    ["", 65, /"" is not a valid login/],
    ["\u001b[2J", 65, /\\u001b\[2J is not a valid login/],
  ];
  for (const [login, code, message] of wrong) {
    const result = await mailapp(config, "add", login);
    assert.equal(result.code, code, login);
    assert.match(result.stderr, message);
  }
  await ok(config, "add", "alice");
  const twice = await mailapp(config, "add", "alice@example.com");
  assert.equal(twice.code, 64);
  assert.match(
    twice.stderr,
    /already has an account; change its password with mailapp account password alice@example\.com/,
  );
  const none = await mailapp(config, "disable", "bob");
  assert.equal(none.code, 69);
  assert.match(none.stderr, /bob@example\.com has no account/);
});

Deno.test("mailapp account asks which domain a bare name is in, unless one account alone has the name", async () => {
  await using place = await Workspace.create();
  const config = await place.configure({
    ...SUBMIT,
    "serve-in": { domains: ["example.com", "example.net"] },
  });
  const unclear = await mailapp(config, "add", "alice");
  assert.equal(unclear.code, 64);
  assert.match(unclear.stderr, /alice@example\.com or alice@example\.net\?/);
  await ok(config, "add", "alice@example.net");
  assert.match(await ok(config, "show", "alice"), /^alice@example\.net$/m);
});

Deno.test("mailapp account makes app passwords, which stay when the password is changed, and removes them", async () => {
  await using place = await Workspace.create();
  const config = await place.configure(SUBMIT);
  const first = JSON.parse(await ok(config, "add", "alice", "--json"));
  assert.match(first.password, /^\S{23}$/);
  const phone = JSON.parse(await ok(config, "app-password", "alice", "my phone", "--json"));
  const hashes = () => stored(place)[0]?.passwords.map(({ argon2id }) => argon2id) ?? [];
  const [main = "", app = ""] = hashes();
  assert.equal(await argon2Hasher.match(phone.password, hashes()), app);
  assert.match(await ok(config, "password", "alice"), /password changed; 1 app password as before/);
  assert.equal(hashes().includes(main), false);
  assert.equal(await argon2Hasher.match(phone.password, hashes()), app, "under the same salt");
  const again = await mailapp(config, "app-password", "alice", "my phone");
  assert.equal(again.code, 64);
  assert.match(await ok(config, "list"), /^alice@example\.com {2}app passwords: my phone$/m);
  assert.equal((await mailapp(config, "app-password", "alice", "--remove", "main")).code, 69, "not its own");
  assert.match(
    await ok(config, "app-password", "alice", "--remove", "my phone", "--dry-run"),
    /would be removed/,
  );
  await ok(config, "app-password", "alice", "--remove", "my phone");
  assert.equal(hashes().length, 1);
  for (const args of [["alice"], ["alice", "x", "--remove", "y"], ["alice", "a\u202eb"], ["alice", ""]]) {
    assert.equal((await mailapp(config, "app-password", ...args)).code, 64, args.join(" "));
  }
  for (let n = 0; n < 9; n++) await ok(config, "app-password", "alice", `device ${n}`);
  assert.match((await mailapp(config, "app-password", "alice", "one more")).stderr, /has 10 passwords/);
});

Deno.test("mailapp account disables, enables and removes accounts, and lists them as JSON without hashes", async () => {
  await using place = await Workspace.create();
  const config = await place.configure(SUBMIT);
  assert.match(await ok(config, "list"), /^no accounts/);
  assert.deepEqual(JSON.parse(await ok(config, "list", "--json")), []);
  await ok(config, "add", "bob");
  await ok(config, "add", "alice");
  await ok(config, "disable", "bob");
  const listed = await ok(config, "list", "--json");
  assert.doesNotMatch(listed, /argon2|key|salt/);
  assert.deepEqual(
    JSON.parse(listed).map(({ login, disabled }: { login: string; disabled: boolean }) => [login, disabled]),
    [["alice@example.com", false], ["bob@example.com", true]],
  );
  await ok(config, "enable", "bob");
  assert.equal(stored(place).some(({ disabled }) => disabled), false);
  const before = stored(place);
  assert.match(
    await ok(config, "remove", "alice", "--dry-run"),
    /would be removed, with 1 password; the mailbox/,
  );
  assert.deepEqual(stored(place), before);
  await ok(config, "remove", "alice");
  assert.deepEqual(stored(place).map(({ login }) => login), ["bob@example.com"]);
});

Deno.test("mailapp account takes a password from standard input, if it is one that is not guessed", async () => {
  await using place = await Workspace.create();
  const config = await place.configure(SUBMIT);
  const add = (stdin: string | Uint8Array, command = "add") =>
    runMailapp(["account", command, "alice@example.com", "--password-stdin", "--config", config], {
      stdin: stdin as string,
    });
  const weak: readonly (readonly [string, RegExp])[] = [
    ["", /the first line of standard input has no password/],
    ["\nsecond line\n", /the first line of standard input has no password/],
    ["short\n", /has 5 characters; at least 10, since/],
    ["Password2026\n", /made of what guessers try first/],
    ["a tab\tin the middle\n", /control or invisible characters/],
  ];
  for (const [stdin, message] of weak) {
    const { code, stderr } = await add(stdin);
    assert.equal(code, 65, stdin);
    assert.match(stderr, message);
  }
  const { code, stdout, stderr } = await add("korrekt Pferd\u00a0Batterie\r\nmore\n");
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stdout, /password:/);
  const [main = ""] = stored(place)[0]?.passwords.map(({ argon2id }) => argon2id) ?? [];
  assert.equal(await argon2Hasher.match("korrekt Pferd Batterie", [main]), main, "prepared (RFC 8265)");
});

Deno.test("mailapp account show and export say the ports of serve-submit", async () => {
  await using place = await Workspace.create();
  const config = await place.configure({ "serve-submit": { port: false, tls_port: 4465 } });
  await ok(config, "add", "alice");
  const shown = JSON.parse(await ok(config, "show", "alice", "--json"));
  assert.deepEqual(shown.settings, {
    smtp: [{ host: "mx.example.com", port: 4465, security: "TLS" }],
    imap: { host: "mx.example.com", port: 993, security: "TLS" },
    username: "alice@example.com",
  });
  assert.match(await ok(config, "show", "alice"), /^ +mx\.example\.com, port 4465, TLS$/m);
  assert.match(await ok(config, "export", "autoconfig", "--imap-host", "imap.example.com"), /<port>4465</);
  for (const args of [["vcard"], ["mobileconfig"], ["autoconfig", "alice"], ["dovecot", "--nth", "0"]]) {
    assert.equal((await mailapp(config, "export", ...args)).code, 64, args.join(" "));
  }
});

testWith(
  [PYTHON],
  "mailapp account export writes autoconfig and mobileconfig that XML and plist readers take",
  async () => {
    await using place = await Workspace.create();
    const user = "o'neil&co";
    const config = await place.configure({ ...SUBMIT, mailboxes: { users: [user, "alice"] } });
    await ok(config, "add", user);
    const autoconfig = await ok(config, "export", "autoconfig");
    const mobile = await ok(config, "export", "mobileconfig", user);
    const script = `
import json, plistlib, sys, xml.etree.ElementTree as tree
autoconfig, mobile = json.load(sys.stdin)
provider = tree.fromstring(autoconfig.encode()).find("emailProvider")
profile = plistlib.loads(mobile.encode())
print(json.dumps({
  "domains": [domain.text for domain in provider.findall("domain")],
  "smtp": [[server.find(name).text for name in ("hostname", "port", "socketType", "username")] for server in provider.findall("outgoingServer")],
  "imap": provider.find("incomingServer").find("socketType").text,
  "account": profile["PayloadContent"][0], "type": profile["PayloadType"],
}))`;
    const seen = JSON.parse(
      await runOk(PYTHON, { args: ["-c", script], stdin: JSON.stringify([autoconfig, mobile]) }),
    );
    assert.deepEqual(seen.domains, ["example.com"]);
    assert.deepEqual(seen.smtp, [
      ["mx.example.com", "465", "SSL", "%EMAILADDRESS%"],
      ["mx.example.com", "587", "STARTTLS", "%EMAILADDRESS%"],
    ]);
    assert.equal(seen.imap, "SSL");
    assert.equal(seen.type, "Configuration");
    assert.equal(seen.account.OutgoingMailServerUsername, "o'neil&co@example.com");
    assert.deepEqual([seen.account.OutgoingMailServerPortNumber, seen.account.OutgoingMailServerUseSSL], [
      465,
      true,
    ]);
    assert.equal(mobile, await ok(config, "export", "mobileconfig", user), "the same profile again");
  },
);

Deno.test("mailapp account leaves accounts to Dovecot where that checks passwords, and shows the settings", async () => {
  await using place = await Workspace.create();
  const config = await place.configure({ "serve-submit": { auth: "dovecot:/run/dovecot/auth-client" } });
  const added = await mailapp(config, "add", "alice");
  assert.equal(added.code, 78);
  assert.match(added.stderr, /serve-submit\.auth = "dovecot:.*: delegates accounts to Dovecot/);
  assert.match(await ok(config, "show", "alice"), /^User name +alice@example\.com$/m);
});

Deno.test("mailapp account says what is wrong with a damaged file, and leaves it alone", async () => {
  await using place = await Workspace.create();
  const config = await place.configure(SUBMIT);
  await ok(config, "add", "alice");
  const path = place.file("state", "accounts", "accounts.json");
  await Deno.writeTextFile(path, "{");
  const { code, stderr } = await mailapp(config, "add", "bob");
  assert.equal(code, 65);
  assert.match(stderr, /accounts\.json: not valid JSON.*Restore it from a backup/s);
  assert.match(
    (await mailapp(config, "list")).stderr,
    /accounts\.json: not valid JSON.*Restore it from a backup/s,
  );
  assert.equal(await Deno.readTextFile(path), "{");
});

const asRoot = { ignore: Deno.uid() !== 0 };

Deno.test(
  "mailapp account, as root, becomes the account that has the data directory, and follows no link of its",
  asRoot,
  async () => {
    await using place = await Workspace.create();
    await Deno.chmod(place.path, 0o755);
    const config = await place.configure(SUBMIT);
    const data = place.file("state");
    await Deno.mkdir(data);
    await Deno.chown(data, 4711, 4712);
    const account = (...args: string[]) => runMailapp(["account", ...args, "--config", config]);
    const added = await account("add", "alice");
    assert.equal(added.code, 0, added.stderr);
    const path = join(data, "accounts", "accounts.json");
    const { uid, gid, mode } = await Deno.stat(path);
    assert.deepEqual([uid, gid, (mode ?? 0) & 0o777], [4711, 4712, 0o600]);
    // The account of the service puts links in the place of what root is to read and write.
    const secret = place.file("secret");
    await Deno.mkdir(secret, { mode: 0o700 });
    await Deno.rename(path, join(secret, "accounts.json"));
    await Deno.chown(join(secret, "accounts.json"), 0, 0);
    await Deno.remove(join(data, "accounts"));
    await Deno.symlink(secret, join(data, "accounts"));
    for (const args of [["list"], ["add", "bob"], ["export", "dovecot"]]) {
      const { code, stdout, stderr } = await account(...args);
      assert.equal(code, 77, `${args}: ${stdout}${stderr}`);
      assert.match(stderr, /this account may not access/);
      assert.doesNotMatch(stdout, /argon2/);
    }
    assert.deepEqual(Array.from(Deno.readDirSync(secret), ({ name }) => name), ["accounts.json"]);
  },
);

Deno.test(
  "mailapp account keeps owner, group and mode of a file in a directory of root's",
  asRoot,
  async () => {
    await using place = await Workspace.create();
    const path = place.file("users");
    const config = await place.configure({ "serve-submit": { accounts_file: path } });
    await ok(config, "add", "alice");
    await Deno.chown(path, 0, 4712);
    await Deno.chmod(path, 0o640);
    await ok(config, "add", "bob");
    const { uid, gid, mode } = await Deno.stat(path);
    assert.deepEqual([uid, gid, (mode ?? 0) & 0o777], [0, 4712, 0o640]);
  },
);
