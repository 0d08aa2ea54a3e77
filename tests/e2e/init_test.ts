// A first configuration: by flags, and as a person is asked on a terminal. The outcome must serve.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { createSelfSigned } from "../../tls/self_signed.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { PYTHON, run } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));

/** What every unattended run here has. */
function flags(workspace: Workspace, ...more: string[]): string[] {
  return [
    ...["init", "--config", workspace.file("etc", "config.toml"), "--hostname", "mx.example.com", "--yes"],
    ...["--data-dir", workspace.file("data"), "--mail-path", workspace.file("mail", "{domain}", "{user}")],
    ...more,
  ];
}

Deno.test("init by flags makes configuration, keys and certificate, and check-config takes them", async () => {
  await using workspace = await Workspace.create();
  const config = workspace.file("etc", "config.toml");
  const made = await runMailapp(
    flags(workspace, "--domain", "example.com", "Example.ORG", "--mailbox", "alice", "bob"),
  );
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /Next:\n1\. .*check-config.*\n2\. .*\n3\. .*mailapp dns/);
  const checked = await runMailapp(["check-config", "--config", config]);
  assert.equal(checked.code, 0, checked.stdout);
  assert.match(checked.stdout, /serve-in, as mx\.example\.com/);
  assert.match(checked.stdout, /for example\.com, example\.org/);
  assert.match(checked.stdout, /postmaster → alice\n.*root → alice\n.*abuse → alice/);
  assert.match(checked.stdout, /signs for example\.com with s\d{6}, rsa-sha256/);
  assert.match(checked.stdout, /signs for example\.org/);
  for (const secret of ["tls/selfsigned.key", ...await keysOf(workspace)]) {
    assert.equal(((await Deno.stat(workspace.file("data", secret))).mode ?? 0) & 0o777, 0o600, secret);
  }
});

async function keysOf(workspace: Workspace): Promise<string[]> {
  const names = await Array.fromAsync(
    Deno.readDir(workspace.file("data", "dkim")),
    ({ name }) => `dkim/${name}`,
  );
  assert.equal(names.length, 2);
  return names;
}

