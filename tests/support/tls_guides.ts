/**
 * docs/guide/certificates.md, mta-sts.md and alerts.md, typed on a machine whose authority is Pebble.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { DebianMachine } from "./debian_machine.ts";
import { Guide } from "./guide.ts";
import type { Pebble } from "./peers/pebble.ts";
import { until } from "./peers/process.ts";

const CONFIG = "/etc/mailapp/config.toml";
const SECTION = /^\[tls\]\n(?:(?!\[).*\n)*/m;

/** The part of certificates.md about ACME; the rest is typed by first_hour_test.ts. */
export async function followCertificates(machine: DebianMachine, pebble: Pebble): Promise<void> {
  const guide = await Guide.read("certificates");
  await machine.copy(pebble.caFile, "/etc/mailapp/pebble.pem", { mode: 0o644 });
  const authority = `directory = "${pebble.directory}"\nca_file = "/etc/mailapp/pebble.pem"\n`;
  await machine.configure(SECTION, `${guide.take("[tls.acme]\nemail")}${authority}\n`);
  const [obtain = "", ...more] = guide.take("mailapp certificate obtain\n").trim().split("\n");
  assert.match(await machine.sh(obtain), /^A certificate for mx\.example\.com, until /);
  for (const line of more) await machine.sh(line);
  assert.equal(await machine.sh("systemctl is-active mailapp-certificate.timer"), "active\n");
  // "Restart servers that were started without [tls.acme]."
  await machine.sh("systemctl restart mailapp-in && mailapp healthcheck serve-in --wait 60");
  assert.match(await machine.sh("mailapp certificate show"), /^names +mx\.example\.com$/m);
  // What the timer starts.
  await machine.sh("systemctl start mailapp-certificate.service");
  // No TLSA record is published, and so nothing has to be waited for.
  assert.match(await machine.sh("mailapp certificate rollover"), /^A certificate with the new key, until /m);

  const before = await Deno.readTextFile(machine.file(CONFIG));
  await machine.sh(
    "install -m 0640 -g mailapp /dev/null /etc/mailapp/tsig; echo c2VjcmV0 >/etc/mailapp/tsig",
  );
  await machine.configure(/^\[tls\.acme\]\n/m, guide.take('[tls.acme]\nchallenge = "dns-01"\n'));
  assert.match(await machine.sh("mailapp check-config"), /\nok(?:, \d warnings?)?\n$/);
  await Deno.writeTextFile(machine.file(CONFIG), before);
}

