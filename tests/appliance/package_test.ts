// The Debian package on a machine with systemd: installed, configured, and mail comes in and goes out.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { builtMailapp } from "../support/built.ts";
import { DebianMachine, MACHINE_PROGRAMS } from "../support/debian_machine.ts";
import { type Folder, makeFolder } from "../support/peers/folder.ts";
import { until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Makes the package of a built file; its path. */
async function makePackage(folder: Folder, built: string): Promise<string> {
  const out = folder.at("package");
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--frozen", "build/package/package.ts", "--built", built, "--out", out],
      ...["--compression", "gzip"],
    ],
    cwd: ROOT,
  }).output();
  const decoder = new TextDecoder();
  assert.ok(success, decoder.decode(stderr));
  return decoder.decode(stdout).split(": ")[0] ?? "";
}

testWith(
  [...MACHINE_PROGRAMS, "dpkg-deb"],
  "the package on a machine, from dpkg -i to mail that arrives",
  async (t) => {
    await using folder = await makeFolder("package");
    const built = await builtMailapp();
    const file = await makePackage(folder, built);
    await using machine = await DebianMachine.boot({ hostname: "mx.example.com" });
    await machine.copy(file, "/root/mailapp.deb", { mode: 0o644 });
    const step = async (name: string, run: () => Promise<void>) => assert.ok(await t.step(name, run), name);
    const stored = async (subject: string) => {
      const find = `grep -rlx 'Subject: ${subject}' /var/mail/example.com/alice/new || true`;
      return await until(async () => (await machine.sh(find)).trim() || undefined, { what: subject });
    };
    const send = (subject: string) =>
      machine.sh("sendmail -f bob@example.com alice@example.com", { stdin: `Subject: ${subject}\n\nHi\n` });

    await step("dpkg -i, then sendmail, mailq and newaliases are there", async () => {
      await machine.sh("dpkg -i /root/mailapp.deb");
      assert.match(await machine.sh("mailapp --version"), /^mailapp \d/);
      assert.match(await machine.sh("getent passwd mailapp"), /^mailapp:/);
      assert.equal(await machine.sh("mailq"), "nothing is queued\n");
      assert.match(await machine.sh("newaliases"), /^aliases are in \[mailboxes\.aliases\]/);
      assert.match(await machine.sh("stat -c '%a %U' /var/lib/mailapp/maildrop"), /^3733 mailapp\n$/);
    });

    await step("init, and the package's units serve", async () => {
      await machine.sh("mailapp init --hostname mx.example.com --domain example.com --mailbox alice --yes");
      // There is no route to anywhere; serve-out has 127.0.0.1.
      await machine.configure(/^# listen = .*$/m, 'listen = ["127.0.0.2"]');
      const said = await machine.sh("mailapp install");
      assert.match(said, /\/lib\/systemd\/system\/mailapp-in\.service: as the package has it/);
      assert.equal(
        await machine.sh("ls /etc/systemd/system/mailapp* /usr/local/bin/mailapp 2>/dev/null || true"),
        "",
      );
      await machine.sh("systemctl enable --now mailapp-in mailapp-out");
      await send("first");
      await stored("first");
      await machine.sh("sendmail -f alice@example.com somebody@example.net", {
        stdin: "Subject: out\n\nHi\n",
      });
      await until(async () => /somebody@example\.net/.test(await machine.sh("mailq")), { what: "the queue" });
    });
  },
);
