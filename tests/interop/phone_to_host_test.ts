// A message all the way, each host in a namespace of its own, with BIND between them: from a phone through serve-submit
// and serve-out to serve-in of another host; and the answer back into the Maildir, where Dovecot shows it.
import assert from "node:assert/strict";
import { makeNetwork } from "../support/bridged_hosts.ts";
import { HOST_PROGRAMS } from "../support/hosts.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { startBind } from "../support/peers/bind.ts";
import { startDovecot } from "../support/peers/dovecot.ts";
import { run, runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const DNS = "192.0.2.254";
const HERE = "192.0.2.1";
const THERE = "192.0.2.2";
const PHONE = "192.0.2.3";
const PASSWORD = "nine-green-kettles-41";
/** Dovecot refuses to read as root. */
const READER = 65534;

/** A host that `mailapp init` has configured, with mail for one domain and one person. */
class Host {
  constructor(readonly workspace: Workspace, readonly namespace: string) {}

  get through(): readonly string[] {
    return ["ip", "netns", "exec", this.namespace];
  }

  get certificate(): string {
    return this.workspace.file("data", "tls", "selfsigned.crt");
  }

  /** Runs a command, which must succeed; its standard output. */
  async type(args: readonly string[], stdin?: string): Promise<string> {
    const config = ["--config", this.workspace.file("config.toml")];
    const { code, stdout, stderr } = await runMailapp([...args, ...config], {
      through: this.through,
      ...(stdin !== undefined && { stdin }),
    });
    assert.equal(code, 0, `${args.join(" ")}\n${stdout}${stderr}`);
    return stdout;
  }

  /** `mailapp init` with more options. */
  async init(domain: string, user: string, ...more: readonly string[]): Promise<void> {
    const { workspace } = this;
    await this.type([
      ...["init", "--hostname", `mx.${domain}`, "--domain", domain, "--mailbox", user, "--postmaster", user],
      ...["--self-signed", "--yes", "--data-dir", workspace.file("data")],
      ...["--mail-path", workspace.file("mail", "{user}"), ...more],
    ]);
    // Not as on the Internet: where DNS is, that addresses are for documentation only, and that there is little room.
    const text = await Deno.readTextFile(workspace.file("config.toml"));
    const room = "min_free_space = 0";
    await Deno.writeTextFile(
      workspace.file("config.toml"),
      text.replace("[serve-in]", `[serve-in]\n${room}`) +
        `\n[serve-out]\nallow_private_targets = true\n${room}\n\n[dns]\nservers = ["${DNS}:53"]\n`,
    );
  }

  /** Starts a server, and waits until it serves. */
  async start(server: string): Promise<RunningMailapp> {
    const args = [server, "--config", this.workspace.file("config.toml")];
    const running = new RunningMailapp(args, { through: this.through });
    await running.event("server.ready");
    return running;
  }
}

/** Runs a program in a namespace, which must succeed. */
async function runIn(namespace: string, args: readonly string[], stdin?: string): Promise<void> {
  await runOk("ip", { args: ["netns", "exec", namespace, ...args], ...(stdin !== undefined && { stdin }) });
}

/** The next message that a serve-in delivers, with what the host says of it in Authentication-Results. */
async function delivered(serveIn: RunningMailapp, { after, host }: {
  readonly after: number;
  readonly host: string;
}): Promise<{ text: string; results: string }> {
  const { file } = await serveIn.event("message.delivered", { after });
  const text = await Deno.readTextFile(String(file));
  const [field = "", results = ""] = /^Authentication-Results: ([^]*?)\n(?![ \t])/m.exec(text) ?? [];
  assert.ok(results.startsWith(`${host};`), field || text);
  return { text, results };
}

/** Holds that spf, dkim and dmarc pass, each for this domain. */
function assertAllPass(results: string, domain: string): void {
  const name = domain.replaceAll(".", "\\.");
  assert.match(results, new RegExp(`\\bspf=pass\\b[^;]* smtp\\.mailfrom=(?:\\S+@)?${name}\\b`));
  assert.match(results, new RegExp(`\\bdkim=pass\\b[^;]* header\\.d=${name}\\b`));
  assert.match(results, new RegExp(`\\bdmarc=pass\\b[^;]* header\\.from=${name}\\b`));
}

testWith(
  [...HOST_PROGRAMS, "named", "msmtp", "swaks", "dovecot", "curl"],
  "from a phone to another host, where spf, dkim and dmarc pass; the answer comes back, and Dovecot shows it to the same login",
  async () => {
    await using stack = new AsyncDisposableStack();
    const network = stack.use(await makeNetwork(3));
    const [first = "", second = "", phone = ""] = network.hosts;
    const here = new Host(stack.use(await Workspace.create()), first);
    const there = new Host(stack.use(await Workspace.create()), second);
    await here.init("example.com", "alice", "--submission");
    await there.init("client.test", "bob");
    const zones = {
      "example.com": { whole: await here.type(["dns"]) },
      "client.test": { whole: await there.type(["dns"]) },
    };
    stack.use(
      await startBind(zones, { address: DNS, port: 53, through: ["ip", "netns", "exec", network.middle] }),
    );
    await here.type(["account", "add", "alice@example.com", "--password-stdin"], `${PASSWORD}\n`);
    const hereIn = stack.use(await here.start("serve-in"));
    for (const server of ["serve-out", "serve-submit"]) stack.use(await here.start(server));
    const thereIn = stack.use(await there.start("serve-in"));
    stack.use(await there.start("serve-out"));

    // From the phone.
    await runIn(phone, [
      ...["msmtp", "--file=/dev/null", `--host=${HERE}`, "--port=465", "--tls=on", "--tls-starttls=off"],
      ...["--tls-host-override=mx.example.com", `--tls-trust-file=${here.certificate}`, "--auth=plain"],
      ...["--user=alice@example.com", `--passwordeval=echo ${PASSWORD}`, "--from=alice@example.com"],
      ...["--", "bob@client.test"],
    ], "From: alice@example.com\nTo: bob@client.test\nSubject: from the phone\n\nHello\n");
    const arrived = await delivered(thereIn, { after: 0, host: "mx.client.test" });
    assert.match(arrived.text, /^Subject: from the phone$/m);
    assert.match(arrived.text, /^Received: by mx\.example\.com with ESMTPSA /m);
    assert.ok(!arrived.text.includes(PHONE), arrived.text);
    assertAllPass(arrived.results, "example.com");

    // The same without serve-submit: it is the host that they vouch for.
    await runIn(phone, [
      ...["swaks", "--server", THERE, "--from", "alice@example.com", "--to", "bob@client.test"],
      ...["--header", "Subject: forged"],
    ]);
    const forged = await delivered(thereIn, { after: 1, host: "mx.client.test" });
    assert.match(forged.text, /^Subject: forged$/m);
    assert.match(forged.results, /\bdmarc=fail\b/);
    assert.doesNotMatch(forged.results, /\b(?:spf|dkim)=pass\b/);

    // The answer.
    await runIn(second, [
      ...["swaks", "--server", "127.0.0.1", "--from", "bob@client.test", "--to", "alice@example.com"],
      ...["--header", "Subject: Re: from the phone"],
    ]);
    const answer = await delivered(hereIn, { after: 0, host: "mx.example.com" });
    assertAllPass(answer.results, "client.test");

    const mail = here.workspace.file("mail");
    await runOk("chown", { args: ["-R", `${READER}:${READER}`, mail] });
    await Deno.chmod(here.workspace.path, 0o755);
    const passwordFile = here.workspace.file("dovecot-users");
    await Deno.writeTextFile(passwordFile, await here.type(["account", "export", "dovecot"]));
    const maildir = here.workspace.file("mail", "alice");
    const dovecot = stack.use(
      await startDovecot({
        mailboxes: [{ user: "alice@example.com", maildir, uid: READER, gid: READER }],
        passwordFile,
        address: HERE,
        through: here.through,
      }),
    );
    const read = (password: string) =>
      run("ip", {
        args: [
          ...["netns", "exec", phone, "curl", "--silent", "--user", `alice@example.com:${password}`],
          `imap://${HERE}:${dovecot.port}/INBOX;MAILINDEX=1`,
        ],
      });
    const { code, stdout } = await read(PASSWORD);
    assert.equal(code, 0);
    assert.match(stdout, /^Subject: Re: from the phone\r$/m);
    assert.notEqual((await read("wrong")).code, 0);
  },
);
