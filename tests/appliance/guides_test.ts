// The guides that first_hour_test.ts does not follow, each to its end, on Debian machines with systemd. What is typed
// there comes out of the pages.
import assert from "node:assert/strict";
import { builtMailapp } from "../support/built.ts";
import { DebianMachine, MACHINE_PROGRAMS } from "../support/debian_machine.ts";
import { Guide } from "../support/guide.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { PYTHON, runOk, until } from "../support/peers/process.ts";
import { repack } from "../support/repack.ts";
import { testWith } from "../support/requires.ts";
import { createTestAuthority } from "../support/test_authority.ts";

const HOSTNAME = "mx.example.com";
const CONFIG = "/etc/mailapp/config.toml";

/** Types a block of a guide, which must succeed. */
function typeIn(machine: DebianMachine, block: string): Promise<string> {
  // The machine's disk stands for the one that is reached by SSH.
  return machine.sh(block.replaceAll("backup:/srv/backup", "/srv/backup"));
}

/** Hands a message to the machine's sendmail, and waits until it is in a mailbox. */
async function deliver(
  machine: DebianMachine,
  { to, from = "bob@example.com", fields = "", subject }: {
    readonly to: string;
    readonly from?: string;
    readonly fields?: string;
    readonly subject: string;
  },
): Promise<string> {
  const message = `From: ${from}\nTo: ${to}@example.com\n${fields}Subject: ${subject}\n\nHello.\n`;
  await machine.sh(`mailapp sendmail -f ${from} ${to}@example.com`, { stdin: message });
  return await until(async () => {
    const find = `grep -rlx 'Subject: ${subject}' /var/mail/example.com/${to}/new || true`;
    return (await machine.sh(find)).trim() || undefined;
  }, { what: `the message ${subject} for ${to}` });
}

