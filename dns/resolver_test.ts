import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { systemClock } from "../base/clock.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import {
  AA,
  AD,
  type AskedQuestion,
  FakeDns,
  type FakeDnsReply,
  RA,
  soa,
} from "../tests/support/fake_dns.ts";
import { type Answer, DnsResolver } from "./resolver.ts";
import { until } from "../tests/support/until.ts";

const mx = (exchange: string, preference = 10, name = "d.test") => ({
  name,
  type: "MX",
  ttl: 300,
  data: { preference, exchange },
});
const a = (data: string, name = "d.test") => ({ name, type: "A", ttl: 300, data });
const cname = (name: string, data: string) => ({ name, type: "CNAME", ttl: 300, data });

/** `found …`, or the kind. */
function brief(answer: Answer<unknown>): string {
  return answer.kind === "found" ? `found ${JSON.stringify(answer.records)}` : answer.kind;
}

Deno.test("DnsResolver.mx() finds MX hosts, best first, with names made harmless", async () => {
  await using dns = await FakeDns.start({
    "d.test MX": { answers: [mx("B.Test", 20), mx("a.test", 10), mx("sp ace.test", 30)] },
    "null.test MX": { answers: [mx(".", 0, "null.test")] },
  });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
  assert.deepEqual(await resolver.mx("D.test."), {
    kind: "found",
    records: [{ preference: 10, exchange: "a.test" }, { preference: 20, exchange: "b.test" }, {
      preference: 30,
      exchange: "",
    }],
    authenticated: false,
  });
  assert.equal(brief(await resolver.mx("null.test")), `found [{"preference":0,"exchange":"."}]`);
});

Deno.test("DnsResolver.mx() takes the best hundred of many", async () => {
  const answers = Array.from({ length: 150 }, (_, i) => mx(`h${i}.test`, 1000 - i));
  await using dns = await FakeDns.start({ "d.test MX": { answers, truncated: true } });
  const answer = await new DnsResolver({ clock: systemClock, servers: [dns.server] }).mx("d.test");
  assert.ok(answer.kind === "found");
  assert.equal(answer.records.length, 100);
  assert.equal(answer.records[0]?.exchange, "h149.test");
});

/** What `Deno.resolveDns` calls NotFound, all of it. */
const NEGATIVES: Record<string, [FakeDnsReply, string]> = {
  "NXDOMAIN": [{ rcode: 3, authorities: [soa("test")] }, "no-such-name"],
  "NXDOMAIN without SOA": [{ rcode: 3 }, "no-such-name"],
  "NODATA": [{ authorities: [soa("test")] }, "none"],
  "NODATA without SOA": [{}, "none"],
  "NODATA from an authority that does not recurse": [{ flags: AA, authorities: [soa("test")] }, "none"],
  "a referral": [
    { flags: 0, authorities: [{ name: "test", type: "NS", ttl: 1, data: "ns.test" }] },
    "failed",
  ],
  "SERVFAIL": [{ rcode: 2 }, "failed"],
  "REFUSED": [{ rcode: 5 }, "failed"],
  "FORMERR": [{ rcode: 1 }, "failed"],
  "an alias to nothing": [{ answers: [cname("d.test", "e.test")], authorities: [soa("test")] }, "none"],
  "an alias to a name that does not exist": [
    { rcode: 3, answers: [cname("d.test", "e.test")], authorities: [soa("test")] },
    "no-such-name",
  ],
  "an alias that was not followed": [{ flags: AA, answers: [cname("d.test", "e.elsewhere")] }, "failed"],
  "an alias to itself": [{ answers: [cname("d.test", "d.test")] }, "none"],
  "a circle of aliases": [{ answers: [cname("d.test", "e.test"), cname("e.test", "d.test")] }, "none"],
  "a circle of aliases and SERVFAIL from the authority": [
    { rcode: 2, answers: [cname("d.test", "e.test"), cname("e.test", "d.test")] },
    "none",
  ],
  "a circle of aliases and SERVFAIL from another": [
    { rcode: 2, flags: RA, answers: [cname("d.test", "e.test"), cname("e.test", "d.test")] },
    "failed",
  ],
  "records of another name": [{ answers: [mx("evil.test", 1, "other.test")] }, "none"],
};

for (const [name, [reply, expected]] of Object.entries(NEGATIVES)) {
  Deno.test(`DnsResolver.mx() given ${name}: ${expected}`, async () => {
    await using dns = await FakeDns.start({ "d.test MX": reply });
    const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
    assert.equal((await resolver.mx("d.test")).kind, expected);
  });
}

