import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { systemClock } from "../base/clock.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { FakeDns, type FakeDnsReply, soa } from "../tests/support/fake_dns.ts";
import { DnsResolver } from "./resolver.ts";
import { until } from "../tests/support/until.ts";
import { brief, cname, undated } from "../tests/support/dns_records.ts";

/** What servers without EDNS, or with a broken one, say to a question with EDNS. */
const WITHOUT_EDNS: Record<string, FakeDnsReply> = {
  "FORMERR": { rcode: 1 },
  "FORMERR in a bare header": { rcode: 1, bare: true },
  "NOTIMP": { rcode: 4 },
  "NOTIMP in a bare header": { rcode: 4, bare: true },
  "SERVFAIL without an OPT record": { rcode: 2, edns: false },
  "SERVFAIL in a bare header": { rcode: 2, bare: true },
  "BADVERS": { extendedRcode: 1 },
};

for (const [name, reply] of Object.entries(WITHOUT_EDNS)) {
  Deno.test(`DnsResolver asks without EDNS who says ${name} to it (RFC 6891 §7)`, async () => {
    await using dns = await FakeDns.start({
      "d.test CNAME": ({ edns }) => edns ? reply : { answers: [cname("d.test", "e.test")] },
      "e.test CNAME": { answers: [cname("e.test", "f.test")] },
      "none.test MX": ({ edns }) => edns ? reply : { authorities: [soa("test")] },
    });
    const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
    assert.equal(brief(await resolver.cname("d.test")), `found ["e.test"]`);
    assert.deepEqual(dns.asked.map(({ edns }) => edns), [true, false]);
    // It is remembered for a while.
    assert.equal(brief(await resolver.cname("e.test")), `found ["f.test"]`);
    assert.deepEqual(dns.asked.map(({ edns }) => edns), [true, false, false]);
    resolver.forget();
    assert.equal(brief(await resolver.mx("none.test")), "none");
  });
}

Deno.test("DnsResolver asks without EDNS who drops questions with it", async () => {
  const clock = new FakeClock();
  await using dns = await FakeDns.start({
    "d.test TXT": ({ edns }) => edns ? "silent" : { rcode: 3 },
    "e.test TXT": ({ edns }) => edns ? "silent" : { rcode: 3 },
    "f.test TXT": { rcode: 3 },
  });
  const resolver = new DnsResolver({ clock, servers: [dns.server] });
  const first = resolver.txt("d.test");
  await until(() => dns.asked.length !== 0, "a question", () => clock.advance(0));
  await clock.advance(2_000);
  assert.equal((await first).kind, "no-such-name");
  assert.equal((await resolver.txt("e.test")).kind, "no-such-name");
  assert.deepEqual(dns.asked.map(({ edns }) => edns), [true, false, false]);
  await clock.advance(600_000);
  assert.equal((await resolver.txt("f.test")).kind, "no-such-name");
  assert.equal(dns.asked.at(-1)?.edns, true);
});

Deno.test("DnsResolver stays without EDNS over TCP where the server knows none", async () => {
  const answers = [{ name: "d.test", type: "TXT", ttl: 300, data: [Buffer.from("x")] }];
  await using dns = await FakeDns.start({
    "d.test TXT": ({ edns }) => edns ? { rcode: 1, bare: true } : { answers, truncated: true },
  });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
  assert.equal(brief(await resolver.txt("d.test")), `found ["x"]`);
  assert.deepEqual(dns.asked.map(({ transport, edns }) => `${transport} ${edns}`), [
    "udp true",
    "udp false",
    "tcp false",
  ]);
});

Deno.test("DnsResolver calls an error without the question an error, not an answer", async () => {
  for (const [rcode, reason] of [[1, "FORMERR"], [2, "SERVFAIL"], [5, "REFUSED"]] as const) {
    await using dns = await FakeDns.start({ "d.test TXT": { rcode, bare: true } });
    const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
    assert.deepEqual(undated(await resolver.txt("d.test")), {
      kind: "failed",
      reason: `${reason} from 127.0.0.1`,
    });
  }
  await using dns = await FakeDns.start({
    // What is not an error must say what it answers.
    "d.test TXT": {
      before: (answer) => Uint8Array.from([...answer.slice(0, 4), ...new Uint8Array(8)]),
      rcode: 3,
    },
  });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
  assert.equal((await resolver.txt("d.test")).kind, "no-such-name");
});