/** All of mta-sts.md, up to the policy in mode enforce. */
export async function followMtaSts(machine: DebianMachine): Promise<void> {
  const guide = await Guide.read("mta-sts");
  await Deno.writeTextFile(machine.file(CONFIG), `\n${guide.take("[serve-policy]\n")}`, { append: true });
  assert.match(await machine.sh("mailapp check-config"), /^ {4}mode: testing$/m);
  assert.match(await machine.sh("mailapp dns"), /^mta-sts\.example\.com\. [^]*^_mta-sts\.example\.com\. /m);
  const commands = guide.take("mailapp certificate renew\n").trim().split("\n");
  for (const command of commands) {
    const told = await machine.sh(command);
    if (command.startsWith("mailapp healthcheck")) assert.match(told, /serve-policy .*answers/);
  }
  assert.match(
    await machine.sh("mailapp certificate show"),
    /^names +mx\.example\.com, mta-sts\.example\.com$/m,
  );
  assert.match((await machine.run("mailapp doctor --all")).stdout, /mta-sts/);
  const { stdout: tried } = await machine.run("mailapp selftest --only policy", { within: 300_000 });
  assert.match(tried, /^ok: the policy of example\.com, fetched as a sender does: mode testing/m);
  // Nobody knows Pebble.
  assert.deepEqual(tried.match(/^FAILURE: .*$/gm)?.map((line) => line.replace(/.*: /, "")), [
    "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  ]);
  await machine.configure(/^mode = "testing"$/m, 'mode = "enforce"');
  await machine.sh("systemctl reload mailapp-policy");
  await machine.waitFor("mailapp-policy", /"config\.reloaded"/);
  assert.match(await machine.sh(guide.take("mailapp dns --policy\n")), /^mode: enforce/m);
  guide.end();
}

/** The part of certificates.md about certbot, with that authority, and a renewal. */
export async function followCertbot(machine: DebianMachine, pebble: Pebble): Promise<void> {
  const guide = await Guide.read("certificates");
  const before = await Deno.readTextFile(machine.file(CONFIG));
  const [install = "", obtain = ""] = guide.skipTo("apt-get install certbot").trim().split("\n");
  const apt = "-y --no-install-recommends";
  await machine.sh(install.replace("install", `install -qq ${apt}`), {
    env: { DEBIAN_FRONTEND: "noninteractive" },
    within: 300_000,
  });
  await Deno.writeTextFile(
    machine.file("/etc/letsencrypt/cli.ini"),
    `server = ${pebble.directory}\nregister-unsafely-without-email = true\nagree-tos = true\nnon-interactive = true\n`,
  );
  const env = { REQUESTS_CA_BUNDLE: "/etc/mailapp/pebble.pem" };
  await machine.sh(obtain, { env });
  await machine.configure(/^\[tls\.acme\]\n(?:(?!\[).*\n)*/m, `${guide.take("[tls]\ncert")}\n`);
  for (const command of guide.take("mailapp install\n").trim().split("\n")) await machine.sh(command);
  const key = "/etc/letsencrypt/live/mx.example.com/privkey.pem";
  const serves = async () => {
    await machine.sh("mailapp healthcheck serve-in --wait 60");
    const print = "openssl x509 -noout -serial";
    const file = await machine.sh(`${print} -in /etc/letsencrypt/live/mx.example.com/fullchain.pem`);
    const address = "$(ip -4 -o address show scope global | sed 's/.* inet //; s|/.*||; q')";
    const ask = `openssl s_client -connect ${address}:25 -starttls smtp </dev/null 2>/dev/null`;
    await until(async () => (await machine.run(`${ask} | ${print}`)).stdout === file, {
      what: "certbot's certificate",
      within: 60_000,
    });
    assert.match(await machine.sh(`stat -Lc '%a %G' ${key}`), /^640 mailapp$/m);
    return file;
  };
  const first = await serves();
  await machine.sh("certbot renew --force-renewal --no-random-sleep-on-renew", { env });
  assert.notEqual(await serves(), first);
  await Deno.writeTextFile(machine.file(CONFIG), before);
  await machine.sh("mailapp install; systemctl restart mailapp-in");
}

/** All of alerts.md, without anybody to take the alerts. */
export async function followAlerts(machine: DebianMachine): Promise<void> {
  const guide = await Guide.read("alerts");
  const before = await Deno.readTextFile(machine.file(CONFIG));
  await machine.sh(
    "install -m 0600 -o mailapp /dev/null /etc/mailapp/alerts.pass; echo secret >/etc/mailapp/alerts.pass",
  );
  await Deno.writeTextFile(machine.file(CONFIG), `${before}\n${guide.take("[alerts]\n")}`);
  const [testing = "", ...then] = guide.take("mailapp alert test ").replaceAll(/ +#.*$/gm, "").trim()
    .split("\n");
  const { code, stdout, stderr } = await machine.run(testing);
  assert.equal(code, 69, stdout + stderr);
  for (const way of ["ntfy.example.com", "smtp.example.net"]) {
    assert.ok((stdout + stderr).includes(way), stdout + stderr);
  }
  for (const line of then) await machine.sh(line);
  await machine.sh("systemctl cat mailapp-in | grep -x 'OnFailure=mailapp-alert@%n.service'");
  await machine.sh("mailapp healthcheck serve-in --wait 60");
  guide.end();
  await Deno.writeTextFile(machine.file(CONFIG), before);
  await machine.sh("mailapp install; systemctl restart mailapp-in mailapp-out");
}