Deno.test("DnsResolver.txt() follows aliases, over TCP where the answer was cut", async () => {
  await using dns = await FakeDns.start({
    "d.test TXT": {
      truncated: true,
      answers: [
        cname("d.test", "e.test"),
        { name: "e.test", type: "TXT", ttl: 300, data: [Buffer.from("v=spf1 "), Buffer.from("-all")] },
        { name: "E.test", type: "TXT", ttl: 300, data: [Buffer.from("ä\xff", "latin1")] },
      ],
    },
  });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
  assert.equal(brief(await resolver.txt("d.test")), `found ["v=spf1 -all","\ufffd\ufffd"]`);
  assert.deepEqual(dns.asked.map(({ transport, edns }) => `${transport} ${edns}`), ["udp true", "tcp true"]);
  const [first, second] = dns.asked;
  assert.notEqual(first?.id, second?.id);
});

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
    assert.deepEqual(await resolver.txt("d.test"), { kind: "failed", reason: `${reason} from 127.0.0.1` });
  }
  await using dns = await FakeDns.start({
    // What is no error must say what it answers.
    "d.test TXT": {
      before: (answer) => Uint8Array.from([...answer.slice(0, 4), ...new Uint8Array(8)]),
      rcode: 3,
    },
  });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
  assert.equal((await resolver.txt("d.test")).kind, "no-such-name");
});

Deno.test("DnsResolver.mx() gives A-labels, whatever the platform makes of them", async () => {
  await using dns = await FakeDns.start({
    "xn--bcher-kva.test MX": {
      answers: ["mx.xn--mnchen-3ya.test", "XN--FIQS8S.test", "mx.xn--a.test", "mx.test"].map((exchange, i) =>
        mx(exchange, i, "xn--bcher-kva.test")
      ),
    },
    "xn--mnchen-3ya.test AAAA": { answers: [{ ...a("2001:db8::1", "xn--mnchen-3ya.test"), type: "AAAA" }] },
  });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
  for (const name of ["xn--bcher-kva.test", "Bücher.test"]) {
    const answer = await resolver.mx(name);
    assert.deepEqual(answer.kind === "found" && answer.records.map(({ exchange }) => exchange), [
      "mx.xn--mnchen-3ya.test",
      "xn--fiqs8s.test",
      "mx.xn--a.test",
      "mx.test",
    ]);
  }
  assert.equal(brief(await resolver.aaaa("MÜNCHEN.test.")), `found ["2001:db8::1"]`);
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
  assert.deepEqual(await answer, { kind: "failed", reason: "no answer from 127.0.0.1" });
  assert.equal(clock.pending, 0);
});

Deno.test("DnsResolver.mx() defers to the wire what Deno.resolveDns cannot get", async () => {
  // Silent to all that Deno asks, which has no EDNS record in its questions, or has; the wire's question is the last.
  const clock = new FakeClock();
  let count = 0;
  await using dns = await FakeDns.start({
    "d.test MX": () => ++count < 3 ? "silent" : { answers: [mx("a.test")] },
  });
  const resolver = new DnsResolver({ clock, servers: [dns.server] });
  assert.equal(brief(await resolver.mx("d.test")), `found [{"preference":10,"exchange":"a.test"}]`);
  assert.equal(count, 3);
});

Deno.test("DnsResolver asks no more than once where only records are of interest", async () => {
  await using dns = await FakeDns.start({ "d.test A": { answers: [a("192.0.2.1")] }, "d.test AAAA": {} });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
  assert.equal(brief(await resolver.a("d.test", { quick: true })), `found ["192.0.2.1"]`);
  assert.equal((await resolver.aaaa("d.test", { quick: true })).kind, "failed");
  assert.equal((await resolver.aaaa("d.test", { quick: true })).kind, "failed");
  assert.equal(dns.asked.length, 2);
  assert.equal((await resolver.aaaa("d.test")).kind, "none");
  assert.equal(brief(await resolver.a("d.test")), `found ["192.0.2.1"]`);
  assert.equal(dns.asked.length, 3);
  assert.equal((await resolver.aaaa("d.test", { quick: true })).kind, "none");
  assert.equal(dns.asked.length, 3);
});

