// The Debian package on a machine with systemd: installed, configured, upgraded with mail in flight, taken back,
// removed and purged.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { builtMailapp } from "../support/built.ts";
import { DebianMachine, MACHINE_PROGRAMS } from "../support/debian_machine.ts";
import { habitsOf } from "../support/habits.ts";
import { Guide } from "../support/guide.ts";
import { type Folder, makeFolder } from "../support/peers/folder.ts";
import { run, runOk, until } from "../support/peers/process.ts";
import { repack } from "../support/repack.ts";
import { testWith } from "../support/requires.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Makes the package of a built file; its path. */
async function makePackage(folder: Folder, built: string, revision = ""): Promise<string> {
  const out = folder.at(`package${revision}`);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--frozen", "build/package/package.ts", "--built", built, "--out", out],
      ...["--compression", "gzip", "--revision", revision],
    ],
    cwd: ROOT,
  }).output();
  const decoder = new TextDecoder();
  assert.ok(success, decoder.decode(stderr));
  return decoder.decode(stdout).split(": ")[0] ?? "";
}

testWith(["dpkg-deb", "lintian"], "the package is as lintian wants it", async () => {
  await using folder = await makeFolder("package");
  const file = await makePackage(folder, await builtMailapp());
  const { stdout } = await run("lintian", { args: ["--allow-root", "-I", file], within: 600_000 });
  const told = stdout.split("\n").filter((line) =>
    /^[EWI]: /.test(line) && !line.includes("unused-override")
  );
  assert.deepEqual(told, []);
  const control = await runOk("dpkg-deb", { args: ["--field", file] });
  for (const field of ["Provides", "Conflicts", "Replaces"]) {
    assert.match(control, new RegExp(`^${field}: mail-transport-agent$`, "m"));
  }
  const content = await runOk("dpkg-deb", { args: ["--contents", file] });
  for (
    const path of [
      ...["usr/bin/mailapp", "usr/sbin/sendmail", "usr/bin/mailq", "usr/bin/newaliases", "usr/lib/sendmail"],
      ...["lib/systemd/system/mailapp-in.service", "usr/lib/sysusers.d/mailapp.conf"],
      ...[
        "usr/lib/tmpfiles.d/mailapp.conf",
        "usr/share/man/man1/mailapp.1.gz",
        "usr/share/man/man5/mailapp.toml.5.gz",
      ],
      ...["usr/share/doc/mailapp/docs/guide/first-hour.md", "usr/share/doc/mailapp/config.example.toml"],
      ...["usr/share/doc/mailapp/docs/README.md", "usr/share/doc/mailapp/SECURITY.md"],
      ...["usr/share/bash-completion/completions/mailapp", "usr/share/doc/mailapp/copyright"],
    ]
  ) assert.ok(content.includes(` ./${path}`), path);
});