Deno.test("init overwrites nothing, and takes keys up that it made before it was stopped", async () => {
  await using workspace = await Workspace.create();
  const args = flags(workspace, "--domain", "example.com", "--mailbox", "alice");
  const first = await runMailapp(args);
  assert.equal(first.code, 0, first.stderr);
  const file = workspace.file("etc", "config.toml");
  const text = await Deno.readTextFile(file);
  const again = await runMailapp(args);
  assert.equal(again.code, 64);
  assert.match(again.stderr, /config\.toml already exists, and was not changed/);
  assert.equal(await Deno.readTextFile(file), text);
  await Deno.remove(file);
  const [key = ""] = [...text.matchAll(/selector = .*key = "(.*)"/g)].map(([, path]) => path);
  const before = await Deno.readTextFile(key);
  const third = await runMailapp(args);
  assert.equal(third.code, 0, third.stderr);
  assert.match(third.stdout, /\.pem: there already, and used/);
  assert.equal(await Deno.readTextFile(key), before);
  assert.equal(await Deno.readTextFile(file), text);

  // A month later, DNS still has the key of then.
  await Deno.remove(file);
  await Deno.rename(key, workspace.file("data", "dkim", "example.com.s202401.pem"));
  await Deno.writeTextFile(workspace.file("data", "dkim", "example.com.au.s202402.pem"), "another domain's");
  const later = await runMailapp(args);
  assert.equal(later.code, 0, later.stderr);
  assert.match(later.stdout, /example\.com\.s202401\.pem: there already, and used/);
  assert.match(await Deno.readTextFile(file), /^"example\.com" = \{ selector = "s202401", key = /m);
});

Deno.test("init takes a certificate of one's own, and refuses one that does not work", async () => {
  await using workspace = await Workspace.create();
  const [cert, key] = [workspace.file("cert.pem"), workspace.file("key.pem")];
  const pair = await createSelfSigned({ hostname: "mx.example.com", now: Date.now() });
  await Deno.writeTextFile(cert, pair.cert);
  await Deno.writeTextFile(key, pair.key);
  const args = flags(workspace, "--domain", "example.com", "--mailbox", "alice", "--cert", cert);
  const bad = await runMailapp([...args, "--key", cert]);
  assert.equal(bad.code, 64);
  assert.match(bad.stderr, /Nothing was written/);
  const alone = await runMailapp(args);
  assert.equal(alone.code, 64);
  assert.match(alone.stderr, /--cert and --key go together/);
  const good = await runMailapp([...args, "--key", key]);
  assert.equal(good.code, 0, good.stderr);
  const checked = await runMailapp(["check-config", "--config", workspace.file("etc", "config.toml")]);
  assert.equal(checked.code, 0, checked.stdout);
  assert.match(checked.stdout, /has a certificate for mx\.example\.com/);
});

Deno.test("init takes the addresses and the port of serve-in by flags", async () => {
  const init = async (...more: string[]) => {
    await using workspace = await Workspace.create();
    const base = flags(workspace, "--domain", "example.com", "--mailbox", "alice");
    const { code, stderr } = await runMailapp([...base, ...more]);
    const file = workspace.file("etc", "config.toml");
    return { code, stderr, text: await Deno.readTextFile(file).catch(() => "") };
  };
  const listens = async (...more: string[]) => {
    const { code, stderr, text } = await init(...more);
    assert.equal(code, 0, stderr);
    return /^\[serve-in\]\n(?:.*\n)*?(?=\n)/m.exec(text)?.[0].match(/^(?:listen|port) = .*/gm) ?? [];
  };
  assert.deepEqual(await listens(), []);
  assert.deepEqual(await listens("--listen", "any", "--port", "2525"), ['listen = "any"', "port = 2525"]);
  assert.deepEqual(await listens("--listen", "192.0.2.1", "2001:db8::1"), [
    'listen = ["192.0.2.1", "2001:db8::1"]',
  ]);
  for (const port of ["0", "65536", "25x"]) {
    const { code, stderr, text } = await init("--port", port);
    assert.deepEqual([code, text], [64, ""], port);
    assert.match(stderr, /It must be a port, 1 to 65535\./);
  }
});

Deno.test("init without a terminal names the flag that it misses, and what cannot be", async () => {
  await using workspace = await Workspace.create();
  const none = await runMailapp(flags(workspace, "--domain", "example.com"), { env: { SUDO_USER: "" } });
  assert.equal(none.code, 64);
  assert.match(none.stderr, /give --mailbox/);
  const wrong = await runMailapp(
    flags(workspace, "--domain", "example.com", "--mailbox", "alice", "--postmaster", "nobody-here"),
  );
  assert.equal(wrong.code, 64);
  assert.match(wrong.stderr, /nothing was written\nmailboxes\.aliases\./);
  assert.deepEqual(await Array.fromAsync(Deno.readDir(workspace.path)), []);
});

testWith(["script"], "init asks on a terminal, again where an answer will not do", async () => {
  await using workspace = await Workspace.create();
  const config = workspace.file("config.toml");
  const command = [Deno.execPath(), "run", "-A", "--frozen", "--no-prompt", MAIN, "init", "--config", config];
  const more = ["--data-dir", workspace.file("data"), "--mail-path", workspace.file("mail", "{user}")];
  const answers = [
    ...["mx", "mx.example.com", "", "bad..name", "alice, bob", "bob"],
    // Let's Encrypt, whom it may write to, MTA-STS, phones.
    ...["perhaps", "yes", "", "y", "perhaps", "yes", ""],
  ];
  const { code, stdout } = await run("script", {
    args: ["-qec", [...command, ...more].map((part) => `'${part}'`).join(" "), "/dev/null"],
    env: { NO_COLOR: "1", TERM: "dumb", SUDO_USER: "" },
    stdin: answers.map((answer) => `${answer}\n`).join(""),
  });
  assert.equal(code, 0, stdout);
  assert.match(stdout, /full name, as reverse DNS has it.*:/);
  assert.match(stdout, /Domains to accept mail for \[example\.com\]:/);
  assert.match(stdout, /Please type a full name, such as mx\.example\.com/);
  assert.match(stdout, /Please type names, such as alice/);
  assert.match(stdout, /Next:/);
  const text = await Deno.readTextFile(config);
  assert.match(text, /^hostname = "mx\.example\.com"/m);
  assert.match(text, /^domains = \["example\.com"\]/m);
  assert.match(text, /^users = \["alice", "bob"\]/m);
  assert.match(text, /^postmaster = "bob"/m);
  assert.match(stdout, /certificate from Let's Encrypt, .* port 80 here \[no\]:/);
  assert.match(stdout, /Whom may Let's Encrypt write to \[postmaster@example\.com\]:/);
  assert.match(stdout, /\(MTA-STS\), .* port 443 here \[no\]:/);
  assert.match(text, /^\[tls\.acme\].*\nemail = "postmaster@example\.com"/m);
  assert.match(text, /^\[serve-policy\].*\n\n\[mta_sts\]\nmode = "testing"/m);
  assert.match(stdout, /send mail from phones and computers \[no\]:/);
  assert.match(stdout, /Please type yes or no/);
  assert.match(text, /^tls_port = false/m);
  assert.match(text, /^\[serve-submit\]/m);
  assert.match(
    stdout,
    /submit[^]*mailapp dns[^]*\n4\. .*certificate obtain[^]*\n5\. .*policy[^]*\n6\. .*mailapp account add LOGIN/,
  );
  const checked = await runMailapp(["check-config", "--config", config]);
  assert.equal(checked.code, 0, checked.stdout);
});

/** Types a key when the first question comes, and ends as the program ended, in the way of a shell. */
const TYPIST = `
import os, pty, sys
key, command = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
seen = b""
typed = False
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    seen += piece
    if not typed and b"full name, as reverse DNS has it" in seen:
        os.write(terminal, bytes([int(key)]))
        typed = True
print(seen.decode())
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(128 - status if status < 0 else status)
`;

testWith(
  [PYTHON],
  "init ends at Ctrl-C as every program does, and at the end of its input, with nothing written",
  async () => {
    await using workspace = await Workspace.create();
    const init = [Deno.execPath(), "run", "-A", "--frozen", "--no-prompt", MAIN, "init"];
    const typed = async (key: number) =>
      await run(PYTHON, {
        args: ["-c", TYPIST, String(key), ...init, "--config", workspace.file("config.toml")],
        env: { NO_COLOR: "1", TERM: "dumb", SUDO_USER: "" },
      });
    assert.equal((await typed(3)).code, 130);
    const ended = await typed(4);
    assert.equal(ended.code, 66, ended.stdout);
    assert.match(ended.stdout, /end of input; nothing was written/);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(workspace.path)), []);
  },
);

Deno.test("init takes system for the mailboxes of all users, and nothing beside it", async () => {
  await using workspace = await Workspace.create();
  const { code, stderr } = await runMailapp(
    flags(workspace, "--domain", "example.com", "--mailbox", "alice", "system"),
  );
  assert.equal(code, 64);
  assert.match(stderr, /--mailbox system cannot be combined with other mailboxes/);
});

Deno.test("init by flags has a certificate from an authority, and a policy only with one that verifies", async () => {
  await using workspace = await Workspace.create();
  const basic = flags(workspace, "--domain", "example.com", "--mailbox", "alice");
  const excluded: readonly [more: string[], message: RegExp][] = [
    [["--acme", "--self-signed"], /--acme excludes --cert, --key and --self-signed/],
    [["--mta-sts"], /--mta-sts needs a certificate that others can verify/],
    [["--mta-sts", "--self-signed"], /--mta-sts needs a certificate that others can verify/],
    [["--acme-email", "alice@example.com"], /--acme-email needs --acme/],
    [["--acme", "--acme-email", "alice"], /must be a mail address/i],
  ];
  for (const [more, message] of excluded) {
    const { code, stderr } = await runMailapp([...basic, ...more]);
    assert.equal(code, 64);
    assert.match(stderr, message);
  }
  const made = await runMailapp([...basic, "--acme", "--mta-sts"]);
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /mailapp certificate obtain[^]*policy/);
  const config = workspace.file("etc", "config.toml");
  const checked = await runMailapp(["check-config", "--config", config]);
  assert.equal(checked.code, 0, checked.stdout);
  assert.match(checked.stdout, /serve-policy, as mta-sts\.example\.com/);
  // None of its own: the servers make one until there is another.
  await assert.rejects(Deno.stat(workspace.file("data", "tls", "selfsigned.crt")), Deno.errors.NotFound);
  const { stdout } = await runMailapp(["dns", "--config", config]);
  assert.match(stdout, /^mta-sts\.example\.com\. IN CNAME mx\.example\.com\.$/m);
  assert.match(stdout, /^_mta-sts\.example\.com\. IN TXT "v=STSv1; id=[0-9a-f]{20};"$/m);
  const policy = await runMailapp(["dns", "--policy", "--config", config]);
  assert.equal(policy.stdout, "version: STSv1\r\nmode: testing\r\nmx: mx.example.com\r\nmax_age: 604800\r\n");
});