Deno.test("DnsResolver lets each caller give up alone", async () => {
  const clock = new FakeClock();
  await using dns = await FakeDns.start({ "d.test TXT": "silent" });
  const resolver = new DnsResolver({ clock, servers: [dns.server] });
  const controller = new AbortController();
  const [mine, other] = [resolver.txt("d.test", { signal: controller.signal }), resolver.txt("d.test")];
  await until(() => dns.asked.length !== 0, "a question", () => clock.advance(0));
  controller.abort();
  assert.deepEqual(await mine, { kind: "failed", reason: "given up" });
  dns.zone["d.test TXT"] = { rcode: 3 };
  await clock.advance(2_000);
  assert.equal((await other).kind, "no-such-name");
  assert.deepEqual(await resolver.txt("x.test", { signal: AbortSignal.abort() }), {
    kind: "failed",
    reason: "given up",
  });
  await until(() => dns.asked.length >= 3, "the questions", () => clock.advance(0));
  // What was asked for it is answered before the server goes.
  assert.equal((await resolver.txt("x.test")).kind, "no-such-name");
});

Deno.test("DnsResolver keeps answers as long as they say, and failures shortly", async () => {
  const clock = new FakeClock();
  const answers = [{ name: "d.test", type: "TXT", ttl: 100, data: [Buffer.from("x")] }];
  await using dns = await FakeDns.start({
    "d.test TXT": { answers },
    "long.test TXT": { answers: [{ name: "long.test", type: "TXT", ttl: 86_400, data: [Buffer.from("x")] }] },
    "no.test TXT": { rcode: 3, authorities: [soa("test", 20)] },
    "bad.test TXT": { rcode: 2 },
    "d.test A": { answers: [a("192.0.2.1")] },
  });
  const resolver = new DnsResolver({ clock, servers: [dns.server] });
  const asks = async (name: string, type: "txt" | "a" = "txt") => {
    const before = dns.asked.length;
    await Promise.all([resolver[type](name), resolver[type](`${name.toUpperCase()}.`)]);
    return dns.asked.length - before;
  };
  for (const [name, seconds] of [["d.test", 100], ["long.test", 300], ["no.test", 20]] as const) {
    assert.equal(await asks(name), 1, name);
    await clock.advance(seconds * 1000 - 1);
    assert.equal(await asks(name), 0, name);
    await clock.advance(1);
    assert.equal(await asks(name), 1, name);
  }
  assert.equal(await asks("bad.test"), 2);
  assert.equal(await asks("bad.test"), 0);
  await clock.advance(5_000);
  assert.equal(await asks("bad.test"), 2);
  assert.equal(await asks("d.test", "a"), 1);
  await clock.advance(59_999);
  assert.equal(await asks("d.test", "a"), 0);
  await clock.advance(1);
  assert.equal(await asks("d.test", "a"), 1);
  resolver.forget();
  assert.equal(await asks("d.test"), 1);
});

Deno.test("DnsResolver believes the AD bit only of servers that are trusted to validate", async () => {
  await using dns = await FakeDns.start({
    "d.test A": { flags: RA | AD, answers: [a("192.0.2.1")] },
    "d.test AAAA": { flags: RA | AD, authorities: [soa("test")] },
    "plain.test A": { answers: [a("192.0.2.1", "plain.test")] },
    "alias.test AAAA": {
      flags: RA | AD,
      answers: [cname("alias.test", "e.test"), cname("E.test", "End.test"), {
        name: "end.test",
        type: "AAAA",
        ttl: 1,
        data: "2001:db8::1",
      }],
    },
    "_25._tcp.d.test TLSA": {
      flags: RA | AD,
      answers: [{
        name: "_25._tcp.d.test",
        type: "TLSA",
        ttl: 1,
        data: { usage: 3, selector: 1, matchingType: 1, certificate: Buffer.from("abcd", "hex") },
      }],
    },
  });
  for (const dnssec of [true, false]) {
    const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server], dnssec });
    assert.deepEqual(await resolver.a("d.test"), {
      kind: "found",
      records: ["192.0.2.1"],
      authenticated: dnssec,
    });
    assert.deepEqual(await resolver.aaaa("d.test"), { kind: "none", authenticated: dnssec });
    assert.deepEqual(await resolver.a("plain.test"), {
      kind: "found",
      records: ["192.0.2.1"],
      authenticated: false,
    });
    assert.deepEqual(await resolver.aaaa("alias.test"), {
      kind: "found",
      records: ["2001:db8::1"],
      authenticated: dnssec,
      ...(dnssec && { expanded: "end.test" }),
    });
    assert.deepEqual(await resolver.tlsa("_25._tcp.d.test"), {
      kind: "found",
      records: [{ usage: 3, selector: 1, matchingType: 1, data: Uint8Array.of(0xab, 0xcd) }],
      authenticated: dnssec,
    });
  }
});