testWith([...MACHINE_PROGRAMS, "dpkg-deb"], "the package on a machine, from dpkg -i to purge", async (t) => {
  await using folder = await makeFolder("package");
  const built = await builtMailapp();
  const isPortable = await repack(built, folder.at("other"));
  const old = await makePackage(folder, built, "~1");
  const fresh = await makePackage(folder, folder.at("other"), "~2");
  await using machine = await DebianMachine.boot({ hostname: "mx.example.com" });
  await machine.copy(old, "/root/old.deb", { mode: 0o644 });
  await machine.copy(fresh, "/root/new.deb", { mode: 0o644 });
  const step = async (name: string, run: () => Promise<void>) => assert.ok(await t.step(name, run), name);
  const stored = async (subject: string) => {
    const find = `grep -rlx 'Subject: ${subject}' /var/mail/example.com/alice/new || true`;
    return await until(async () => (await machine.sh(find)).trim() || undefined, { what: subject });
  };
  const send = (subject: string) =>
    machine.sh("sendmail -f bob@example.com alice@example.com", { stdin: `Subject: ${subject}\n\nHi\n` });

  // The page's block, line by line; its package is the old one.
  const guide = await Guide.read("install");
  const [installing = "", init = "", install = "", enable = "", ...more] = guide.take("apt-get install ./")
    .trim().split("\n");
  assert.deepEqual(more, []);
  const [, name = ""] = / \.\/(\S+\.deb)$/.exec(installing) ?? [];
  assert.match(
    old,
    new RegExp(`/${name.replace(".deb", "").replace("_amd64", "~1_\\w+")}\\.deb$`),
    "of this version",
  );
  await machine.copy(old, `/root/${name}`, { mode: 0o644 });
  const apt = { env: { DEBIAN_FRONTEND: "noninteractive" }, within: 300_000 };

  await step("install.md's apt-get, then sendmail, mailq and newaliases are there", async () => {
    await machine.sh(installing, apt);
    assert.match(await machine.sh("mailapp --version"), /^mailapp \d/);
    assert.match(await machine.sh("getent passwd mailapp"), /^mailapp:/);
    assert.equal(await machine.sh("mailq"), "nothing is queued\n");
    assert.match(await machine.sh("newaliases"), /^aliases are in \[mailboxes\.aliases\]/);
    assert.match(await machine.sh("stat -c '%a %U' /var/lib/mailapp/maildrop"), /^3733 mailapp\n$/);
  });

  await step("init, and the package's units serve", async () => {
    await machine.sh(`${init} --hostname mx.example.com --domain example.com --mailbox alice --yes`);
    // There is no route to anywhere; serve-out has 127.0.0.1.
    await machine.configure(/^# listen = .*$/m, 'listen = ["127.0.0.2"]');
    const said = await machine.sh(install);
    assert.match(said, /\/lib\/systemd\/system\/mailapp-in\.service: as the package has it/);
    assert.equal(
      await machine.sh("ls /etc/systemd/system/mailapp* /usr/local/bin/mailapp 2>/dev/null || true"),
      "",
    );
    await machine.sh(enable);
    await send("first");
    await stored("first");
    await machine.sh("sendmail -f alice@example.com somebody@example.net", { stdin: "Subject: out\n\nHi\n" });
    await until(async () => /somebody@example\.net/.test(await machine.sh("mailq")), { what: "the queue" });
  });

  await step(
    "apt-get install mailutils brings no other MTA, and its mail command sends by ours",
    async () => {
      const { stdout: before } = await machine.run("dpkg-query -W -f '${Package} ${Status}\\n'");
      assert.doesNotMatch(before, /^mailutils /m);
      // With all that it recommends, as people type it: among that an MTA, unless there is one. The machine has no
      // network, and so only what mailutils needs is downloaded.
      const plan = await machine.sh("apt-get install --simulate mailutils", apt);
      assert.match(plan, /^Inst mailutils /m);
      assert.doesNotMatch(
        plan,
        /^Remv |^Inst (?:exim4|postfix|sendmail|opensmtpd|nullmailer|msmtp|dma|ssmtp|citadel)/m,
      );
      await machine.sh("apt-get install -qq --no-install-recommends mailutils", apt);
      const { stdout: after } = await machine.run("dpkg-query -W -f '${Package} ${Status}\\n'");
      assert.match(after, /^mailutils install ok installed$/m);
      assert.match(after, /^mailapp install ok installed$/m);
      assert.doesNotMatch(
        after,
        /^(?:exim4|postfix|sendmail|opensmtpd|nullmailer|msmtp|dma|ssmtp|citadel)\S* install/m,
      );
      assert.match(await machine.sh("readlink -f /usr/sbin/sendmail"), /\/mailapp\n$/);
      await machine.sh("mail -s 'by mailutils' -r bob@example.com alice@example.com", { stdin: "Hello.\n" });
      await stored("by mailutils");
    },
  );

  await step("what people of Postfix and Exim are told to type, typed", async () => {
    /** The id of a message that waits, of its own. */
    const queued = async () => {
      await machine.sh("sendmail -f alice@example.com habit@example.net", {
        stdin: "Subject: habit\n\nHi\n",
      });
      const listed = await machine.sh("mailapp queue list --sort newest --limit 1 --json");
      return (JSON.parse(listed) as [{ id: string }])[0].id;
    };
    let rows = 0;
    for (const page of ["from-postfix", "from-exim"]) {
      for (const { before, commands } of await habitsOf(page)) {
        if (commands.length > 0) rows++;
        for (const command of commands) {
          // What it does to all is tried by its own test, and others wait here.
          if (/ --all$/.test(command) && !/ retry /.test(command)) continue;
          const typed = command.replace(/\bID\b/, / ID\b/.test(command) ? await queued() : "").replaceAll(
            "…",
            "",
          )
            .replaceAll("SENDER", "alice@example.com").replaceAll("ADDRESS", "alice@example.com")
            .replaceAll("DOMAIN", command.includes("dkim") ? "habit.example.com" : "example.net")
            .replaceAll("LOGIN", "alice@example.com").replaceAll("KEY", "hostname").replaceAll(
              "IP",
              "192.0.2.1",
            );
          const stdin = / -bs$/.test(typed) ? "QUIT\r\n" : "To: alice@example.com\nSubject: habit\n\nHi\n";
          const { code, stdout, stderr } = await machine.run(typed, { stdin, within: 300_000 });
          const said = `${before} → ${typed}: ${code}\n${stdout}${stderr}`;
          // 69: it looked, and found something; 75: being sent just now.
          assert.ok([0, 69, 75].includes(code), said);
          if (code !== 0) assert.notEqual(stdout + stderr, "", said);
        }
      }
    }
    assert.ok(rows >= 40, `${rows} rows were typed`);
    await machine.sh("mailapp queue remove --sender alice@example.com --domain example.net --dry-run");
    const all = await machine.run("mailapp queue remove --all");
    assert.equal(all.code, 64);
    assert.match(all.stderr, /say --yes, or look first with --dry-run/);
  });

  await step("an upgrade while mail comes in loses nothing, and restarts what ran", async () => {
    const program =
      "readlink /proc/$(systemctl show -P MainPID mailapp-in)/exe; systemctl show -P MainPID mailapp-out";
    const before = await machine.sh(program);
    const subjects: string[] = [];
    let over = false;
    const sending = (async () => {
      for (let number = 0; !over || number < 20; number++) {
        await send(`flight ${number}`);
        subjects.push(`flight ${number}`);
      }
    })();
    await machine.sh("dpkg -i /root/new.deb");
    over = true;
    await sending;
    const after = await machine.sh(program);
    assert.notEqual(after, before);
    if (isPortable) assert.notEqual(after.split("\n")[0], before.split("\n")[0]);
    assert.match(await machine.sh("dpkg -s mailapp"), /^Version: .*~2$/m);
    // What came while serve-in started again waits for its next attempt; 75: some are being sent just then.
    await machine.sh(
      "mailapp healthcheck serve-in --wait 60; mailapp healthcheck serve-out --wait 60; " +
        "mailapp queue retry --all || [ $? = 75 ]",
    );
    for (const subject of subjects) await stored(subject);
    assert.match(await machine.sh("mailq"), /somebody@example\.net/);
    assert.equal(await machine.sh("systemctl is-active mailapp-in mailapp-out"), "active\nactive\n");
    assert.equal((await machine.run("systemctl is-active mailapp-submit")).stdout, "inactive\n");
  });

  await step("the older package takes it back", async () => {
    await machine.sh("dpkg -i /root/old.deb");
    assert.match(await machine.sh("dpkg -s mailapp"), /^Version: .*~1$/m);
    await machine.sh("mailapp healthcheck serve-in --wait 60; mailapp healthcheck serve-out --wait 60");
    await send("afterwards");
    await stored("afterwards");
    if (isPortable) {
      assert.equal((await machine.sh("ls -d /usr/lib/mailapp/app-*")).trim().split("\n").length, 1);
    }
  });

  await step(
    "units that mailapp install wrote for another configuration are renewed, then the package's again",
    async () => {
      const config = machine.file("/etc/mailapp/config.toml");
      const before = await Deno.readTextFile(config);
      await Deno.writeTextFile(config, `${before}\n[log]\nfile = "/var/log/mailapp/mail.log"\n`);
      await machine.sh("mailapp install");
      const unit = "/etc/systemd/system/mailapp-out.service";
      assert.match(await machine.sh(`cat ${unit}`), /^ReadWritePaths=.*\/var\/log\/mailapp/m);
      await Deno.writeTextFile(config, before);
      await machine.sh("dpkg -i /root/new.deb");
      assert.equal((await machine.run(`test -e ${unit}`)).code, 1);
    },
  );

  await step("remove and purge leave mail and queue", async () => {
    await machine.sh("dpkg -r mailapp");
    assert.equal((await machine.run("pgrep -u mailapp")).stdout, "");
    assert.match(await machine.sh("dpkg -P mailapp"), /left as it is/);
    await stored("first");
    assert.notEqual(await machine.sh("find /var/lib/mailapp/spool/messages -type f"), "");
    assert.equal(
      (await machine.run("test -e /etc/mailapp/config.toml || test -e /var/cache/mailapp")).code,
      1,
    );
    assert.equal(await machine.sh("find /usr /lib -path '*mailapp*' 2>/dev/null || true"), "");
    // What was left is what the next installation begins with.
    await machine.sh("dpkg -i /root/new.deb");
    assert.match(await machine.sh("mailq"), /somebody@example\.net/);
  });
});
