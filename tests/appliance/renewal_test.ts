// certificates.md and mta-sts.md, typed on a machine with systemd, with Pebble as the authority and BIND as DNS: the unit
// that renews the certificate can do so for all that it is confined, and says in the journal what is wrong.
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { builtMailapp } from "../support/built.ts";
import { DebianMachine, MACHINE_PROGRAMS } from "../support/debian_machine.ts";
import { Guide } from "../support/guide.ts";
import { startBind } from "../support/peers/bind.ts";
import { startPebble } from "../support/peers/pebble.ts";
import { until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const ADDRESS = "127.0.0.2";
const DNS = "127.0.0.1";
const INIT = "/root/mailapp init --hostname mx.example.com --domain example.com --mailbox alice --yes";

testWith([...MACHINE_PROGRAMS, "pebble", "named"], "the certificate is renewed under systemd", async (t) => {
  const built = await builtMailapp();
  await using machine = await DebianMachine.boot({ hostname: "mx.example.com" });
  const through = ["nsenter", `--target=${machine.pid}`, "--net"];
  const zone = ["mx", "mail", "mta-sts"].map((name) => `${name} A ${ADDRESS}\n`).join("");
  await using _bind = await startBind({ "example.com": zone }, { address: DNS, port: 53, through });
  await using pebble = await startPebble({ through, dns: `${DNS}:53`, refusedNonces: 0 });
  await machine.copy(built, "/root/mailapp");
  await machine.sh(INIT);
  // There is no route to anywhere.
  const listen = `listen = ["${ADDRESS}"]`;
  await machine.configure(/^# listen = .*$/m, listen);
  await machine.sh("/root/mailapp install; systemctl enable --now mailapp-in; rm /root/mailapp");
  await machine.copy(pebble.caFile, "/etc/mailapp/authority.pem", { mode: 0o644 });
  const certificate = async () =>
    new X509Certificate(await machine.sh("cat /var/lib/mailapp/tls/current/cert.pem"));
  const renewal = () => machine.journal("mailapp-certificate");
  const step = async (name: string, run: () => Promise<void>) => assert.ok(await t.step(name, run), name);

  await step("certificates.md: obtained, and a timer for its renewal", async () => {
    const guide = await Guide.read("certificates");
    const authority =
      `directory = "${pebble.directory}"\nca_file = "/etc/mailapp/authority.pem"\nnames = []\n`;
    await machine.configure(/^self_signed = true.*$/m, guide.take("[tls.acme]\n") + authority);
    await Deno.writeTextFile(
      machine.file("/etc/mailapp/config.toml"),
      `\n[dns]\nservers = ["${DNS}"]\n`,
      { append: true },
    );
    await machine.sh(guide.take("mailapp certificate obtain\n"));
    assert.equal((await certificate()).subjectAltName, "DNS:mx.example.com");
    const owner = await machine.sh("stat -L -c '%U %G %a' /var/lib/mailapp/tls/current/key.pem");
    assert.equal(owner, "mailapp mailapp 640\n");
    assert.equal(await machine.sh("systemctl is-active mailapp-certificate.timer"), "active\n");
    assert.match(await machine.sh("systemctl list-timers --all"), / mailapp-certificate\.service$/m);
    await machine.waitFor("mailapp-in", /"tls\.certificate\.loaded".*"mx\.example\.com".*Pebble/);
  });

  await step("the unit does nothing before it is time", async () => {
    const before = (await certificate()).fingerprint256;
    await machine.sh("systemctl start mailapp-certificate.service");
    assert.match(await renewal(), /it will be renewed from /);
    assert.equal((await certificate()).fingerprint256, before);
  });

  await step(
    "mta-sts.md: a certificate with the name of the policy host, and serve-policy with it",
    async () => {
      const guide = await Guide.read("mta-sts");
      const settings = guide.take("[serve-policy]\n").replace("[serve-policy]\n", `$&${listen}\n`);
      await Deno.writeTextFile(machine.file("/etc/mailapp/config.toml"), `\n${settings}`, { append: true });
      const typed = guide.take("mailapp certificate renew\n");
      assert.match(await machine.sh(typed), new RegExp(`^serve-policy on ${ADDRESS}:443: answers$`, "m"));
      assert.equal((await certificate()).subjectAltName, "DNS:mx.example.com, DNS:mta-sts.example.com");
      assert.match(
        await machine.sh(guide.take("mailapp dns --policy\n")),
        /^version: STSv1\r\nmode: testing\r\n/,
      );
      guide.end();
    },
  );

  const { publicKey } = await certificate();
  const key = publicKey.export({ type: "spki", format: "pem" });

  await step("the unit renews, as the account of the servers, and they take it", async () => {
    await machine.configure(/^names = \[\]$/m, 'names = ["mail.example.com"]');
    await machine.sh("systemctl start mailapp-certificate.service");
    const renewed = await certificate();
    assert.match(renewed.subjectAltName ?? "", /DNS:mail\.example\.com/);
    assert.equal(renewed.publicKey.export({ type: "spki", format: "pem" }), key);
    const owner = await machine.sh("stat -L -c '%U %G %a' /var/lib/mailapp/tls/current/key.pem");
    assert.equal(owner, "mailapp mailapp 640\n");
    for (const unit of ["mailapp-in", "mailapp-policy"]) {
      const loaded = /"tls\.certificate\.loaded".*"mail\.example\.com"/;
      await until(async () => loaded.test(await machine.journal(unit)), {
        what: `the new certificate in ${unit}`,
        within: 120_000,
      });
    }
  });

  await step("the journal and doctor say why it could not", async () => {
    const before = (await certificate()).fingerprint256;
    await pebble.program.stop();
    await machine.configure(/^names = .*$/m, 'names = ["mail.example.com", "new.example.com"]');
    const { code } = await machine.run("systemctl start mailapp-certificate.service");
    assert.notEqual(code, 0);
    const reason = /the authority at \S+ cannot be reached: /;
    assert.match(await renewal(), reason);
    assert.equal((await certificate()).fingerprint256, before);
    const { stdout } = await machine.run("mailapp doctor");
    assert.match(stdout.replaceAll(/\s+/g, " "), reason);
  });
});
