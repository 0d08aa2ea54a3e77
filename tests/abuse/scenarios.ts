/**
 * Attacks and what must hold under them. Each scenario throws where it does not, and says what was measured.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Dialogue } from "../support/dialogue.ts";
import { THREADS } from "../support/mailapp.ts";
import { FakeDns, type FakeDnsReply } from "../support/fake_dns.ts";
import { Buffer } from "node:buffer";
import { type Attack, drip, flood, neverRead, stayIdle, talkRubbish } from "./attacks.ts";
import { type Latency, Victim, WARM_UP } from "./victim.ts";

/** Says what was measured. */
export type Report = (line: string) => void;

const MIB = 1024 ** 2;
/** What 1,000 idle connections may take, all in all. */
const MAX_IDLE_MEMORY = 150e6;
/** What each of several threads may take besides: its heap, and the code that it has compiled. */
const THREAD_MEMORY = 40e6;

/** A bound for one thread, with what several take. */
function withHeaps(octets: number, threads: number = THREADS): number {
  return octets + (threads === 1 ? 0 : threads * THREAD_MEMORY);
}

/** What a server that is kept busy by attackers may take: V8 lets some garbage lie, but does not go on growing. */
const MAX_BUSY_MEMORY = 400 * MIB;
/** What one large message may add, whatever its size and the number of its recipients. */
const MAX_MESSAGE_MEMORY = 32 * MIB;
/** Far above what is measured, and far below what a sender gives up at: machines differ. */
const MAX_LATENCY = 10_000;

