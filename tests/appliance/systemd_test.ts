// The units under a real systemd: what start, restart and reload say of a configuration that is right or wrong, and what
// root sees of a stopped server.
import assert from "node:assert/strict";
import { builtMailapp } from "../support/built.ts";
import { DebianMachine, MACHINE_PROGRAMS } from "../support/debian_machine.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

testWith(
  MACHINE_PROGRAMS,
  "an image made with install --prefix starts both servers at its first boot",
  async () => {
    const built = await builtMailapp();
    // Not in /tmp, which units have for themselves.
    await using folder = await makeFolder("image", "/srv");
    // On the machine that builds the image: its configuration, keys and passwords lie here.
    const config = folder.at("config.toml");
    await runOk(built, {
      args: [
        ...["init", "--hostname", "mx.example.com", "--domain", "example.com", "--mailbox", "alice", "--yes"],
        ...["--config", config, "--data-dir", folder.at("data"), "--mail-path", "/var/mail/{domain}/{user}"],
      ],
    });
    const text = await Deno.readTextFile(config);
    await Deno.writeTextFile(config, text.replace(/^# listen = .*$/m, 'listen = ["127.0.0.2"]'));
    await using machine = await DebianMachine.boot({
      hostname: "mx.example.com",
      prepare: `"${built}" install --prefix "$PWD" --config "${config}"
      systemctl --root="$PWD" enable mailapp-in mailapp-out`,
    });
    await machine.sh("systemctl is-active mailapp-in mailapp-out");
    for (const server of ["serve-in", "serve-out"]) {
      await machine.sh(`mailapp healthcheck ${server} --config ${config}`);
    }
    assert.match(await machine.sh(`mailapp check-config --config ${config}`), /\nok, 1 warning\n$/);
  },
);

const INIT = "/root/mailapp init --hostname mx.example.com --domain example.com --mailbox alice --yes";

testWith(MACHINE_PROGRAMS, "the services under systemd", async (t) => {
  const built = await builtMailapp();
  await using machine = await DebianMachine.boot({ hostname: "mx.example.com" });
  await machine.copy(built, "/root/mailapp");
  await machine.sh(INIT);
  // There is no route to anywhere; serve-out has 127.0.0.1.
  await machine.configure(/^# listen = .*$/m, 'listen = ["127.0.0.2"]');
  await machine.sh("/root/mailapp install");
  const failing = async (command: string) => {
    let { code, stdout, stderr } = await machine.run(command);
    // Now and then this kernel's control groups do not take a process: systemd's failure, not the server's.
    for (let again = 0; again < 5 && /^systemctl (?:re)?start/.test(command); again++) {
      const unit = command.split(" ").at(-1) ?? "";
      if (!/status=219\/CGROUP[^\n]*\n[^]{0,400}$/.test(await machine.journal(unit))) break;
      ({ code, stdout, stderr } = await machine.run(`systemctl reset-failed; ${command}`));
    }
    assert.notEqual(code, 0, `${command}\n${stdout}${stderr}`);
    return stdout + stderr;
  };

  await t.step("a start has succeeded when the servers answer", async () => {
    await machine.sh("systemctl enable --now mailapp-in mailapp-out");
    assert.match(
      await machine.sh("mailapp healthcheck serve-in; mailapp healthcheck serve-out"),
      /(?:accepts mail\n){1}.*accepts mail\n$/,
    );
    await machine.sh("systemctl restart mailapp-in mailapp-out");
    await machine.sh("mailapp healthcheck serve-in && mailapp healthcheck serve-out");
  });

  await t.step("serve-in with three threads takes mail in its sandbox, is reloaded, and ends", async () => {
    await machine.configure(/^\[serve-in\]$/m, "[serve-in]\nthreads = 3");
    await machine.sh(
      "systemctl set-property --runtime mailapp-in MemoryMax=400M; systemctl restart mailapp-in",
    );
    await machine.waitFor("mailapp-in", /"server\.ready".*"threads":3/);
    const message =
      "EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\n" +
      "Subject: threads\r\n\r\nHi\r\n.\r\nQUIT\r\n";
    const send = async () => {
      await machine.sh("cat >/root/message; for _ in $(seq 20); do nc -N 127.0.0.2 25 </root/message; done", {
        stdin: message,
      });
    };
    await send();
    await machine.sh("systemctl reload mailapp-in");
    await machine.waitFor("mailapp-in", /"config\.reloaded"/);
    await send();
    assert.match(
      await machine.sh("grep -rl '^Subject: threads' /var/mail/example.com/alice/new | wc -l"),
      /^40$/m,
    );
    const log = await machine.journal("mailapp-in");
    const sessions = log.matchAll(/"event":"message\.accepted".*?"session":"(\w{6})/g);
    assert.ok(new Set(Array.from(sessions, ([, thread]) => thread)).size > 1, log);
    assert.doesNotMatch(log, /"thread\.died"/);
    await machine.sh("systemctl stop mailapp-in; find /var/mail/example.com/alice/new -type f -delete");
    assert.match(await machine.sh("systemctl show -P Result mailapp-in"), /^success$/m);
    await machine.configure(/^threads = 3\n/m, "");
    await machine.sh("systemctl start mailapp-in");
  });

  await t.step("a reload with a configuration that is right reloads it", async () => {
    await machine.configure(/^users = .*$/m, 'users = ["alice", "bob"]');
    await machine.sh("systemctl reload mailapp-in mailapp-out");
    await machine.sh("systemctl is-active mailapp-in mailapp-out");
    await machine.waitFor("mailapp-in", /"config\.reloaded"/);
  });

  await t.step("a reload with one that is wrong fails, and the server goes on with the old one", async () => {
    await machine.configure(/^users = /m, "usres = ");
    for (const unit of ["mailapp-in", "mailapp-out"]) {
      await failing(`systemctl reload ${unit}`);
      assert.match(await machine.journal(unit), /usres: unknown key; did you mean users\?/);
      await machine.sh(`systemctl is-active ${unit}`);
    }
    await machine.sh(`nc -N 127.0.0.2 25`, { stdin: "QUIT\r\n" });
  });

  await t.step("a restart with one that is wrong fails, and says why", async () => {
    await failing("systemctl restart mailapp-out");
    const errors = await machine.sh("journalctl -q -o cat -p err -u mailapp-out");
    assert.match(errors, /^Failed to start mailapp-out\.service/m);
    assert.match(errors, /usres: unknown key; did you mean users\?$/m);
    await machine.configure(/^usres = /m, "users = ");
    await machine.sh("systemctl reset-failed mailapp-out; systemctl restart mailapp-out");
    await machine.sh("mailapp healthcheck serve-out");
  });

  await t.step("a port that another program has fails the start", async () => {
    await machine.sh(
      "systemctl stop mailapp-out; systemd-run --quiet --unit=taken nc -lk 127.0.0.1 25; " +
        "until nc -z 127.0.0.1 25; do sleep 0.05; done",
    );
    await failing("systemctl start mailapp-out");
    assert.match(
      await machine.journal("mailapp-out", "-p err"),
      /cannot listen on 127\.0\.0\.1:25: another program has that port/,
    );
    await machine.sh(
      "systemctl stop taken mailapp-out; systemctl reset-failed mailapp-out; systemctl start mailapp-out",
    );
  });

  await t.step("root sees and manages a stopped server's queue, as the account of the server", async () => {
    await machine.sh("mailapp sendmail -f alice@example.com somebody@example.net", {
      stdin: "Subject: x\n\nHi\n",
    });
    await machine.sh("systemctl stop mailapp-out");
    assert.match(await machine.sh("mailapp queue list"), /somebody@example\.net/);
    await machine.sh("mailapp queue hold --all");
    assert.equal(await machine.sh("find /var/lib/mailapp/spool ! -user mailapp"), "");
    await machine.sh("systemctl start mailapp-out");
    assert.match(await machine.sh("mailapp queue list"), /held/);
    await machine.sh("mailapp queue remove --all --yes");
  });

  await t.step(
    "a program of any account hands over mail while serve-out is stopped; it leaves when that runs",
    async () => {
      await machine.sh("ln -sf /usr/local/bin/mailapp /usr/sbin/sendmail; systemctl stop mailapp-out");
      const asNobody = (command: string, stdin = "") =>
        machine.sh(`cd /; setpriv --reuid=nobody --regid=nogroup --clear-groups ${command}`, { stdin });
      await asNobody("sendmail -f carol@example.com alice@example.com", "Subject: from the maildrop\n\nHi\n");
      assert.match(
        await machine.sh("ls -l /var/lib/mailapp/maildrop"),
        /^-rw-r----- 1 nobody mailapp +\d+ .*[0-9a-f]{32}$/m,
      );
      for (
        const command of [
          "ls /var/lib/mailapp/maildrop",
          "ls /var/lib/mailapp",
          "cat /var/lib/mailapp/maildrop/*",
        ]
      ) {
        await assert.rejects(asNobody(`sh -c '${command}'`), /Permission denied|No such file/, command);
      }
      assert.match(
        await machine.sh("mailapp queue list"),
        /1 message waits in \/var\/lib\/mailapp\/maildrop/,
      );
      await machine.sh("systemctl start mailapp-out");
      await machine.waitFor("mailapp-out", /"maildrop\.accepted".*"account":"nobody"/);
      await machine.waitFor("mailapp-in", /"message\.accepted".*"carol@example\.com"/);
      const mail = await machine.sh("cat /var/mail/example.com/alice/new/*");
      assert.match(mail, /^Subject: from the maildrop$/m);
      assert.match(mail, /^Received: from uid65534\.maildrop\.localhost \(/m);
      assert.equal(await machine.sh("ls -A /var/lib/mailapp/maildrop"), "");
      assert.match((await machine.run("mailapp doctor --all")).stdout, /^ok: maildrop /m);
    },
  );

  await t.step(
    "serve-in waits for the file system that mail goes to, which would hide it from readers",
    async () => {
      await machine.sh(`
      systemctl stop mailapp-in
      cp -a /var/mail /srv/late
      cat >/etc/systemd/system/late-disk.service <<"END"
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sleep 3
END
      cat >/etc/systemd/system/var-mail.mount <<"END"
[Unit]
DefaultDependencies=no
Requires=late-disk.service
After=late-disk.service
[Mount]
What=/srv/late
Where=/var/mail
Options=bind
END
      systemctl daemon-reload
      systemctl start mailapp-in`);
      await machine.sh("nc -N 127.0.0.2 25", {
        stdin: "EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<alice@example.com>\r\n" +
          "DATA\r\nSubject: to a disk that comes late\r\n\r\nHi\r\n.\r\nQUIT\r\n",
      });
      await machine.sh("systemctl stop mailapp-in var-mail.mount late-disk");
      assert.match(await machine.sh("grep -rh ^Subject: /srv/late"), /to a disk that comes late/);
      await machine.sh(`
      rm -r /etc/systemd/system/var-mail.mount /etc/systemd/system/late-disk.service /srv/late
      systemctl daemon-reload
      systemctl start mailapp-in`);
    },
  );

  await t.step("install again, while they run: it says to restart them", async () => {
    assert.match(
      await machine.sh("mailapp install"),
      /with this version and these units: systemctl restart mailapp-in mailapp-out\n/,
    );
    await machine.sh("systemctl disable --now mailapp-out");
    assert.match(
      await machine.sh("mailapp install"),
      /systemctl restart mailapp-in; systemctl enable --now mailapp-out\n/,
    );
    await machine.sh("systemctl enable --now mailapp-out");
  });

  await t.step(
    "[log] file set, and restarted: the unit says to run mailapp install, which is all it takes",
    async () => {
      const before = await Deno.readTextFile(machine.file("/etc/mailapp/config.toml"));
      await Deno.writeTextFile(
        machine.file("/etc/mailapp/config.toml"),
        `${before}\n[log]\nfile = "/var/log/mailapp/mail.log"\n`,
      );
      await failing("systemctl restart mailapp-in");
      assert.match(
        await machine.journal("mailapp-in", "-p err"),
        /\[log\] file: there is no directory \/var\/log\/mailapp\. .*mailapp install/,
      );
      await machine.sh("install -d -o mailapp -g mailapp -m 2750 /var/log/mailapp; systemctl reset-failed");
      await failing("systemctl restart mailapp-in");
      assert.match(
        await machine.journal("mailapp-in", "-p err"),
        /\[log\] file: .* mounted read-only here\. .*mailapp install/,
      );
      await machine.sh("mailapp install; systemctl reset-failed; systemctl restart mailapp-in mailapp-out");
      const log = await machine.sh("cat /var/log/mailapp/mail.log");
      for (const server of ["serve-in", "serve-out"]) {
        assert.match(log, new RegExp(`"event":"server.ready","server":"${server}"`));
      }
    },
  );

  await t.step(
    "check-config and doctor as root know what the account of the servers may not do",
    async () => {
      const config = machine.file("/etc/mailapp/config.toml");
      const before = await Deno.readTextFile(config);
      const saying = async (changed: string, pattern: RegExp) => {
        await Deno.writeTextFile(config, changed);
        assert.match(await failing("mailapp check-config"), pattern);
        assert.match((await machine.run("mailapp doctor")).stdout, pattern);
      };
      await saying(
        before.replace(/^domains = .*$/m, 'domains = ["example.com", "third.example"]'),
        /\/var\/mail\/third\.example is not there, and the account mailapp cannot make it in \/var\/mail/,
      );
      await saying(
        before.replace(/^hostname/m, 'data_dir = "/var/lib/mialapp"\nhostname'),
        /data_dir: \/var\/lib\/mialapp is not there, and the account mailapp cannot make it/,
      );
      await machine.sh("install -m 0600 /dev/null /root/relay.pass; echo secret >/root/relay.pass");
      await saying(
        before.replace(
          /^# "\*" = \{.*$/m,
          '"*" = { host = "127.0.0.9", user = "u", password_file = "/root/relay.pass" }',
        ),
        /password_file: the account mailapp may not enter \/root/,
      );
      await Deno.writeTextFile(config, before);
    },
  );
});
