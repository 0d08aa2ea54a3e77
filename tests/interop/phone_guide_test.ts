// docs/guide/phone-and-laptop.md, typed on a machine that mailapp init has just configured, in its own namespace. From
// another machine two people write to each other with the passwords that they were given, and read by Dovecot.
import assert from "node:assert/strict";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { HOST_PROGRAMS, type Hosts, makeHosts } from "../support/hosts.ts";
import { startDovecot } from "../support/peers/dovecot.ts";
import { type Finished, run } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const GUIDE = new URL("../../docs/guide/phone-and-laptop.md", import.meta.url);
/** serve-in's Maildirs are Dovecot's to read, which refuses root. */
const READER = 65534;

/** The commands of mailapp in the shell blocks of the guide, in order. */
async function guideCommands(): Promise<string[][]> {
  const text = await Deno.readTextFile(GUIDE);
  return [...text.matchAll(/^```sh\n([^]*?)^```$/gm)].flatMap(([, block = ""]) =>
    block.trim().split("\n").map((line) => line.split(" ").slice(1))
  );
}

class Machine {
  constructor(readonly workspace: Workspace, readonly hosts: Hosts) {}

  get config(): string {
    return this.workspace.file("config.toml");
  }

  /** Runs a command as the guide has it. */
  async type(...args: readonly string[]): Promise<Finished> {
    const env = { MAILAPP_CONFIG: this.config };
    const finished = await runMailapp(args, { through: this.hosts.server, env });
    return { ...finished, stdoutBytes: new Uint8Array() };
  }

  async start(server: string): Promise<RunningMailapp> {
    const env = { MAILAPP_CONFIG: this.config };
    const running = new RunningMailapp([server], { through: this.hosts.server, env });
    await running.event("server.ready");
    return running;
  }

  /** Sends from the phone. */
  async phone(from: string, { to, password, port }: {
    readonly to: string;
    readonly password: string;
    readonly port: number;
  }): Promise<void> {
    const [program = "", ...rest] = [
      ...this.hosts.client,
      ...["msmtp", "--file=/dev/null", "--host=198.51.100.1", `--port=${port}`, "--tls=on"],
      ...[`--tls-starttls=${port === 587 ? "on" : "off"}`, "--tls-host-override=mx.example.com"],
      `--tls-trust-file=${this.workspace.file("data", "tls", "selfsigned.crt")}`,
      ...[`--from=${from}`, "--auth=plain", `--user=${from}`, `--passwordeval=echo ${password}`, "--", to],
    ];
    const { code, stderr } = await run(program, {
      args: rest,
      stdin: `From: ${from}\nTo: ${to}\nSubject: from ${port}\n\nHello\n`,
      env: { HOME: this.workspace.path },
    });
    assert.equal(code, 0, stderr);
  }
}

const MADE = /\b(?:[a-km-zA-HJ-NP-Z2-9]{5}-){3}[a-km-zA-HJ-NP-Z2-9]{5}\b/;

testWith(
  [...HOST_PROGRAMS, "msmtp", "dovecot", "curl"],
  "docs/guide/phone-and-laptop.md, from nothing to sent and read mail",
  async () => {
    await using workspace = await Workspace.create();
    await using hosts = await makeHosts();
    const machine = new Machine(workspace, hosts);
    const typed = async (...args: readonly string[]) => {
      const { code, stdout, stderr } = await machine.type(...args);
      assert.equal(code, 0, `${args.join(" ")}\n${stdout}${stderr}`);
      return stdout;
    };
    await typed(
      ...["init", "--hostname", "mx.example.com", "--domain", "example.com", "--mailbox", "alice", "bob"],
      ...["--submission", "--yes", "--self-signed", "--data-dir", workspace.file("data")],
      ...["--mail-path", workspace.file("mail", "{user}")],
    );
    // No DNS in these namespaces; a test machine has little room.
    const text = await Deno.readTextFile(machine.config);
    await Deno.writeTextFile(
      machine.config,
      text.replace(
        "[serve-in]",
        '[serve-in]\nchecks = { spf = false, dkim = false, arc = false, dmarc = "off" }\nmin_free_space = 0',
      )
        .replace("[serve-out.routes]", "[serve-out]\nmin_free_space = 0\n[serve-out.routes]"),
    );
    const servers = new Map<string, RunningMailapp>();
    await using running = new AsyncDisposableStack();
    for (const name of ["serve-in", "serve-out", "serve-submit"]) {
      servers.set(name, running.use(await machine.start(name)));
    }
    const passwords: string[] = [];
    let users = "";
    for (const args of await guideCommands()) {
      // It looks at the Internet, of which there is none here.
      if (args[0] === "doctor") continue;
      const said = await typed(...args);
      passwords.push(...MADE.exec(said)?.slice(0, 1) ?? []);
      if (args.includes("export")) users = said;
      if (args.includes("show")) assert.match(said, /mx\.example\.com, port 465, TLS/);
    }
    assert.equal(passwords.length, 2);
    const [main = "", phone = ""] = passwords;
    const bob = MADE.exec(await typed("account", "add", "bob@example.com"))?.[0] ?? "";

    await machine.phone("alice@example.com", { to: "bob@example.com", password: phone, port: 465 });
    const serveIn = servers.get("serve-in");
    await serveIn?.event("message.delivered", { where: { mailbox: "bob@example.com" } });
    await machine.phone("bob@example.com", { to: "alice@example.com", password: bob, port: 587 });
    await serveIn?.event("message.delivered", { where: { mailbox: "alice@example.com" } });

    // Dovecot as nobody.
    const maildir = workspace.file("mail", "alice");
    await run("chown", { args: ["-R", `${READER}:${READER}`, workspace.file("mail")] });
    await Deno.chmod(workspace.path, 0o755);
    const passwordFile = workspace.file("dovecot-users");
    await Deno.writeTextFile(passwordFile, users);
    await using dovecot = await startDovecot({
      mailboxes: [{ user: "alice@example.com", maildir, uid: READER, gid: READER }],
      passwordFile,
    });
    const read = async (password: string) =>
      await run("curl", {
        args: [
          ...["--silent", "--user", `alice@example.com:${password}`],
          `imap://127.0.0.1:${dovecot.port}/INBOX;MAILINDEX=1`,
        ],
      });
    const { code, stdout } = await read(main);
    assert.equal(code, 0);
    assert.match(stdout, /Subject: from 587\r\n/);
    assert.match(stdout, /From: bob@example\.com\r\n/);
    assert.match(stdout, /^Received: by mx\.example\.com with ESMTPSA /m);
    assert.doesNotMatch(stdout, /198\.51\.100\.2/);
    assert.notEqual((await read("wrong")).code, 0);
  },
);
