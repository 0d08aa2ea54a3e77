// The Debian package on a machine with systemd: installed, configured, upgraded with mail in flight, taken back,
// removed and purged.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { builtMailapp } from "../support/built.ts";
import { DebianMachine, MACHINE_PROGRAMS } from "../support/debian_machine.ts";
import { Guide } from "../support/guide.ts";
import { habitsOf } from "../support/habits.ts";
import { HOST_PROGRAMS, makeHosts } from "../support/hosts.ts";
import { startBind } from "../support/peers/bind.ts";
import { type Folder, makeFolder } from "../support/peers/folder.ts";
import { startPebble } from "../support/peers/pebble.ts";
import { run, runOk, until } from "../support/peers/process.ts";
import { repack } from "../support/repack.ts";
import { testWith } from "../support/requires.ts";
import { followAlerts, followCertbot, followCertificates, followMtaSts } from "../support/tls_guides.ts";

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

/** Servers, the dashboard and the timer of the certificate. */
const UNITS = [
  ...["mailapp-in", "mailapp-out", "mailapp-submit", "mailapp-policy", "mailapp-dashboard"],
  "mailapp-certificate.timer",
];
const HERE = "198.51.100.1";
const PROGRAMS = [...MACHINE_PROGRAMS, ...HOST_PROGRAMS, "dpkg-deb", "named", "pebble"];

testWith(PROGRAMS, "the package on a machine, from dpkg -i to purge", async (t) => {
  await using folder = await makeFolder("package");
  await using hosts = await makeHosts();
  const through = hosts.server;
  await using _bind = await startBind({
    "example.com": `@ MX 10 mx\nmx A ${HERE}\nmta-sts A ${HERE}`,
    // Nobody listens there.
    "example.net": "@ MX 10 mx\nmx A 198.51.100.2",
  }, { address: HERE, port: 53, through });
  await using pebble = await startPebble({ through, dns: `${HERE}:53`, refusedNonces: 0 });
  const built = await builtMailapp();
  const isPortable = await repack(built, folder.at("other"));
  const old = await makePackage(folder, built, "~1");
  const fresh = await makePackage(folder, folder.at("other"), "~2");
  await using machine = await DebianMachine.boot({
    hostname: "mx.example.com",
    netns: through.at(-1) ?? "",
    nameserver: HERE,
  });
  /** When each unit that is active became so, by name. */
  const started = async () => {
    const shown = await machine.sh(`for unit in ${UNITS.join(" ")}; do
      systemctl show -p ActiveState,ActiveEnterTimestampMonotonic --value $unit | tr '\\n' ' '; echo $unit; done`);
    const lines = shown.trim().split("\n").map((line) => line.split(/ +/));
    const active = lines.flatMap((words) =>
      words.includes("active") ? [[words.at(-1) ?? "", words.find((word) => /^\d+$/.test(word)) ?? ""]] : []
    );
    return new Map(active as [string, string][]);
  };
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
    const answers = "--hostname mx.example.com --domain example.com --mailbox alice --submission --yes";
    await machine.sh(`${init} ${answers}`);
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

  await step("certificates.md, with an authority", () => followCertificates(machine, pebble));
  await step("mta-sts.md", () => followMtaSts(machine));
  await step("certificates.md, with certbot", () => followCertbot(machine, pebble));
  await step("alerts.md", () => followAlerts(machine));

  const programOf = async (unit: string) =>
    (await machine.sh(`readlink /proc/$(systemctl show -P MainPID ${unit})/exe`)).trim();

  await step("an upgrade while mail comes in loses nothing, and restarts all that ran", async () => {
    const config = machine.file("/etc/mailapp/config.toml");
    await Deno.writeTextFile(config, "\n[dashboard]\n", { append: true });
    await machine.sh(`mailapp install; systemctl restart mailapp-in mailapp-out
      systemctl enable --now mailapp-submit mailapp-dashboard`);
    const before = await started();
    assert.deepEqual([...before.keys()], UNITS);
    const program = await programOf("mailapp-in");
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
    const after = await started();
    assert.deepEqual([...after.keys()], UNITS);
    assert.deepEqual(UNITS.filter((unit) => before.get(unit) === after.get(unit)), []);
    if (isPortable) {
      assert.notEqual(await programOf("mailapp-in"), program);
      for (const unit of UNITS.slice(0, -1)) {
        assert.equal(await programOf(unit), await programOf("mailapp-in"), unit);
      }
    }
    assert.match(await machine.sh("dpkg -s mailapp"), /^Version: .*~2$/m);
    // What came while serve-in started again waits for its next attempt; 75: some are being sent just then.
    await machine.sh(
      "mailapp healthcheck serve-in --wait 60; mailapp healthcheck serve-out --wait 60; " +
        "mailapp queue retry --all || [ $? = 75 ]",
    );
    for (const subject of subjects) await stored(subject);
    assert.match(await machine.sh("mailq"), /somebody@example\.net/);
  });

  await step("the older package takes it back, and starts nothing that did not run", async () => {
    const stopped = ["mailapp-submit", "mailapp-dashboard", "mailapp-certificate.timer"];
    await machine.sh(`systemctl stop ${stopped.join(" ")}`);
    const before = await started();
    await machine.sh("dpkg -i /root/old.deb");
    const after = await started();
    assert.deepEqual([...after.keys()], UNITS.filter((unit) => !stopped.includes(unit)));
    for (const [unit, when] of after) assert.notEqual(when, before.get(unit), unit);
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
      assert.doesNotMatch(await machine.sh(`cat ${unit}`), /\/var\/log\/mailapp/);
      await Deno.writeTextFile(config, before.replace("\n[dashboard]\n", ""));
      await machine.sh("dpkg -i /root/old.deb");
      assert.equal((await machine.run(`test -e ${unit}`)).code, 1);
      await Deno.writeTextFile(config, before);
      await machine.sh("dpkg -i /root/new.deb; mailapp install");
    },
  );

  await step("remove and purge leave mail and queue", async () => {
    await machine.sh(`systemctl start ${UNITS.join(" ")}`);
    await machine.sh("dpkg -r mailapp");
    assert.equal((await machine.run("pgrep -u mailapp")).stdout, "");
    assert.deepEqual([...(await started()).keys()], []);
    assert.match(await machine.sh("dpkg -P mailapp"), /left as it is/);
    await stored("first");
    assert.notEqual(await machine.sh("find /var/lib/mailapp/spool/messages -type f"), "");
    assert.equal(
      (await machine.run("test -e /etc/mailapp/config.toml || test -e /var/cache/mailapp")).code,
      1,
    );
    assert.equal(
      await machine.sh("find /usr /lib /etc -name '*mailapp*' ! -path /etc/mailapp 2>/dev/null || true"),
      "",
    );
    // What was left is what the next installation begins with.
    await machine.sh("dpkg -i /root/new.deb");
    assert.match(await machine.sh("mailq"), /somebody@example\.net/);
  });
});