Deno.test("DnsResolver names no other server where resolv.conf names none that can be used", async () => {
  const resolvConf = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(resolvConf, "nameserver fe80::1%no-such-interface\n");
    const log = new RecordingLog();
    const resolver = new DnsResolver({ clock: systemClock, resolvConf, logger: log });
    const answer = await resolver.mx("d.test");
    assert.ok(answer.kind === "failed");
    assert.match(answer.reason, /^no DNS server to ask: nameserver fe80::1%no-such-interface is not used/);
    assert.deepEqual(log.events.map(({ event, fields }) => `${event} ${fields["path"]}`), [
      `dns.resolv_conf ${resolvConf}`,
    ]);
  } finally {
    await Deno.remove(resolvConf);
  }
});

const FORGERIES: Record<string, (answer: Uint8Array) => Uint8Array> = {
  "with another id": (answer) => forged(answer, { at: 0 }),
  "to another question": (answer) => forged(answer, { at: 13 }),
  "to another type of question": (answer) => forged(answer, { at: 20 }),
  "that is a question": (answer) => forged(answer, { at: 2, bits: 0x80 }),
  "that is cut short": (answer) => answer.slice(0, 20),
  "that is garbage": () => new Uint8Array(50).fill(0xc0),
  "that is empty": () => new Uint8Array(0),
};

/** An answer with other text, and with these bits changed at this octet. */
function forged(answer: Uint8Array, { at, bits = 1 }: { at: number; bits?: number }): Uint8Array {
  const copy = Buffer.from(answer);
  copy.write("evil", copy.indexOf("true"));
  copy[at] = (copy[at] ?? 0) ^ bits;
  return copy;
}

for (const [name, before] of Object.entries(FORGERIES)) {
  Deno.test(`DnsResolver waits on past an answer ${name}`, async () => {
    const answers = [{ name: "d.test", type: "TXT", ttl: 300, data: [Buffer.from("true")] }];
    await using dns = await FakeDns.start({ "d.test TXT": { before, answers } });
    const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
    assert.equal(brief(await resolver.txt("d.test")), `found ["true"]`);
    assert.equal(dns.asked.length, 1);
  });
}

Deno.test("DnsResolver asks the next server, and the dead one last for a while", async () => {
  const clock = new FakeClock();
  const answers = [{ name: "d.test", type: "TXT", ttl: 300, data: [Buffer.from("x")] }];
  await using dead = await FakeDns.start({ "d.test TXT": "silent", "e.test TXT": "silent" });
  await using bad = await FakeDns.start({ "d.test TXT": { rcode: 2 }, "e.test TXT": { rcode: 5 } });
  await using good = await FakeDns.start({ "d.test TXT": { answers }, "e.test TXT": { rcode: 3 } });
  const resolver = new DnsResolver({ clock, servers: [dead.server, bad.server, good.server] });
  const first = resolver.txt("d.test");
  await until(() => dead.asked.length !== 0, "a question", () => clock.advance(0));
  await clock.advance(2_000);
  assert.equal((await first).kind, "found");
  assert.equal((await resolver.txt("e.test")).kind, "no-such-name");
  assert.deepEqual([dead.asked.length, bad.asked.length, good.asked.length], [1, 2, 2]);
});

Deno.test("DnsResolver gives up on silent servers in time, and says so", async () => {
  const clock = new FakeClock();
  await using dead = await FakeDns.start({ "d.test TXT": "silent" });
  const resolver = new DnsResolver({ clock, servers: [dead.server] });
  const answer = resolver.txt("d.test");
  await until(() => dead.asked.length !== 0, "a question", () => clock.advance(0));
  await clock.advance(2_000);
  await until(() => dead.asked.length !== 1, "a question", () => clock.advance(0));
  await clock.advance(5_000);
  assert.deepEqual(undated(await answer), { kind: "failed", reason: "no answer from 127.0.0.1" });
  assert.equal(clock.pending, 0);
});

Deno.test("DnsResolver refuses servers that are no addresses", () => {
  for (const server of ["dns.test", "127.0.0.1:0", "127.0.0.1:99999", "[127.0.0.1]:53", "::1:53:"]) {
    assert.throws(() => new DnsResolver({ clock: systemClock, servers: [server] }), RangeError, server);
  }
});
