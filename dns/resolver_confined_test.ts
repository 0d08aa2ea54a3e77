import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { systemClock } from "../base/clock.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { type AskedQuestion, FakeDns } from "../tests/support/fake_dns.ts";
import { DnsResolver } from "./resolver.ts";
import { until } from "../tests/support/until.ts";
import { brief, undated } from "../tests/support/dns_records.ts";

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
  assert.deepEqual(undated(await answer), { kind: "failed", reason: "no answer over TCP from 127.0.0.1" });
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
