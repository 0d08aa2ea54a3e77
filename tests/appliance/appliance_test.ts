// The built file alone, on a bare Debian: set up, checked, started, and mail moved both ways.
import assert from "node:assert/strict";
import { builtMailapp } from "../support/built.ts";
import { ACCOUNT, debianRoot, inRoot, ROOT_PROGRAMS } from "../support/debian_root.ts";
import { HOST_PROGRAMS, makeHosts } from "../support/hosts.ts";
import { startBind } from "../support/peers/bind.ts";
import { type Folder, makeFolder } from "../support/peers/folder.ts";
import { PYTHON, run, type RunningProgram, runOk, start, until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const CONFIG = "/srv/etc/config.toml";
const MAILAPP = "/srv/mailapp";

/** One machine with nothing on it but the built file. */
interface Machine extends AsyncDisposable {
  readonly folder: Folder;
  /** Runs mailapp to its end; must succeed. */
  run(args: readonly string[], options?: { stdin?: string; uid?: number }): Promise<string>;
  /** Starts a server and waits until it serves. */
  serve(server: "serve-in" | "serve-out"): Promise<RunningProgram>;
  /** What `init` wrote, with this changed. */
  change(edit: (text: string) => string): Promise<void>;
  /** Waits for a message of this subject. */
  arrival(user: string, subject: string): Promise<string>;
}

async function makeMachine(
  name: string,
  { netns, domain, nameserver }: {
    readonly netns: string;
    readonly domain: string;
    readonly nameserver?: string;
  },
): Promise<Machine> {
  const root = await debianRoot();
  const folder = await makeFolder(name);
  await Deno.copyFile(await builtMailapp(), folder.at("mailapp"));
  await Deno.chmod(folder.at("mailapp"), 0o755);
  for (const uid of [ACCOUNT, ACCOUNT + 1]) await folder.mkdir(`home-${uid}`, { uid, gid: uid });
  await Deno.chown(folder.path, ACCOUNT, ACCOUNT);
  // As systemd's CAP_NET_BIND_SERVICE does it, for the accounts of this namespace.
  const open = ["netns", "exec", netns, "sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start"];
  await runOk("ip", { args: open });
  const resolvConf = nameserver === undefined
    ? undefined
    : await folder.write("resolv.conf", `nameserver ${nameserver}\n`);
  const through = (uid: number) =>
    inRoot(root, { netns, home: folder.path, uid, ...(resolvConf && { resolvConf }) });
  const mailapp = (uid: number, args: readonly string[]) => {
    const [program = "", ...rest] = [...through(uid), "env", `MAILAPP_CONFIG=${CONFIG}`, MAILAPP, ...args];
    return { program, args: rest };
  };
  const machine: Machine = {
    folder,
    async run(args, { stdin = "", uid = ACCOUNT } = {}) {
      const command = mailapp(uid, args);
      return await runOk(command.program, { args: command.args, stdin });
    },
    async serve(server) {
      const command = mailapp(ACCOUNT, [server]);
      const program = start(command.program, { args: command.args });
      await program.line(/"event":"server\.ready"/);
      return program;
    },
    async change(edit) {
      const file = folder.at("etc/config.toml");
      await Deno.writeTextFile(file, edit(await Deno.readTextFile(file)));
    },
    arrival: (user, subject) =>
      until(async () => {
        const directory = folder.at(`etc/mail/${domain}/${user}/new`);
        for await (const { name } of readDirIfThere(directory)) {
          const text = await Deno.readTextFile(`${directory}/${name}`);
          if (text.includes(`Subject: ${subject}\n`)) return text;
        }
        return undefined;
      }, { what: `the message ${subject} for ${user}@${domain}` }),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
  const said = await machine.run([
    ...["init", "--yes", "--hostname", `mx.${domain}`, "--domain", domain, "--mailbox", "alice", "bob"],
  ]);
  assert.match(said, /config\.toml: made\n[^]*Next:/);
  return machine;
}

async function* readDirIfThere(path: string): AsyncGenerator<Deno.DirEntry> {
  try {
    yield* Deno.readDir(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

testWith(
  [...ROOT_PROGRAMS, PYTHON],
  "the built file alone on a bare Debian moves mail both ways, as an account without rights",
  async (t) => {
    const netns = `mailapp-a-${crypto.randomUUID().slice(0, 6)}`;
    await runOk("ip", { args: ["netns", "add", netns] });
    try {
      await runOk("ip", { args: ["-n", netns, "link", "set", "lo", "up"] });
      await using machine = await makeMachine("appliance", { netns, domain: "example.test" });
      // There is no interface with a default route; and serve-out has port 25 of 127.0.0.1.
      await machine.change((text) => text.replace(/^# listen = .*$/m, 'listen = ["127.0.0.2"]'));

      await t.step("check-config says what it would do", async () => {
        const said = await machine.run(["check-config"]);
        assert.match(said, /listens on 127\.0\.0\.2:25, with STARTTLS/);
        assert.match(said, /listens on 127\.0\.0\.1:25/);
        // The root has an empty resolv.conf.
        assert.match(
          said,
          /\nwarning: \/etc\/resolv\.conf: it names no nameserver[^\n]*\n\nok, 1 warning\n$/,
        );
      });

      await using serveIn = await machine.serve("serve-in");
      await using serveOut = await machine.serve("serve-out");

      await t.step("healthcheck sees both", async () => {
        for (const server of ["serve-in", "serve-out"]) {
          assert.match(await machine.run(["healthcheck", server]), /answers/);
        }
      });

      await t.step(
        "out: a program of another account hands mail to serve-out, which brings it to serve-in",
        async () => {
          const message = "From: carol@example.test\nSubject: from within\n\nHello.\n";
          await machine.run(["sendmail", "-f", "carol@example.test", "alice@example.test"], {
            stdin: message,
            uid: ACCOUNT + 1,
          });
          const text = await machine.arrival("alice", "from within");
          assert.match(text, /^Return-Path: <carol@example\.test>\n/);
          assert.match(text, /^DKIM-Signature: /m);
          assert.match(text, /with ESMTPS/);
        },
      );

      await t.step("in: mail comes over SMTP with STARTTLS", async () => {
        const script = `
import smtplib, ssl
with smtplib.SMTP("127.0.0.2", 25, "client.test", timeout=60) as client:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client.starttls(context=context)
    client.sendmail("dave@client.test", ["bob@example.test"], "Subject: from outside\\r\\n\\r\\nHello.\\r\\n")
`;
        await runOk("ip", { args: ["netns", "exec", netns, PYTHON, "-c", script] });
        assert.match(await machine.arrival("bob", "from outside"), /^Return-Path: <dave@client\.test>\n/);
      });

      await t.step("the queue is empty, and both end well", async () => {
        assert.deepEqual(JSON.parse(await machine.run(["queue", "list", "--json"])), []);
        for (const server of [serveIn, serveOut]) {
          await server.stop();
          assert.equal((await server.status).code, 0, server.lines.join("\n"));
        }
      });

      await t.step(
        "a taken port, a bad key, an unreadable file, a typo: each is told, with its exit code",
        async () => {
          const fails = async (args: string[], { uid = ACCOUNT } = {}) => {
            const [program = "", ...rest] = inRoot(await debianRoot(), {
              netns,
              home: machine.folder.path,
              uid,
            });
            const { code, stdout, stderr } = await run(program, { args: [...rest, MAILAPP, ...args] });
            return { code, said: stdout + stderr };
          };
          const none = await fails([]);
          assert.equal(none.code, 64);
          assert.match(none.said, /^Usage: mailapp /);
          const typo = await fails(["serv-out"]);
          assert.equal(typo.code, 64);
          assert.match(typo.said, /Did you mean serve-out\?/);
          const noPlace = await fails(["init"], { uid: ACCOUNT + 1 });
          assert.equal(noPlace.code, 77, noPlace.said);
          assert.match(noPlace.said, /\/etc\/mailapp: this account cannot write there: run init as root/);
          await using _first = await machine.serve("serve-out");
          const other = machine.folder.at("etc/other.toml");
          const text = await Deno.readTextFile(machine.folder.at("etc/config.toml"));
          await Deno.writeTextFile(other, text.replace(/^data_dir = .*$/m, 'data_dir = "/srv/other"'));
          const taken = await fails(["serve-out", "--config", "/srv/etc/other.toml"]);
          assert.equal(taken.code, 69, taken.said);
          assert.match(taken.said, /127\.0\.0\.1:25/);
          const key = machine.folder.at("etc/bad.pem");
          await Deno.writeTextFile(key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
          await Deno.writeTextFile(other, text.replace(/key = "[^"]*" }/, 'key = "/srv/etc/bad.pem" }'));
          const badKey = await fails(["check-config", "--config", "/srv/etc/other.toml"]);
          assert.equal(badKey.code, 78, badKey.said);
          assert.match(badKey.said, /dkim\."example\.test"\.key = "\/srv\/etc\/bad\.pem": /);
          await Deno.chmod(other, 0o600);
          const unreadable = await fails(["serve-in", "--config", "/srv/etc/other.toml"], {
            uid: ACCOUNT + 1,
          });
          assert.equal(unreadable.code, 77, unreadable.said);
          assert.match(unreadable.said, /other\.toml: this account may not read/);
        },
      );
    } finally {
      await runOk("ip", { args: ["netns", "del", netns] });
    }
  },
);

testWith(
  [...ROOT_PROGRAMS, ...HOST_PROGRAMS, "named"],
  "two bare machines exchange mail over IPv6, and over IPv4 where IPv6 is cut off",
  async () => {
    await using hosts = await makeHosts();
    const [to = "", from = ""] = [hosts.server.at(-1), hosts.client.at(-1)];
    await using _dns = await startBind(
      { "to.test": "@ MX 10 mx\nmx A 198.51.100.1\nmx AAAA 2001:db8:51::1" },
      { address: "198.51.100.2", port: 53, through: hosts.client },
    );
    const nameserver = "198.51.100.2";
    await using receiver = await makeMachine("receiver", { netns: to, domain: "to.test", nameserver });
    await using sender = await makeMachine("sender", { netns: from, domain: "from.test", nameserver });
    // The addresses of examples are not public ones; and what is cut off does not say so, it is silent.
    await sender.change((text) =>
      `${text}\n[serve-out]\nallow_private_targets = true\nretry = ["1s"]\n[serve-out.timeouts]\nconnect = "2s"\n`
    );
    await using serveIn = await receiver.serve("serve-in");
    await using serveOut = await sender.serve("serve-out");
    const send = async (subject: string) => {
      const message = `From: alice@from.test\nSubject: ${subject}\n\nHello.\n`;
      await sender.run(["sendmail", "-f", "alice@from.test", "bob@to.test"], { stdin: message });
      const text = await receiver.arrival("bob", subject);
      const [, address] = /^Received: from .*?\[(?:IPv6:)?([0-9a-f.:]+)\]/ms.exec(text) ?? [];
      return address;
    };
    assert.equal(await send("over IPv6"), "2001:db8:51::2", serveOut.lines.join("\n"));
    await runOk("ip", { args: ["-n", to, "-6", "address", "flush", "dev", hosts.device, "scope", "global"] });
    assert.equal(await send("over IPv4"), "198.51.100.2", serveOut.lines.join("\n"));
    for (const server of [serveIn, serveOut]) {
      await server.stop();
      assert.equal((await server.status).code, 0, server.lines.join("\n"));
    }
  },
);