Deno.test("DnsResolver.ptr() turns addresses round", async () => {
  const six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
  await using dns = await FakeDns.start({
    "1.2.0.192.in-addr.arpa PTR": {
      answers: [{ name: "1.2.0.192.in-addr.arpa", type: "PTR", ttl: 1, data: "Mail.test" }],
    },
    [`${six} PTR`]: { answers: [{ name: six, type: "PTR", ttl: 1, data: "bad name.test" }] },
  });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
  assert.equal(brief(await resolver.ptr("192.0.2.1")), `found ["mail.test"]`);
  assert.equal(brief(await resolver.ptr("2001:db8::1")), "none");
  assert.equal(brief(await resolver.ptr("192.0.2.9")), "no-such-name");
  assert.equal(brief(await resolver.ptr("mail.test")), "no-such-name");
});

Deno.test("DnsResolver sends no query about what is no domain name", async () => {
  await using dns = await FakeDns.start();
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
  for (
    const name of ["", ".", "a..b", "a b.test", "ä b.test", "../etc", "x".repeat(64), `${"x.".repeat(127)}x`]
  ) {
    assert.equal((await resolver.mx(name)).kind, "no-such-name", name);
  }
  assert.equal(dns.asked.length, 0);
});

Deno.test("DnsResolver never completes a name from the search list", async () => {
  await using dns = await FakeDns.start({
    "gone.test MX": { rcode: 3 },
    "gone.test.search.test MX": { answers: [mx("wrong.test", 1, "gone.test.search.test")] },
  });
  const resolvConf = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(resolvConf, `search search.test\nnameserver 127.0.0.1\n`);
    const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server], resolvConf });
    assert.equal((await resolver.mx("gone.test")).kind, "no-such-name");
    assert.ok(dns.asked.every(({ name }) => name === "gone.test"));
  } finally {
    await Deno.remove(resolvConf);
  }
});

Deno.test("DnsResolver refuses servers that are no addresses", () => {
  for (const server of ["dns.test", "127.0.0.1:0", "127.0.0.1:99999", "[127.0.0.1]:53", "::1:53:"]) {
    assert.throws(() => new DnsResolver({ clock: systemClock, servers: [server] }), RangeError, server);
  }
});

const confined = { mayAsk: () => true, scopeOf: () => undefined };

Deno.test("DnsResolver that is confined asks over TCP what the system does not find", async () => {
  const text = { name: "d.test", type: "TXT", ttl: 9, data: [Buffer.from("v=spf1 "), Buffer.from("-all")] };
  const ptr = { name: "1.2.0.192.in-addr.arpa", type: "PTR", ttl: 9, data: "mail.test" };
  await using dns = await FakeDns.start({
    "d.test TXT": { answers: [text] },
    "1.2.0.192.in-addr.arpa PTR": { answers: [ptr] },
    "broken.test TXT": { rcode: 2 },
    "none.test A": {},
  });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server], confined });
  assert.equal(brief(await resolver.txt("d.test")), 'found ["v=spf1 -all"]');
  assert.equal(brief(await resolver.ptr("192.0.2.1")), 'found ["mail.test"]');
  const answers = await Promise.all([
    resolver.txt("gone.test"),
    resolver.txt("broken.test"),
    resolver.a("none.test"),
    resolver.cname("gone.test"),
  ]);
  assert.deepEqual(answers.map(({ kind }) => kind), ["no-such-name", "failed", "none", "no-such-name"]);
  assert.ok(
    dns.asked.filter(({ name }) => name === "gone.test").some(({ transport }) => transport === "tcp"),
  );
});

