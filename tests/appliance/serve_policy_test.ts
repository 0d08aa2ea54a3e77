// serve-policy under a real systemd: port 443 without root, what its unit keeps from it, and reloads of policy and
// certificate. tests/e2e/serve_policy_test.ts has what the server itself is denied.
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { builtMailapp } from "../support/built.ts";
import { DebianMachine, MACHINE_PROGRAMS } from "../support/debian_machine.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { run, until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { createTestAuthority } from "../support/test_authority.ts";

const HOST = "mta-sts.example.com";
const ADDRESS = "127.0.0.2";
const INIT =
  "/root/mailapp init --hostname mx.example.com --domain example.com --mailbox alice --yes --submission";
/** CAP_NET_BIND_SERVICE and no other. */
const BIND_SERVICE = "0000000000000400";

/** Directories of other servers. */
const PRIVATE = ["spool", "dkim", "incoming", "maildrop", "submit", "acme", "accounts"];
/** What whoever takes over the process would try as its account, in its mount namespace; each must fail. */
const ATTEMPTS: readonly string[] = [
  ...PRIVATE.map((name) => `ls /var/lib/mailapp/${name}`),
  "cat /var/lib/mailapp/dkim/*",
  "ls /var/mail/example.com",
  "touch /var/mail/x",
  "cat /etc/shadow",
  "ls /root",
  "touch /etc/x",
  "touch /etc/mailapp/config.toml",
  "touch /etc/mailapp/tls/cert.pem",
  "touch /usr/local/bin/mailapp",
  "touch /var/log/x",
  "touch /sys/x",
  "touch /boot/x",
  "hostname taken",
];

