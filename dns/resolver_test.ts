import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { systemClock } from "../base/clock.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { AA, AD, FakeDns, type FakeDnsReply, RA, soa } from "../tests/support/fake_dns.ts";
import { DnsResolver } from "./resolver.ts";
import { until } from "../tests/support/until.ts";
import { a, brief, cname, mx, undated } from "../tests/support/dns_records.ts";

Deno.test("DnsResolver.mx() finds MX hosts, best first, with names made harmless", async () => {
  await using dns = await FakeDns.start({
    "d.test MX": { answers: [mx("B.Test", 20), mx("a.test", 10), mx("sp ace.test", 30)] },
    "null.test MX": { answers: [mx(".", 0, "null.test")] },
  });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server] });
  assert.deepEqual(undated(await resolver.mx("D.test.")), {
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
  "records of another name": [{ answers: [mx("evil.test", 1, "other.test")] }, "failed"],
  "records of another name and SOA": [
    { answers: [mx("evil.test", 1, "other.test")], authorities: [soa("test")] },
    "none",
  ],
  "records of another type": [{ answers: [a("192.0.2.1")] }, "failed"],
  "an alias without SOA": [{ answers: [cname("d.test", "e.test")] }, "none"],
  "a referral through a resolver": [
    { flags: RA, authorities: [{ name: "test", type: "NS", ttl: 1, data: "ns.test" }] },
    "failed",
  ],
  "name servers beside nothing, from an authority": [
    { flags: AA, authorities: [{ name: "test", type: "NS", ttl: 1, data: "ns.test" }] },
    "none",
  ],
  "more aliases than are followed": [
    {
      answers: [
        ...Array.from({ length: 50 }, (_, i) => cname(i === 0 ? "d.test" : `c${i}.test`, `c${i + 1}.test`)),
        mx("mx.test", 1, "c50.test"),
      ],
    },
    "failed",
  ],
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
    assert.deepEqual(undated(await resolver.a("d.test")), {
      kind: "found",
      records: ["192.0.2.1"],
      authenticated: dnssec,
    });
    assert.deepEqual(undated(await resolver.aaaa("d.test")), { kind: "none", authenticated: dnssec });
    assert.deepEqual(undated(await resolver.a("plain.test")), {
      kind: "found",
      records: ["192.0.2.1"],
      authenticated: false,
    });
    assert.deepEqual(undated(await resolver.aaaa("alias.test")), {
      kind: "found",
      records: ["2001:db8::1"],
      authenticated: dnssec,
      ...(dnssec && { expanded: "end.test" }),
    });
    assert.deepEqual(undated(await resolver.tlsa("_25._tcp.d.test")), {
      kind: "found",
      records: [{ usage: 3, selector: 1, matchingType: 1, data: Uint8Array.of(0xab, 0xcd) }],
      authenticated: dnssec,
      ttl: 1,
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

Deno.test("DnsResolver sends no query about what is not a domain name", async () => {
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
