// What serve-in, as an operator starts it, does with forged and with honest mail.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { ResourceRecord } from "../../dns/dns_packet.d.ts";
import { ed25519Key, signByTheBook } from "../support/dkim.ts";
import { Dialogue } from "../support/dialogue.ts";
import { FakeDns, type FakeDnsReply, soa } from "../support/fake_dns.ts";
import { type LoggedEvent, runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";

const key = ed25519Key();

/** A zone of TXT and A records. */
function zone(records: Readonly<Record<string, string>>): Record<string, FakeDnsReply> {
  return Object.fromEntries(
    Object.entries(records).map(([question, data]) => {
      const [name = "", type = ""] = question.split(" ");
      const answer: ResourceRecord = { name, type, ttl: 60, data: type === "TXT" ? [data] : data };
      return [question, { answers: [answer], authorities: [soa("test")] }];
    }),
  );
}

const ZONE = zone({
  "bank.test TXT": "v=spf1 ip4:127.0.0.1 -all",
  "_dmarc.bank.test TXT": "v=DMARC1; p=reject",
  "_dmarc.shop.test TXT": "v=DMARC1; p=quarantine",
  "s._domainkey.bank.test TXT": `v=DKIM1; ${key.record}`,
  "1.0.0.127.in-addr.arpa PTR": "client.test",
  "client.test A": "127.0.0.1",
});

/** What is in a configuration beside the usual. */
interface Settings {
  readonly checks?: Readonly<Record<string, unknown>>;
  readonly mailboxes?: Readonly<Record<string, unknown>>;
  /** More DNS servers. */
  readonly servers?: readonly string[];
}

/** serve-in with checks, on a DNS of the test's own. */
class Checked implements AsyncDisposable {
  private constructor(
    readonly workspace: Workspace,
    readonly dns: FakeDns,
    readonly server: RunningMailapp,
    readonly port: number,
    readonly config: string,
  ) {}

  static async start(
    { checks = {}, mailboxes = {}, records = {} }: Settings & { readonly records?: FakeDns["zone"] } = {},
  ): Promise<Checked> {
    const workspace = await Workspace.create();
    const dns = await FakeDns.start({ ...ZONE, ...records });
    const config = await Checked.#configure({ workspace, dns }, { checks, mailboxes });
    const server = new RunningMailapp(["serve-in", "--config", config]);
    const { port } = await server.event("listener.ready");
    await server.event("server.ready");
    return new Checked(workspace, dns, server, Number(port), config);
  }

  static #configure(
    { workspace, dns }: Pick<Checked, "workspace" | "dns">,
    { checks = {}, mailboxes = {}, servers = [] }: Settings,
  ): Promise<string> {
    return workspace.configure({
      dns: { servers: [dns.server, ...servers] },
      "serve-in.checks": { spf: true, dkim: true, arc: true, dmarc: "enforce", ...checks },
      mailboxes,
    });
  }

  /** Changes the configuration, and reloads it; what is said of it. */
  async reload(changed: Settings): Promise<LoggedEvent> {
    await Checked.#configure(this, changed);
    const after = this.server.events.filter(({ event }) => event === "config.reloaded").length;
    this.server.signal("SIGHUP");
    return await this.server.event("config.reloaded", { after });
  }

  /** Sends a message; the reply to its end. */
  async send(
    message: string,
    { from = "x@nowhere.test", to = ["alice@example.com"], helo = "client.test" }: {
      from?: string;
      to?: readonly string[];
      helo?: string;
    } = {},
  ): Promise<string> {
    using dialogue = await Dialogue.connect(this.port);
    await dialogue.hear();
    await dialogue.say(`EHLO ${helo}`);
    await dialogue.say(`MAIL FROM:<${from}>`);
    for (const recipient of to) assert.match(await dialogue.say(`RCPT TO:<${recipient}>`), /^250 /);
    const data = await dialogue.say("DATA");
    if (!data.startsWith("354")) return data;
    return await dialogue.say(`${message}.`);
  }

  /** The messages in a folder of a mailbox, with white space at the ends of lines gone. */
  async stored(folder = "new", user = "alice"): Promise<string[]> {
    const path = this.workspace.file("mail", "example.com", user, folder);
    try {
      const names = await Array.fromAsync(Deno.readDir(path), ({ name }) => name);
      return await Promise.all(
        names.sort().map(async (name) => {
          const text = Buffer.from(await Deno.readFile(`${path}/${name}`)).toString("latin1");
          assert.ok(name.endsWith(`,S=${text.length},W=${text.length + text.split("\n").length - 1}`), name);
          return text.replaceAll(/ +\n/g, "\n");
        }),
      );
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await this.dns[Symbol.asyncDispose]();
    await this.workspace[Symbol.asyncDispose]();
  }
}

const HONEST = signByTheBook({
  message: "From: info@bank.test\r\nTo: alice@example.com\r\nSubject: honest\r\n\r\nHello\r\n",
  key,
  tags: { a: "ed25519-sha256", d: "bank.test" },
});
const FORGED = "From: info@bank.test\r\nSubject: forged\r\n\r\nHello\r\n";
const JUNK = "From: info@shop.test\r\nSubject: junk\r\n\r\nHello\r\n";
/** More than is kept in memory. */
const LARGE = `${"x".repeat(76)}\r\n`.repeat(10_000);

Deno.test("serve-in marks honest mail, refuses forged mail and files what should be junk, small and large", async (t) => {
  await using checked = await Checked.start();

  await t.step("honest", async () => {
    assert.match(await checked.send(HONEST), /^250 2\.0\.0 /);
    const [text = "", ...more] = await checked.stored();
    assert.deepEqual(more, []);
    assert.match(
      text,
      new RegExp(
        "^Return-Path: <x@nowhere\\.test>\nDelivered-To: alice@example\\.com\n" +
          "Authentication-Results: mx\\.example\\.com;\n\tspf=none smtp\\.mailfrom=x@nowhere\\.test;\n" +
          "\tspf=none smtp\\.helo=client\\.test;\n\tdkim=pass header\\.d=bank\\.test[^]*;\n\tarc=none;\n" +
          "\tdmarc=pass \\(p=reject dis=none\\) header\\.from=bank\\.test;\n" +
          "\tiprev=pass \\(\\S+\\) policy\\.iprev=127\\.0\\.0\\.1\nReceived: from client\\.test ",
      ),
    );
    const accepted = await checked.server.event("message.accepted");
    assert.deepEqual([accepted["dmarc"], accepted["dkim"]], ["pass", ["pass bank.test"]]);
  });

  await t.step("forged", async () => {
    for (const message of [FORGED, FORGED + LARGE]) {
      assert.match(
        await checked.send(message),
        /^550 5\.7\.1 DMARC policy of bank\.test: neither SPF nor DKIM authenticates bank\.test: /,
      );
    }
    assert.equal((await checked.stored()).length, 1);
    assert.deepEqual([await checked.stored("tmp"), await checked.stored(".Junk/new")], [[], []]);
    const refused = await checked.server.event("message.refused");
    assert.deepEqual([refused["dmarc"], refused["level"]], ["fail", "info"]);
    // SPF would do, too.
    assert.match(await checked.send(FORGED, { from: "info@bank.test" }), /^250 /);
  });

  await t.step("junk", async () => {
    for (const message of [JUNK, JUNK + LARGE]) assert.match(await checked.send(message), /^250 /);
    const stored = await checked.stored(".Junk/new");
    assert.equal(stored.length, 2);
    for (const text of stored) {
      assert.match(text, /dmarc=fail \(p=quarantine dis=quarantine\)[^]*\nX-Spam-Flag: YES\n/);
    }
    assert.equal(
      await Deno.readTextFile(checked.workspace.file("mail/example.com/alice/subscriptions")),
      "V\t2\n\nJunk\n",
    );
  });

  await t.step("several recipients, and a large message that is honest", async () => {
    const message = signByTheBook({
      message: HONEST + LARGE,
      key,
      tags: { a: "ed25519-sha256", d: "bank.test" },
    });
    const before = (await checked.stored()).length;
    assert.match(await checked.send(message, { to: ["alice@example.com", "bob@example.com"] }), /^250 /);
    assert.match(await checked.send(message), /^250 /);
    const stored = await checked.stored();
    assert.equal(stored.length, before + 2);
    for (const text of [...stored.slice(-2), ...await checked.stored("new", "bob")]) {
      assert.match(text, /^Return-Path: [^]*\n\tdkim=pass header\.d=bank\.test[^]*\nReceived: /);
      assert.ok(text.endsWith(message.replaceAll(/ *\r\n/g, "\n")));
    }
  });

  await t.step("results that others made up in our name are gone", async () => {
    const claims = "Authentication-Results: mx.example.com; dmarc=pass\r\n" +
      "authentication-results: (x) MX.EXAMPLE.COM. 1; spf=pass\r\nX-Spam-Flag: NO\r\n" +
      "Authentication-Results: other.test; spf=pass\r\n";
    assert.match(
      await checked.send(`${claims}From: a@nowhere.test\r\nSubject: claims\r\n\r\nx\r\n`),
      /^250 /,
    );
    const text = (await checked.stored()).find((text) => text.includes("Subject: claims"));
    assert.deepEqual(
      [...text?.matchAll(/^Authentication-Results: (\S+);/gmi) ?? []].map(([, name]) => name),
      [
        "mx.example.com",
        "other.test",
      ],
    );
    assert.doesNotMatch(text ?? "", /X-Spam-Flag/);
  });
});

Deno.test("serve-in marks only, where it has no folder for junk and is not to enforce", async () => {
  await using checked = await Checked.start({ checks: { dmarc: "mark" }, mailboxes: { junk_folder: "" } });
  for (const message of [FORGED, JUNK]) assert.match(await checked.send(message), /^250 /);
  assert.equal((await checked.stored()).length, 2);
  await using marking = await Checked.start({ mailboxes: { junk_folder: "" } });
  assert.match(await marking.send(JUNK), /^250 /);
  const [text = ""] = await marking.stored();
  assert.match(text, /\nX-Spam-Flag: YES\n/);
});

Deno.test("mail of this machine's own programs passes SPF, also in check-message and explain", async () => {
  const records = zone({
    "example.com TXT": "v=spf1 -all",
    "_dmarc.example.com TXT": "v=DMARC1; p=reject",
  });
  await using checked = await Checked.start({ records });
  const from = "alice@example.com";
  const message = `From: ${from}\r\nSubject: own\r\n\r\nHello\r\n`;
  assert.match(await checked.send(message, { from }), /^550 5\.7\.1 /);
  assert.match(await checked.send(message, { from, helo: "mx.example.com" }), /^250 /);
  const [text = ""] = await checked.stored();
  assert.match(text, /spf=pass smtp\.mailfrom=alice@example\.com/);

  const inbox = checked.workspace.file("mail", "example.com", "alice", "new");
  const [file = ""] = await Array.fromAsync(Deno.readDir(inbox), ({ name }) => name);
  const mailapp = async (...args: readonly string[]) => {
    const { stdout } = await runMailapp([...args, "--json", "--config", checked.config]);
    return JSON.parse(stdout);
  };
  const path = `${inbox}/${file}`;
  const { outcome, spf, dmarc } = await mailapp("check-message", path);
  assert.deepEqual({ outcome, spf, dmarc }, { outcome: "inbox", spf: "pass", dmarc: "pass" });
  const asProgram = ["explain", from, "--from", from, "--ip", "127.0.0.1", "--helo"];
  assert.equal((await mailapp(...asProgram, "mx.example.com")).spf.result, "pass");
  for (
    const [why, foreign] of [
      ["another name", ["--helo", "client.test"]],
      ["another machine", ["--ip", "192.0.2.1"]],
      ["another domain", ["--from", "info@bank.test", "--ip", "127.0.0.9"]],
    ] as const
  ) assert.equal((await mailapp("check-message", path, ...foreign)).spf, "fail", why);
});

Deno.test("serve-in accepts and marks mail when DNS does not answer in time", async () => {
  await using checked = await Checked.start({
    checks: { timeout: "1s" },
    records: { "_dmarc.bank.test TXT": "silent", "s._domainkey.bank.test TXT": "silent" },
  });
  assert.match(await checked.send(FORGED), /^250 /);
  const [text = ""] = await checked.stored();
  assert.match(text, /dmarc=temperror/);
});

Deno.test("serve-in greets and answers EHLO without a question to DNS, which may hang", async () => {
  await using checked = await Checked.start({ checks: { greylist: "all" } });
  const { dns, port } = checked;
  for (const question of Object.keys(dns.zone)) dns.zone[question] = "silent";
  dns.zone["1.0.0.127.in-addr.arpa PTR"] = "silent";
  const before = dns.asked.length;
  using dialogue = await Dialogue.connect(port);
  assert.match(await dialogue.hear(), /^220 /);
  assert.match(await dialogue.say("EHLO client.test"), /^250/);
  assert.equal(dns.asked.length, before);
});

Deno.test("serve-in refuses by a DNS list before the data, and asks strangers to come again", async () => {
  const listed = zone({
    "2.0.0.127.bad.test A": "127.0.0.2",
    "1.0.0.127.bad.test A": "127.0.0.1",
    "2.0.0.127.fine.test A": "127.0.0.2",
  });
  await using checked = await Checked.start({
    checks: {
      greylist: "all",
      dns_lists: [{ zone: "bad.test", action: "refuse" }, { zone: "fine.test", action: "refuse" }],
    },
    records: listed,
  });
  // The first one lists this very client, and with it the world.
  const ignored = await checked.server.event("dns_list.ignored");
  assert.equal(ignored["zone"], "bad.test");
  assert.match(await checked.send(HONEST), /^451 4\.7\.1 Greylisted/);
  assert.equal(await checked.server.stop(), 0);
  const list = await Deno.readTextFile(checked.workspace.file("state", "incoming", "greylist"));
  assert.match(list, /127\.0\.0\.0\/24 nowhere\.test\n/);
});

Deno.test("a reload brings other checks to a running serve-in, and says what takes a restart", async () => {
  await using checked = await Checked.start({ records: zone({ "2.0.0.127.fine.test A": "127.0.0.2" }) });
  const reload = async (changed: Settings) => (await checked.reload(changed))["needs_restart"];
  assert.match(await checked.send(FORGED), /^550 5\.7\.1 /);
  assert.deepEqual(await reload({ checks: { dmarc: "mark" } }), []);
  assert.match(await checked.send(FORGED), /^250 2\.0\.0 /);

  const lists = { dns_lists: [{ zone: "fine.test", action: "refuse" }] };
  assert.deepEqual(await reload({ checks: { ...lists, greylist: "all" } }), []);
  assert.match(await checked.send(HONEST), /^451 4\.7\.1 Greylisted/);
  assert.deepEqual(await reload({ checks: lists }), []);
  assert.match(await checked.send(HONEST), /^250 2\.0\.0 /);

  const off = { spf: false, dkim: false, arc: false, dmarc: "off" };
  assert.deepEqual(await reload({ checks: off }), []);
  const asked = checked.dns.asked.length;
  assert.match(await checked.send(FORGED), /^250 2\.0\.0 /);
  assert.equal(checked.dns.asked.length, asked);
  assert.deepEqual(await reload({}), []);
  assert.match(await checked.send(FORGED), /^550 5\.7\.1 /);

  assert.deepEqual(
    await reload({ checks: { dmarc: "mark", filter: "milter:127.0.0.1:9" }, servers: ["127.0.0.9:53"] }),
    [
      "dns",
      "serve-in.checks.filter",
    ],
  );
  const { settings, needs, action } = await checked.server.event("config.needs_restart");
  assert.deepEqual(settings, ["dns", "serve-in.checks.filter"]);
  assert.deepEqual(needs, ["127.0.0.9:53", "127.0.0.1:9"]);
  assert.equal(action, "systemctl restart mailapp-in");
  // The rest of the same file holds.
  assert.match(await checked.send(FORGED), /^250 2\.0\.0 /);
  assert.equal(await checked.server.stop(), 0);
});