/** One of our names on the machine, in the hands of someone who has just installed it. */
async function install(machine: DebianMachine): Promise<void> {
  await machine.copy(await builtMailapp(), "/root/mailapp");
  await machine.sh(
    "/root/mailapp init --hostname mx.example.com --domain example.com --mailbox alice bob --yes",
  );
  // There is no route to anywhere; serve-out has 127.0.0.1.
  await machine.configure(/^# listen = .*$/m, 'listen = ["127.0.0.2"]');
  await machine.sh("/root/mailapp install; systemctl enable --now mailapp-in mailapp-out; rm /root/mailapp");
}

testWith([...MACHINE_PROGRAMS, PYTHON], "the guides, followed to their end on a machine", async (t) => {
  await using machine = await DebianMachine.boot({ hostname: HOSTNAME });
  await install(machine);
  const type = (block: string) => typeIn(machine, block);
  /** What follows builds on what came before. */
  const step = async (name: string, run: () => Promise<void>) => {
    assert.ok(await t.step(name, run), name);
  };

  await step("find-a-message.md, in the journal and in a file", async () => {
    const guide = await Guide.read("find-a-message");
    const fields = "Message-ID: <4711@mail.example.net>\n";
    const path = await deliver(machine, { to: "alice", from: "bob@example.com", fields, subject: "found" });
    await machine.sh("mailapp sendmail -f alice@example.com somebody@example.net", { stdin: "Hello.\n" });
    await machine.waitFor("mailapp-out", /"event":"attempt\.deferred"/);
    const [{ id }] = JSON.parse(await machine.sh("mailapp queue list --json")) as [{ id: string }];
    const typed = guide.take("mailapp trace ").replaceAll("mi1x0b2k00000a3f7c2q", id).replace(
      "bob@example.net",
      "bob@example.com",
    )
      .replace(/ \/var\/mail\/\S+/, ` '${path}'`).replaceAll(/ +#.*$/gm, "").trim().split("\n");
    const expected = [/deferred by/, /stored for/, /stored for/, /stored for/, /deferred by/];
    assert.equal(typed.length, expected.length);
    const trace = async () => {
      for (const [index, line] of typed.entries()) {
        assert.match(await machine.sh(line), expected[index] ?? /^$/, line);
      }
    };
    await trace();

    const before = await Deno.readTextFile(machine.file(CONFIG));
    await Deno.writeTextFile(machine.file(CONFIG), `${before}\n[log]\nfile = "/var/log/mailapp/mail.log"\n`);
    await machine.sh("mailapp install; systemctl restart mailapp-in mailapp-out");
    await machine.sh(`mailapp queue retry ${id}`);
    const inFile = typed[0] ?? "";
    await until(async () => /deferred by/.test((await machine.run(inFile)).stdout), {
      what: `${id} in the log file`,
    });
    await machine.sh("logrotate -f /etc/logrotate.d/mailapp");
    assert.match(await machine.sh(inFile), /deferred by/);
    await machine.sh(`mailapp queue remove ${id}`);
    await Deno.writeTextFile(machine.file(CONFIG), before);
    await machine.sh("mailapp install; systemctl restart mailapp-in mailapp-out");
    guide.end();
  });

  await step("dns-records.md and doctor.md, as far as that goes without a network", async () => {
    const records = await Guide.read("dns-records");
    const shown = await type(records.take("mailapp dns --table"));
    for (const record of ["v=spf1", "v=DKIM1", "v=DMARC1", "MX"]) assert.ok(shown.includes(record), record);
    records.end();
    const doctor = await Guide.read("doctor");
    // Each waits for DNS, which there is none of.
    await Promise.all(
      doctor.take("mailapp doctor\n").trim().split("\n").map(async (line) => {
        const { code, stdout } = await machine.run(line.replace(/^mailapp doctor(?!.*--json)/, "$& --all"));
        assert.equal(code, 69, stdout);
        assert.match(stdout, /"?failures/);
        if (!line.includes("--json")) assert.match(stdout, /^ok: rights \/var\/lib\/mailapp: /m);
      }),
    );
    doctor.end();
  });

  await step("dkim.md: a domain more, and a new key beside the old one", async () => {
    const guide = await Guide.read("dkim");
    assert.match(await type(guide.take("mailapp dkim new example.org")), /TXT[^]*\[dkim\]/);
    guide.take("[dkim]\n");
    assert.match(await type(guide.take("mailapp dkim new example.com --selector s2027")), /\[dkim\]/);
    const [{ selector }] = JSON.parse(await machine.sh("mailapp dkim show --json")) as [{ selector: string }];
    const both = guide.take("[dkim]\n").replaceAll("s202611", selector);
    await machine.configure(/^\[dkim\]\n[^]*$/m, both);
    await machine.sh("mailapp check-config; systemctl reload mailapp-out");
    const path = await deliver(machine, { to: "alice", subject: "two keys" });
    const selectors = (await machine.sh(`cat '${path}'`)).matchAll(/^DKIM-Signature: [^]*?\bs=(\w+);/gm);
    assert.deepEqual([...selectors].map(([, name]) => name).sort(), [selector, "s2027"].sort());
    guide.end();
  });

  await step("junk.md: why a message was filed", async () => {
    const guide = await Guide.read("junk");
    guide.take("Authentication-Results: ");
    const before = await Deno.readTextFile(machine.file(CONFIG));
    for (const key of ["trusted_sealers", "dns_lists", "filter"]) {
      const settings = guide.take(`[serve-in.checks]\n${key} = `);
      await Deno.writeTextFile(machine.file(CONFIG), `${before}\n${settings}`);
      assert.match(await machine.sh("mailapp check-config"), /\nok, 1 warning\n$/);
    }
    await Deno.writeTextFile(machine.file(CONFIG), before);
    const path = await deliver(machine, { to: "alice", from: "info@bank.example", subject: "from a bank" });
    assert.match(await type(guide.take("journalctl -u mailapp-in | grep bank.example")), /message\.accepted/);
    assert.match(await type(guide.take("mailapp explain --from info@bank.example")), /dmarc|DMARC/);
    await machine.sh(`cp '${path}' message.eml`);
    assert.match(await type(guide.take("mailapp check-message message.eml")), /spf/);
    guide.end();
  });

  await step("dovecot.md: mail is read over IMAP, counted and sorted", async () => {
    const guide = await Guide.read("dovecot");
    const installing = guide.take("apt-get install dovecot-imapd\n")
      .replace("apt-get install", "apt-get install -qq --no-install-recommends")
      .replace(/^.*doveadm pw.*$/m, (line) => `printf 'secret\\nsecret\\n' | ( ${line} )`);
    await machine.sh(installing, { env: { DEBIAN_FRONTEND: "noninteractive" }, within: 300_000 });
    const local = machine.file("/etc/dovecot/local.conf");
    await Deno.writeTextFile(local, guide.take("mail_location = "));
    guide.take("mail_driver = ");
    const restarting = guide.take("systemctl restart dovecot\n");
    const told = await machine.sh(restarting.replace(/^doveadm auth/m, "echo secret | $&"));
    assert.match(told, /auth succeeded/);
    await withSubmission(machine, { guide, local });
    await deliver(machine, { to: "alice", fields: "List-Id: <a.lists.example.org>\n", subject: "of a list" });
    const reader = `
import imaplib
imap = imaplib.IMAP4_SSL("127.0.0.1", 993)
imap.login("alice@example.com", "secret")
imap.select()
for uid in imap.uid("SEARCH", "ALL")[1][0].split():
    imap.uid("STORE", uid, "+FLAGS", "(\\\\Seen)")
    print(imap.uid("FETCH", uid, "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1])
imap.logout()`;
    const read = async () =>
      await runOk("nsenter", { args: [`--target=${machine.pid}`, "--net", PYTHON, "-c", reader] });
    for (const subject of ["found", "of a list"]) {
      assert.match(await read(), new RegExp(String.raw`FLAGS \(\\+Seen.*Subject: ${subject}\b`));
    }

    await Deno.writeTextFile(local, guide.take("mail_plugins = "), { append: true });
    const counted = await type(guide.take("systemctl restart dovecot\ndoveadm quota"));
    assert.match(counted, /STORAGE +[1-9]\d* +1048576\b/);

    const sieve = guide.take("apt-get install dovecot-sieve\n")
      .replace("apt-get install", "apt-get install -qq --no-install-recommends")
      .replace(/^editor /m, "cat >");
    await machine.sh(sieve, { stdin: guide.take("require "), env: { DEBIAN_FRONTEND: "noninteractive" } });
    await type(guide.take("sieve-filter "));
    assert.match(await machine.sh("cat /var/mail/example.com/alice/.Lists/*/*mx*"), /^Subject: of a list$/m);
    // serve-in goes on, and Dovecot sees what it brings.
    await deliver(machine, { to: "alice", subject: "afterwards" });
    const left = await read();
    assert.match(left, /Subject: afterwards/);
    assert.doesNotMatch(left, /Subject: of a list/);
    guide.end();
  });

  await step("upgrade.md: to another version, back again, and away with what is no longer used", async () => {
    const guide = await Guide.read("upgrade");
    await using folder = await makeFolder("upgrade");
    const isPortable = await repack(await builtMailapp(), folder.at("mailapp"));
    await machine.copy(folder.at("mailapp"), "/root/mailapp");
    await machine.sh("sha256sum mailapp >mailapp.sha256");
    const versions = async () => (await machine.sh("ls /var/cache/mailapp")).trim().split("\n");
    const running = async () =>
      (await machine.sh(
        "readlink /proc/$(systemctl show -P MainPID mailapp-in)/exe /proc/$(systemctl show -P MainPID mailapp-out)/exe",
      )).trim();
    await type(guide.take("sha256sum -c "));
    const old = await running();
    await type(guide.take("cp -p /usr/local/bin/mailapp "));
    const answers = await type(guide.take("mailapp healthcheck serve-in "));
    assert.match(answers, /accepts mail\n.*accepts mail\n/);
    if (isPortable) {
      assert.notEqual(await running(), old);
      assert.equal((await versions()).length, 2);
    }
    await type(guide.take("mv /usr/local/bin/mailapp.old "));
    assert.equal(await running(), old);
    await type(guide.take("for version in "));
    if (isPortable) {
      const [left = "", ...more] = await versions();
      assert.deepEqual(more, []);
      assert.ok(old.includes(left), `${left}\n${old}`);
    }
    await deliver(machine, { to: "alice", subject: "after an upgrade" });
    guide.end();
  });

  await step("domains.md: a domain more, and another name for one", async () => {
    const guide = await Guide.read("domains");
    const before = await Deno.readTextFile(machine.file(CONFIG));
    const stored = async (address: string, subject: string) => {
      await machine.sh(`mailapp sendmail -f bob@example.org ${address}`, {
        stdin: `Subject: ${subject}\n\nHello.\n`,
      });
      return await until(async () => {
        const find = `grep -lx 'Subject: ${subject}' /var/mail/*/*/new/* 2>/dev/null || true`;
        return (await machine.sh(find)).trim() || undefined;
      }, { what: `${subject} for ${address}` });
    };
    const domains = (settings: string) => /^domains = .*$/m.exec(settings)?.join() ?? "";
    await machine.configure(/^domains = .*$/m, domains(guide.take("[serve-in]\n")));
    const made = guide.take("mailapp dkim new example.org\n");
    // dkim.md has made one.
    await machine.sh("rm /var/lib/mailapp/dkim/example.org.*");
    const printed = await machine.sh(made.slice(0, made.indexOf("\n")));
    const [line = ""] = /^"example\.org" = \{ selector = .*\}$/m.exec(printed) ?? [];
    assert.notEqual(line, "", printed);
    await machine.configure(/^\[dkim\]$/m, `[dkim]\n${line}`);
    assert.match(
      await type(made.slice(made.indexOf("\n") + 1)),
      /signs for example\.org[^]*\nok, 1 warning\n$/,
    );
    assert.match(
      await type(guide.take("systemctl reload mailapp-in mailapp-out\n")),
      /^example\.org\..* MX /m,
    );
    assert.match(
      await stored("alice@example.org", "to one more"),
      /^\/var\/mail\/example\.org\/alice\/new\//,
    );

    await machine.sh("systemctl stop mailapp-in; rm -r /var/mail/example.org/*");
    const settings = guide.take("[serve-in]\n");
    const [, users = "", aliases = ""] = /^(users = .*)\n\n\[mailboxes\.aliases\]\n([^]*)$/m.exec(settings) ??
      [];
    await machine.configure(/^domains = .*$/m, domains(settings));
    await machine.configure(/^users = .*$/m, users);
    await machine.configure(/^\[mailboxes\.aliases\]\n(?:\w+ = .*\n)*/m, `[mailboxes.aliases]\n${aliases}`);
    assert.match(await type(guide.take("mailapp install\n")), /\nok, 1 warning\n$/);
    await machine.sh("mailapp healthcheck serve-in --wait 60");
    assert.match(
      await stored("alice@example.com", "to the old name"),
      /^\/var\/mail\/example\.org\/alice\/new\//,
    );
    assert.match(
      await stored("postmaster@example.org", "to a role"),
      /^\/var\/mail\/example\.org\/alice\/new\//,
    );
    assert.match(await machine.sh("cat /var/mail/example.org/alice/*/*,S=*"), /^Subject: found$/m);
    guide.end();

    await Deno.writeTextFile(machine.file(CONFIG), before);
    await machine.sh(`mv /var/mail/example.org/* /var/mail/example.com/; rm -r /var/mail/example.org
      systemctl restart mailapp-in mailapp-out`);
  });

  await step("backup.md: restored on another machine, and the spool moved there", async () => {
    const guide = await Guide.read("backup");
    await machine.sh(`ln -sf /usr/local/bin/mailapp /usr/sbin/sendmail
      install -m 0600 -o mailapp /dev/null /etc/mailapp/relay.pass; echo secret >/etc/mailapp/relay.pass
      install -d /etc/systemd/system/mailapp-out.service.d /srv/backup
      printf '[Service]\\nEnvironment=OURS=1\\n' >/etc/systemd/system/mailapp-out.service.d/override.conf
      systemctl daemon-reload`);
    await machine.configure(
      /^# "\*" = \{ host = .*$/m,
      '"*" = { host = "127.0.0.9", user = "u", password_file = "/etc/mailapp/relay.pass" }',
    );
    await machine.sh("systemctl reload-or-restart mailapp-out");
    await machine.sh("mailapp sendmail -f alice@example.com somebody@example.net", { stdin: "Hello.\n" });
    await type(guide.take("cd /\ntar "));

    await using other = await DebianMachine.boot({ hostname: HOSTNAME });
    const carry = async () => {
      const [from, to] = [machine.file("/srv"), other.file("/srv")];
      await runOk("sh", { args: ["-euc", 'tar -C "$1" -c backup | tar -C "$2" -x', "sh", from, to] });
    };
    await carry();
    // Numbers of accounts mean something else there.
    const uid = (await machine.sh("id -u mailapp")).trim();
    await other.sh(
      `useradd --system --uid ${uid} somebody-else 2>/dev/null || useradd --system somebody-else`,
    );
    const restored = await typeIn(other, guide.take("rsync -a backup:/srv/backup/mailapp.tar.gz /root/\n"));
    assert.match(restored, /\nok, 1 warning\n$/);
    const [starting = "", doctor = "", ...more] = guide.take("systemctl enable --now ").trim().split("\n");
    assert.deepEqual(more, []);
    await other.sh(starting);
    const { stdout: looked } = await other.run(`${doctor} --all`);
    for (const id of ["storage", "rights", "maildrop", "certificate"]) {
      assert.match(looked, new RegExp(`^ok: ${id} `, "m"), looked);
    }
    assert.equal(await other.sh("find /etc/mailapp /var/lib/mailapp /var/mail -user somebody-else"), "");
    assert.equal(await other.sh("systemctl show -P Environment mailapp-out"), "OURS=1\n");
    for (
      const path of ["/etc/mailapp/config.toml", "/etc/mailapp/relay.pass", "/var/lib/mailapp/dkim/*.pem"]
    ) {
      const digest = `cat ${path} | sha256sum; stat -c '%U %a' ${path}`;
      assert.equal(await other.sh(digest), await machine.sh(digest), path);
    }
    assert.match(await other.sh("cat /var/mail/example.com/alice/*/*,S=*"), /^Subject: found$/m);
    assert.deepEqual(JSON.parse(await other.sh("mailapp queue list --json")), []);
    await deliver(other, { to: "alice", subject: "on the other machine" });

    await type(guide.take("systemctl disable --now mailapp-out\n"));
    await carry();
    assert.match(await typeIn(other, guide.take("systemctl stop mailapp-out\n")), /somebody@example\.net/);
    await other.sh("mailapp queue retry --all || [ $? = 75 ]");
    await other.waitFor("mailapp-out", /"event":"attempt\.deferred".*somebody@example\.net/);
    guide.end();
  });

  await step(
    "install.md: Caddy's certificate; taken off again, and back, and off with all there was",
    async () => {
      const guide = await Guide.read("install");
      const leaf = await (await createTestAuthority()).issue({
        names: [HOSTNAME],
        notAfter: new Date(Date.now() + 60 * 86_400_000),
      });
      const caddy = `/var/lib/caddy/.local/share/caddy/certificates/acme-v02/${HOSTNAME}`;
      await machine.sh(`install -d -m 0700 ${caddy}`);
      await Deno.writeTextFile(machine.file(`${caddy}/${HOSTNAME}.crt`), leaf.cert);
      await Deno.writeTextFile(machine.file(`${caddy}/${HOSTNAME}.key`), leaf.key, { mode: 0o600 });
      // The block before, of the package, is followed by package_test.ts.
      await type(guide.skipTo("cd /var/lib/caddy/"));
      await machine.configure(
        /^self_signed = .*$/m,
        'cert = "/etc/mailapp/tls/fullchain.pem"\nkey = "/etc/mailapp/tls/privkey.pem"',
      );
      await machine.sh("systemctl restart mailapp-in; mailapp healthcheck serve-in");
      const { stdout: looked } = await machine.run("mailapp doctor --all");
      for (const id of ["certificate", "rights"]) {
        assert.match(looked, new RegExp(`^ok: ${id} `, "m"), looked);
      }

      const removing = guide.take("systemctl disable --now ");
      await machine.copy(await builtMailapp(), "/root/mailapp");
      await type(removing);
      const left =
        "find / -xdev -name '*mailapp*' -not -path '/root/*' -not -path '/srv/*' -not -path '/var/log/journal/*'";
      assert.deepEqual((await machine.sh(left)).trim().split("\n").sort(), [
        "/etc/mailapp",
        "/var/lib/mailapp",
        "/var/log/mailapp",
      ]);
      assert.match(await machine.sh("systemctl list-unit-files --no-legend 'mailapp*' | wc -l"), /^0$/m);
      await machine.sh("/root/mailapp install; systemctl enable --now mailapp-in mailapp-out");
      await deliver(machine, { to: "alice", subject: "back again" });
      await type(removing);
      await type(guide.take("rm -rf /etc/mailapp "));
      assert.equal((await machine.sh(left)).trim(), "");
      assert.doesNotMatch(await machine.sh("cat /etc/passwd"), /^mailapp:/m);
      guide.end();
    },
  );
});

/** One password for reading and for sending, by each of the two ways of dovecot.md. */
async function withSubmission(
  machine: DebianMachine,
  { guide, local }: { readonly guide: Guide; readonly local: string },
): Promise<void> {
  const before = await Deno.readTextFile(machine.file(CONFIG));
  const own = before.replace(/^listen = /m, "tls_port = false\n$&");
  const configure = async (settings: string) => {
    await Deno.writeTextFile(machine.file(CONFIG), `${own}\n${settings}listen = ["127.0.0.2"]\n`);
    await machine.sh(`mailapp install; systemctl enable mailapp-submit
      systemctl restart mailapp-in mailapp-submit; mailapp healthcheck serve-submit`);
  };
  const login = async (password: string) => {
    const client = `
import smtplib, ssl
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
with smtplib.SMTP("127.0.0.2", 587, "phone.test", timeout=60) as client:
    client.starttls(context=context)
    print(client.login("alice@example.com", "${password}"))`;
    return await runOk("nsenter", { args: [`--target=${machine.pid}`, "--net", PYTHON, "-c", client] });
  };
  const settings = guide.take("[serve-submit]\n");
  await Deno.writeTextFile(local, guide.take("service auth {"), { append: true });
  await machine.sh("systemctl restart dovecot");
  await configure(settings);
  assert.match(await login("secret"), /235/);

  await configure("[serve-submit]\n");
  await machine.sh("mailapp account add alice@example.com --password-stdin", {
    stdin: "for reading and sending\n",
  });
  assert.match(await login("for reading and sending"), /235/);
  await typeIn(machine, guide.take("mailapp account export dovecot |"));
  await typeIn(machine, guide.take("mailapp account export dovecot --nth 2 |"));
  const told = await machine.sh("echo 'for reading and sending' | doveadm auth test alice@example.com");
  assert.match(told, /auth succeeded/);

  await Deno.writeTextFile(machine.file(CONFIG), before);
  await machine.sh(`systemctl disable --now mailapp-submit; rm /etc/systemd/system/mailapp-submit.service
    mailapp install; systemctl restart mailapp-in mailapp-out
    echo "alice@example.com:$(doveadm pw -s ARGON2ID -p secret)" >/etc/dovecot/users`);
}