const mib = (octets: number) => `${(octets / MIB).toFixed(1)} MiB`;
const milliseconds = (ms: number) => `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;

function describe({ messages, p50, p99 }: Latency): string {
  return `${messages} messages of an honest client: p50 ${milliseconds(p50)}, p99 ${milliseconds(p99)}`;
}

/** An honest client is served, in time, and its messages are stored. */
async function serve(victim: Victim, { messages, report, during }: {
  readonly messages: number;
  readonly report: Report;
  readonly during: string;
}): Promise<void> {
  const before = (await victim.stored("alice")).length;
  const latency = await victim.serveHonestClient(messages);
  report(`${during}: ${describe(latency)}`);
  assert.ok(latency.p99 < MAX_LATENCY, `p99 ${latency.p99} ms`);
  assert.equal((await victim.stored("alice")).length - before, messages, "each 250 is a stored message");
}

/** 1,000 idle connections take little, and 2,000 lock out no other client. */
export async function idleConnections(
  { messages, threads = THREADS, report }: {
    readonly messages: number;
    /** Of serve-in. */
    readonly threads?: number;
    readonly report: Report;
  },
): Promise<void> {
  await using victim = await Victim.start({ settings: { threads } });
  const most = withHeaps(MAX_IDLE_MEMORY, threads);
  await serve(victim, { messages, report, during: "with no attack" });
  const { now: before } = victim.memory();
  await using _first = await stayIdle({ port: victim.port, connections: 1000 });
  const { now: at1000 } = victim.memory();
  report(`resident memory: ${mib(before)} before, ${mib(at1000)} at 1,000 idle connections`);
  assert.ok(at1000 < most, `${mib(at1000)} at 1,000 idle connections`);
  await using _second = await stayIdle({ port: victim.port, connections: 1000 });
  report(`resident memory: ${mib(victim.memory().now)} at 2,000 idle connections`);
  await serve(victim, { messages, report, during: "2,000 idle connections" });
}

/** The same over TLS, where a connection costs more. */
export async function idleTlsConnections({ connections, report }: {
  readonly connections: number;
  readonly report: Report;
}): Promise<void> {
  await using victim = await Victim.start();
  const { now: before } = victim.memory();
  const authority = await victim.certificate();
  const conns: Deno.TlsConn[] = [];
  try {
    while (conns.length < connections) {
      const tcp = await Deno.connect({ hostname: "127.0.0.1", port: victim.tlsPort });
      const conn = await Deno.startTls(tcp, { hostname: "mx.example.com", caCerts: [authority] });
      conns.push(conn);
      await conn.read(new Uint8Array(512));
    }
    report(
      `resident memory: ${mib(before)} before, ${
        mib(victim.memory().now)
      } at ${connections} idle connections over TLS`,
    );
  } finally {
    for (const conn of conns) conn.close();
  }
}

/** New connections by the hundred each second. */
export async function floods(
  { perSecond, seconds, messages, report }: {
    readonly perSecond: number;
    readonly seconds: number;
    readonly messages: number;
    readonly report: Report;
  },
): Promise<void> {
  await using victim = await Victim.start();
  const { now: before } = victim.memory();
  const flooding = flood({ port: victim.port, perSecond, seconds });
  await serve(victim, { messages, report, during: `${perSecond} connections a second` });
  const { connections, greeted, refused } = await flooding;
  report(
    `${connections} connections in ${seconds} s, ${greeted} greeted, ${refused} refused; ` +
      `resident memory ${mib(before)} before, ${mib(victim.memory().now)} after`,
  );
  // A third goes away at once; no other client is kept out.
  assert.equal(greeted, connections - Math.ceil(connections / 3));
  // Nothing of it is left.
  assert.equal(await victim.stop(), 0);
  assert.equal(victim.count("session.closed"), connections + messages + WARM_UP);
}

/** Slow clients in each phase, clients that never read, and a storm of bad commands, all at once. */
export async function slowAndRude(
  { connections, messages, handshakes, report }: {
    /** Of each kind. */
    readonly connections: number;
    readonly messages: number;
    /** Whether to wait until the handshakes are given up, half a minute. */
    readonly handshakes: boolean;
    readonly report: Report;
  },
): Promise<void> {
  // Short, so that no test waits for five minutes; the deadlines are derived from it.
  const idleTimeout = 5000;
  // Each makes the server talk until the system's buffers are full, which is megabytes.
  const deafConnections = Math.ceil(connections / 5);
  await using victim = await Victim.start({ settings: { idle_timeout: "5s" } });
  const { port, tlsPort } = victim;
  const { now: before } = victim.memory();
  const preamble = [
    "EHLO slow.test\r\n",
    "MAIL FROM:<slow@slow.test>\r\n",
    "RCPT TO:<alice@example.com>\r\n",
    "DATA\r\n",
  ];
  await using inCommands = await drip({ port, connections, text: "NOOP ", interval: 200 });
  await using inData = await drip({ port, connections, preamble, text: "Subject: slow\r\n", interval: 200 });
  await using inHandshake = await drip({
    port: tlsPort,
    connections,
    // A ClientHello that announces 16 KiB and does not come to its end.
    text: "\x16\x03\x01\x3f\xff\x01\0\x3f\xfb\x03\x03" + "r".repeat(16_000),
    interval: 200,
  });
  await using deaf = await neverRead({ port, connections: deafConnections });
  await using rude = await talkRubbish({ port, connections, seconds: 2 });
  await serve(victim, {
    messages,
    report,
    during: `${4 * connections + deafConnections} slow, deaf and rude clients`,
  });

  await Promise.all([inCommands.over, inData.over, deaf.over, rude.over]);
  const told = (attack: Attack, pattern: RegExp) =>
    attack.endings.filter(({ lastReply }) => pattern.test(lastReply)).length;
  const latest = (attack: Attack) => Math.max(...attack.endings.map(({ after }) => after));
  report(
    `slow commands ended within ${milliseconds(latest(inCommands))}, slow data within ${
      milliseconds(latest(inData))
    }, clients that never read within ${milliseconds(latest(deaf))} (idle_timeout 5 s)`,
  );
  assert.equal(told(inCommands, /^421 4\.4\.2 /), connections);
  assert.equal(told(inData, /^421 4\.4\.2 /), connections);
  // Ended by the deadline and not by chance; how late a busy machine notices is its own affair.
  for (const slow of [inCommands, inData]) {
    for (const { after } of slow.endings) assert.ok(after >= idleTimeout - 50, `ended after ${after} ms`);
  }
  assert.equal(told(rude, /^(?:421 4\.7\.0 Too many errors|$)/), connections);
  const rudeVisits = victim.count("session.closed", { reason: "too many errors" });
  report(`${rudeVisits} visits with bad commands were ended`);
  assert.ok(rudeVisits >= connections);
  const { now, peak } = victim.memory();
  report(`resident memory ${mib(before)} before, ${mib(now)} after, ${mib(peak)} at most`);
  assert.ok(peak < withHeaps(MAX_BUSY_MEMORY), `${mib(peak)} at most`);
  if (handshakes) {
    await inHandshake.over;
    report(`slow handshakes ended within ${milliseconds(latest(inHandshake))} (30 s)`);
    const last = await victim.event("tls.failed", { after: connections - 1 });
    assert.match(String(last["error"]), /^DeadlineError/);
  } else {
    assert.equal(inHandshake.endings.length, 0);
  }
  assert.equal((await victim.stored("alice")).length, messages + WARM_UP, "nothing of slow data is stored");
}

/** A message of 50 MiB to 100 recipients, each with a mailbox. */
export async function largeMessage(
  { mailboxes, report }: { readonly mailboxes: number; readonly report: Report },
): Promise<void> {
  const users = Array.from({ length: mailboxes }, (_, index) => `user${index}`);
  await using victim = await Victim.start({ users });
  const octets = 50 * MIB - 1024;
  const send = async (size: number): Promise<string> => {
    using dialogue = await Dialogue.connect(victim.port);
    await dialogue.hear();
    await dialogue.say("EHLO large.test");
    await dialogue.say("MAIL FROM:<a@large.test>");
    for (let index = 0; index < 100; index++) {
      const reply = await dialogue.say(`RCPT TO:<${users[index % mailboxes]}+${index}@example.com>`);
      assert.match(reply, /^250 /);
    }
    assert.match(await dialogue.say("DATA"), /^354 /);
    const line = `${"x".repeat(76)}\r\n`;
    const block = line.repeat(8192);
    await dialogue.send("Subject: large\r\n\r\n");
    let left = size;
    for (; left > block.length; left -= block.length) await dialogue.send(block);
    await dialogue.send(line.repeat(Math.floor(left / line.length)));
    return await dialogue.say(".");
  };
  // Once in small, so that code and caches are there.
  assert.match(await send(100_000), /^250 /);
  const { now: before } = victim.memory();
  victim.forgetPeak();
  const startedAt = performance.now();
  assert.match(await send(octets), /^250 /);
  const seconds = (performance.now() - startedAt) / 1000;
  const { peak } = victim.memory();
  report(
    `50 MiB to 100 recipients in ${mailboxes} mailboxes: ${seconds.toFixed(1)} s, resident memory ${
      mib(before)
    } before, ` +
      `${mib(peak)} at most: ${mib(peak - before)} more`,
  );
  for (const user of users.slice(1)) assert.equal((await victim.stored(user)).length, 2);
  assert.ok(peak - before < MAX_MESSAGE_MEMORY, `resident memory rose by ${mib(peak - before)}`);
}

/** What the DNS servers of hostile senders say: nothing, no end of it, or 60 KB at once. */
function hostileZone(question: string): FakeDnsReply | "silent" {
  const text = (...strings: string[]): FakeDnsReply => ({
    answers: [{
      name: question.split(" ")[0] ?? "",
      type: "TXT",
      ttl: 1,
      data: strings.map((part) => Buffer.from(part)),
    }],
  });
  if (/silent\.test /.test(question)) return "silent";
  if (/^\d+\.loop\.test TXT$/.test(question)) return text("v=spf1 include:%{d} -all");
  if (/^\d+\.large\.test TXT$/.test(question)) {
    return { ...text("v=spf1 ", ...Array(230).fill("exists:%{s}.test ".repeat(15))), truncated: true };
  }
  return question === "honest.test TXT" ? text("v=spf1 ip4:127.0.0.1 -all") : { rcode: 3 };
}

/** Senders that make the checks of their mail as dear as they can, while others are served. */
export async function hostileSenders(
  { connections, seconds, messages, report }: {
    readonly connections: number;
    readonly seconds: number;
    readonly messages: number;
    readonly report: Report;
  },
): Promise<void> {
  await using dns = await FakeDns.start(
    new Proxy<FakeDns["zone"]>({}, { get: (_, question) => hostileZone(String(question)) }),
  );
  await using victim = await Victim.start({
    users: ["alice", "bob"],
    tables: {
      dns: { servers: [dns.server] },
      "serve-in.checks": { spf: true, dkim: true, arc: true, dmarc: "enforce", timeout: "2s" },
    },
  });
  const { now: before } = victim.memory();
  await serve(victim, { messages, report, during: "checks on, no attack" });
  const until = performance.now() + seconds * 1000;
  const waits: number[] = [];
  const outcomes = new Map<string, number>();
  let number = 0;
  const attackers = Array.from({ length: connections }, async (_, attacker) => {
    while (performance.now() < until) {
      const domain = `${++number}.${["silent", "loop", "large"][attacker % 3]}.test`;
      const startedAt = performance.now();
      const reply = await sendHostile(victim.port, domain);
      waits.push(performance.now() - startedAt);
      outcomes.set(reply.slice(0, 3), (outcomes.get(reply.slice(0, 3)) ?? 0) + 1);
    }
  });
  await serve(victim, { messages, report, during: `${connections} senders of hostile domains` });
  await Promise.all(attackers);
  const { now, peak } = victim.memory();
  report(
    `${waits.length} hostile messages, ${
      [...outcomes].map(([code, count]) => `${count} × ${code}`).join(", ")
    }; ` +
      `the longest took ${milliseconds(Math.max(...waits))} (timeout 2 s); ` +
      `resident memory ${mib(before)} before, ${mib(now)} after, ${mib(peak)} at most`,
  );
  assert.deepEqual([...outcomes.keys()].filter((code) => !/^[245]\d\d$/.test(code)), []);
  assert.ok(peak < withHeaps(MAX_BUSY_MEMORY), `${mib(peak)} at most`);
}

/** A message with 200 signatures, each with a key elsewhere; the reply after its data. */
async function sendHostile(port: number, domain: string): Promise<string> {
  using dialogue = await Dialogue.connect(port);
  await dialogue.hear();
  await dialogue.say(`EHLO helo.${domain}`);
  await dialogue.say(`MAIL FROM:<${"a.b-".repeat(12)}@${domain}>`);
  await dialogue.say("RCPT TO:<bob@example.com>");
  const reply = await dialogue.say("DATA");
  if (!reply.startsWith("354")) return reply;
  const signatures = Array.from(
    { length: 200 },
    (_, i) =>
      `DKIM-Signature: v=1; a=rsa-sha256; d=d${i}.${domain}; s=s; c=relaxed/simple; h=From; bh=${
        "A".repeat(43)
      }=;\r\n b=AAAA\r\n`,
  );
  return await dialogue.say(`${signatures.join("")}From: <a@author.${domain}>\r\n\r\nx\r\n.`);
}