Deno.test("DnsResolver that is confined gives a silent server a second, and one that has answered its full timeout", async () => {
  const clock = new FakeClock();
  await using dns = await FakeDns.start({ "d.test CNAME": "silent" });
  const resolver = new DnsResolver({ clock, servers: [dns.server], confined });
  const first = resolver.cname("d.test");
  await until(() => dns.asked.length >= 1, "the questions", () => clock.advance(0));
  await clock.advance(1_000);
  assert.equal((await first).kind, "failed");
  assert.equal((await resolver.cname("gone.test")).kind, "no-such-name");
  await clock.advance(5_000);
  const answer = resolver.cname("d.test");
  for (const [asked, ms] of [[3, 2_000], [4, 5_000]] as const) {
    await until(() => dns.asked.length >= asked, "the questions", () => clock.advance(0));
    await clock.advance(ms);
  }
  assert.deepEqual(await answer, { kind: "failed", reason: "no answer over TCP from 127.0.0.1" });
  assert.equal(clock.pending, 0);
});

Deno.test("DnsResolver asks many questions that are shared over one connection, and a few by datagrams", async () => {
  const found = { name: "d1.test", type: "TXT", ttl: 9, data: [Buffer.from("here")] };
  await using dns = await FakeDns.start({ "d1.test TXT": { answers: [found] }, "d2.test TXT": { rcode: 2 } });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
  const ask = (count: number, domain: string) =>
    Promise.all(
      Array.from({ length: count }, (_, index) => resolver.txt(`d${index}.${domain}`, { shared: true })),
    );
  assert.deepEqual(new Set((await ask(3, "few.test")).map(({ kind }) => kind)), new Set(["no-such-name"]));
  assert.ok(dns.asked.every(({ transport }) => transport === "udp"));
  const answers = await ask(20, "test");
  assert.equal(answers[1] && brief(answers[1]), 'found ["here"]');
  assert.equal(answers[2]?.kind, "failed");
  assert.deepEqual(
    new Set(answers.filter((_, index) => index !== 1 && index !== 2).map(({ kind }) => kind)),
    new Set(["no-such-name"]),
  );
  const byTcp = dns.asked.filter(({ transport }) => transport === "tcp");
  assert.ok(byTcp.length >= 16, `${byTcp.length} over TCP`);
  assert.equal(new Set(byTcp.map(({ port }) => port)).size, 1);
});

Deno.test("DnsResolver asks a server that takes no TCP by datagrams, and leaves TCP alone for a while", async () => {
  await using dns = await FakeDns.start();
  let connections = 0;
  const clock = new FakeClock();
  const resolver = new DnsResolver({ clock, servers: [dns.server] });
  dns.zone = new Proxy({}, {
    get: () => ({ transport }: AskedQuestion) => {
      if (transport === "tcp") connections++;
      return transport === "tcp" ? "silent" : { rcode: 3 };
    },
  });
  const ask = async (domain: string) => {
    const all = Promise.all(
      Array.from({ length: 10 }, (_, index) => resolver.txt(`d${index}.${domain}`, { shared: true })),
    );
    let over = false;
    all.then(() => over = true);
    await until(() => over || dns.asked.length >= 10, "the questions", () => clock.advance(0));
    if (!over) await clock.advance(3_000);
    await until(() => over, "the answers", () => clock.advance(0));
    return (await all).map(({ kind }) => kind);
  };
  assert.deepEqual(new Set(await ask("one.test")), new Set(["no-such-name"]));
  const tried = connections;
  assert.ok(tried > 0);
  assert.deepEqual(new Set(await ask("two.test")), new Set(["no-such-name"]));
  assert.equal(connections, tried);
  await clock.advance(60_000);
  assert.deepEqual(new Set(await ask("three.test")), new Set(["no-such-name"]));
  assert.ok(connections > tried);
});

Deno.test("DnsResolver asks shared questions over one connection once there are many in a second, each after the other", async () => {
  const clock = new FakeClock();
  await using dns = await FakeDns.start();
  const resolver = new DnsResolver({ clock, servers: [dns.server] });
  for (let index = 0; index < 20; index++) {
    assert.equal((await resolver.txt(`d${index}.test`, { shared: true })).kind, "no-such-name");
  }
  assert.ok(dns.asked.slice(0, 9).every(({ transport }) => transport === "udp"));
  const later = dns.asked.slice(10);
  assert.ok(later.length === 10 && later.every(({ transport }) => transport === "tcp"));
  assert.equal(new Set(later.map(({ port }) => port)).size, 1);
  // The connection is not held for long, and after a while there are few again.
  await clock.advance(1_000);
  await clock.advance(2_000);
  assert.equal((await resolver.txt("more.test", { shared: true })).kind, "no-such-name");
  assert.equal(dns.asked.at(-1)?.transport, "udp");
  assert.equal(clock.pending, 0);
});
