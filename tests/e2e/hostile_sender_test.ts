// A sender who owns his mail and his DNS, and wants serve-in to wait, to swell, or to hold up others.
import assert from "node:assert/strict";
import type { ResourceRecord } from "../../dns/dns_packet.d.ts";
import { ed25519Key, signByTheBook } from "../support/dkim.ts";
import { Dialogue } from "../support/dialogue.ts";
import { FakeDns, type FakeDnsReply } from "../support/fake_dns.ts";
import { RunningMailapp, Workspace } from "../support/mailapp.ts";
import { until } from "../support/until.ts";

const key = ed25519Key();

const answer = (name: string, type: string, data: unknown): FakeDnsReply => ({
  answers: [{ name, type, ttl: 60, data } as ResourceRecord],
});
/** An answer that nearly fills a message of DNS, and comes over TCP. */
const huge = (name: string, text: string): FakeDnsReply => ({
  ...answer(name, "TXT", [text, ...Array.from({ length: 250 }, () => " x=y;".repeat(51))]),
  truncated: true,
});

const ZONE: Record<string, FakeDnsReply | "silent"> = {
  "honest.test TXT": answer("honest.test", "TXT", ["v=spf1 ip4:127.0.0.1 -all"]),
  "s._domainkey.honest.test TXT": answer("s._domainkey.honest.test", "TXT", [key.record]),
  // Records that lead to themselves.
  "itself.test TXT": answer("itself.test", "TXT", ["v=spf1 include:itself.test -all"]),
  "s._domainkey.loop.test TXT": {
    answers: [["s", "t"], ["t", "s"]].map(([from, to]) =>
      ({
        name: `${from}._domainkey.loop.test`,
        type: "CNAME",
        ttl: 60,
        data: `${to}._domainkey.loop.test`,
      }) as ResourceRecord
    ),
  },
  "huge.test TXT": huge("huge.test", "v=spf1 "),
  "s._domainkey.huge.test TXT": huge("s._domainkey.huge.test", `${key.record};`),
  "_dmarc.huge.test TXT": huge("_dmarc.huge.test", "v=DMARC1; p=reject;"),
  // No answer to any question.
  ...Object.fromEntries(
    ["silent.test TXT", "s._domainkey.silent.test TXT", "_dmarc.silent.test TXT", "silent.test A"].map((
      question,
    ) => [question, "silent" as const]),
  ),
};

function signedBy(domain: string, header = ""): string {
  return signByTheBook({
    message: `${header}From: a@${domain}\r\nSubject: x\r\n\r\nHello\r\n`,
    key,
    tags: { a: "ed25519-sha256", d: domain },
  });
}

interface Hostile {
  readonly what: string;
  readonly domain: string;
  readonly message: string;
  readonly reply: RegExp;
  /** What the message says of itself where it is taken. */
  readonly results: readonly RegExp[];
}

const forged = "DKIM-Signature: v=1; a=ed25519-sha256; d=evil.test; s=s; h=from; bh=AAAA; b=AAAA\r\n";
const KINDS: readonly Hostile[] = [
  {
    what: "1,000 signatures",
    domain: "evil.test",
    message: signedBy("evil.test", forged.repeat(1000)),
    reply: /^250 /,
    results: [/\bdkim=(?:permerror|policy|neutral)\b/],
  },
  {
    what: "10 MB of header fields",
    domain: "evil.test",
    message: signedBy("evil.test", `X: ${"y".repeat(995)}\r\n`.repeat(10_000)),
    reply: /^552 5\.3\.4 /,
    results: [],
  },
  {
    what: "SPF that includes itself",
    domain: "itself.test",
    message: signedBy("itself.test"),
    reply: /^250 /,
    results: [/\bspf=permerror\b/],
  },
  {
    what: "a key that leads to itself",
    domain: "loop.test",
    message: signedBy("loop.test"),
    reply: /^250 /,
    results: [/\bdkim=(?:temp|perm)error\b/],
  },
  {
    what: "answers of 64 KB",
    domain: "huge.test",
    message: signedBy("huge.test"),
    reply: /^(?:250|550) /,
    results: [/\bspf=permerror\b/, /\bdkim=permerror\b/],
  },
];

/** A client after RCPT. */
async function client(port: number, domain: string): Promise<Dialogue> {
  const dialogue = await Dialogue.connect(port);
  await dialogue.hear();
  await dialogue.say("EHLO client.test");
  await dialogue.say(`MAIL FROM:<a@${domain}>`);
  assert.match(await dialogue.say("RCPT TO:<alice@example.com>"), /^250 /);
  assert.match(await dialogue.say("DATA"), /^354 /);
  return dialogue;
}

function residentOctets(pid: number): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`)) ?? [];
  return Number(kib) * 1024;
}

async function send(port: number, domain: string, message: string): Promise<string> {
  using dialogue = await client(port, domain);
  return await dialogue.say(`${message}.`);
}

Deno.test("a hostile sender, or his DNS, costs serve-in a bounded time and memory, and others nothing", async (t) => {
  await using workspace = await Workspace.create();
  await using dns = await FakeDns.start(ZONE);
  const config = await workspace.configure({
    dns: { servers: [dns.server] },
    "serve-in.checks": { spf: true, dkim: true, arc: true, dmarc: "enforce", timeout: "10s" },
  });
  await using server = new RunningMailapp(["serve-in", "--config", config]);
  const port = Number((await server.event("listener.ready"))["port"]);
  assert.match(await send(port, "honest.test", signedBy("honest.test")), /^250 /);
  const octetsBefore = residentOctets(server.pid);

  for (const { what, domain, message, reply, results } of KINDS) {
    await t.step(what, async () => {
      const asked = dns.asked.length;
      const before = new Set(await workspace.stored("alice"));
      assert.match(await send(port, domain, message), reply);
      assert.ok(dns.asked.length - asked < 100, `${dns.asked.length - asked} questions`);
      const [name] = (await workspace.stored("alice")).filter((name) => !before.has(name));
      if (name === undefined) return;
      const text = await Deno.readTextFile(workspace.file("mail", "example.com", "alice", "new", name));
      for (const result of results) assert.match(text, result);
    });
  }

  await t.step(
    "DNS that never answers: 4xx or accepted, and an honest client is not kept waiting",
    async () => {
      let replies = 0;
      const waiting = Array.from({ length: 8 }, async () => {
        const reply = await send(port, "silent.test", signedBy("silent.test"));
        replies++;
        return reply;
      });
      await until(
        () => dns.asked.some(({ name }) => name === "s._domainkey.silent.test"),
        "the question for the key",
        () => new Promise((resolve) => setTimeout(resolve, 10)),
      );
      assert.match(await send(port, "honest.test", signedBy("honest.test")), /^250 /);
      assert.equal(replies, 0, "nobody has got a reply who waits for DNS");
      for (const reply of await Promise.all(waiting)) assert.match(reply, /^(?:250|4\d\d) /);
    },
  );

  const grown = residentOctets(server.pid) - octetsBefore;
  assert.ok(grown < 150 * 1024 ** 2, `${grown} octets more memory`);
  assert.equal(await server.stop(), 0);
});