testWith([...MACHINE_PROGRAMS, "curl", "openssl"], "serve-policy under systemd", async (t) => {
  const built = await builtMailapp();
  const authority = await createTestAuthority();
  await using folder = await makeFolder("policy-ca");
  const ca = await folder.write("ca.pem", authority.cert);
  await using machine = await DebianMachine.boot({ hostname: "mx.example.com" });
  await machine.copy(built, "/root/mailapp");
  await machine.sh(INIT);
  // There is no route to anywhere.
  await machine.configure(/^# listen = .*$/m, `listen = ["${ADDRESS}"]`);
  await machine.sh("/root/mailapp install");
  const certify = async () => {
    const { cert, key } = await authority.issue({ names: ["mx.example.com", HOST] });
    const put = (name: string, text: string) =>
      machine.sh(
        `install -D -o root -g mailapp -m 0640 /dev/stdin /etc/mailapp/tls/${name}.new; ` +
          `mv /etc/mailapp/tls/${name}.new /etc/mailapp/tls/${name}`,
        { stdin: text },
      );
    await put("cert.pem", cert);
    await put("key.pem", key);
    return new X509Certificate(cert).fingerprint256;
  };
  const settings = (policy: string) => `
[serve-policy]
listen = ["${ADDRESS}"]

[mta_sts]
${policy}
`;
  const first = await certify();
  await machine.configure(
    /^self_signed = true.*$/m,
    'cert = "/etc/mailapp/tls/cert.pem"\nkey = "/etc/mailapp/tls/key.pem"',
  );
  const config = machine.file("/etc/mailapp/config.toml");
  const base = await Deno.readTextFile(config);
  await Deno.writeTextFile(config, base + settings('mode = "testing"'));

  /** In the machine's network, with this host's programs. */
  const outside = async (command: string, args: readonly string[], stdin = "") =>
    await run("nsenter", { args: [`--target=${machine.pid}`, "--net", command, ...args], stdin });
  const policy = async () => {
    const url = `https://${HOST}/.well-known/mta-sts.txt`;
    const resolve = ["--resolve", `${HOST}:443:${ADDRESS}`];
    const { stdout, stderr } = await outside("curl", ["-sS", "--cacert", ca, ...resolve, url]);
    return stdout + stderr;
  };
  const shown = async () => {
    const args = ["s_client", "-connect", `${ADDRESS}:443`, "-servername", HOST];
    const { stdout } = await outside("openssl", args);
    const [pem = ""] = /-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/.exec(stdout) ?? [];
    return new X509Certificate(pem).fingerprint256;
  };

  await t.step("install names its unit, and the start has succeeded when it answers", async () => {
    assert.match(await machine.sh("mailapp install"), /mailapp-policy\.service/);
    // All that others may have by then.
    const others = PRIVATE.map((name) => `/var/lib/mailapp/${name}`).join(" ");
    await machine.sh(`for at in ${others}; do mkdir -p $at; chown mailapp:mailapp $at; done`);
    await machine.sh("systemctl enable --now mailapp-policy");
    assert.equal(
      await machine.sh("mailapp healthcheck serve-policy"),
      `serve-policy on ${ADDRESS}:443: answers\n`,
    );
    assert.match(await policy(), /^version: STSv1\r\nmode: testing\r\nmx: mx\.example\.com\r\n/);
    assert.equal(await shown(), first);
  });

  await t.step("it has port 443 without being root, and no other privilege", async () => {
    const pid = (await machine.sh("systemctl show -p MainPID --value mailapp-policy")).trim();
    const status = await machine.sh(`cat /proc/${pid}/status`);
    const account = (await machine.sh("id -u mailapp")).trim();
    assert.notEqual(account, "0");
    assert.match(status, new RegExp(`^Uid:\\t${account}\\t${account}\\t${account}\\t${account}$`, "m"));
    for (const set of ["Prm", "Eff", "Bnd", "Amb"]) {
      assert.match(status, new RegExp(`^Cap${set}:\\t${BIND_SERVICE}$`, "m"), set);
    }
    assert.match(status, /^NoNewPrivs:\t1$/m);
    assert.match(status, /^Seccomp:\t2$/m);
  });

  await t.step("its unit keeps mail, queue, keys and system from it", async () => {
    await machine.sh("systemctl start mailapp-in mailapp-out");
    const pid = (await machine.sh("systemctl show -p MainPID --value mailapp-policy")).trim();
    const [uid = "", gid = ""] = (await machine.sh("id -u mailapp; id -g mailapp")).trim().split("\n");
    const asIt = (command: string) =>
      machine.run(
        `nsenter --target=${pid} --mount --root setpriv --reuid=${uid} --regid=${gid} --clear-groups --no-new-privs ` +
          `--bounding-set=-all --inh-caps=-all sh -c '${command}'`,
      );
    // What it needs it can.
    for (const command of ["cat /etc/mailapp/config.toml", "cat /etc/mailapp/tls/key.pem"]) {
      const { code, stderr } = await asIt(command);
      assert.equal(code, 0, stderr);
    }
    for (const command of ATTEMPTS) {
      const { code, stdout, stderr } = await asIt(command);
      assert.notEqual(code, 0, `${command}: ${stdout}`);
      assert.match(
        stderr,
        /Permission denied|Operation not permitted|Read-only file system|must be root/,
        command,
      );
    }
  });

  await t.step("a reload takes over another policy, and a renewed certificate is shown", async () => {
    await Deno.writeTextFile(
      config,
      base + settings('mode = "enforce"\nmx = ["mx.example.com", "*.example.com"]'),
    );
    const second = await certify();
    await machine.sh("systemctl reload mailapp-policy");
    await machine.waitFor("mailapp-policy", /"config\.reloaded"/);
    assert.match(await policy(), /\r\nmode: enforce\r\nmx: mx\.example\.com\r\nmx: \*\.example\.com\r\n/);
    await until(async () => await shown() === second, { what: "the renewed certificate" });
    // Without a reload it notices by itself, as after mailapp certificate renew.
    const third = await certify();
    await until(async () => await shown() === third, { what: "the certificate after that", within: 120_000 });
  });

  await t.step("a reload with a policy that is wrong fails, and the old one stays", async () => {
    await Deno.writeTextFile(config, base + settings('mode = "enforced"'));
    const { code } = await machine.run("systemctl reload mailapp-policy");
    assert.notEqual(code, 0);
    assert.match(await machine.journal("mailapp-policy"), /mta_sts\.mode/);
    assert.match(await policy(), /\r\nmode: enforce\r\n/);
    await Deno.writeTextFile(config, base + settings('mode = "none"'));
    await machine.sh("systemctl reload mailapp-policy");
    await until(async () => /\r\nmode: none\r\n/.test(await policy()), { what: "the policy after that" });
  });

  await t.step("a restart serves again, and a stop ends it", async () => {
    await machine.sh("systemctl restart mailapp-policy");
    assert.match(await policy(), /\r\nmode: none\r\n/);
    await machine.sh("systemctl stop mailapp-policy");
    assert.equal((await machine.run("systemctl is-failed mailapp-policy")).stdout, "inactive\n");
    assert.notEqual((await machine.run("mailapp healthcheck serve-policy")).code, 0);
  });
});
