import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { systemClock } from "../base/clock.ts";
import { DnsResolver } from "../dns/resolver.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { FakeDns } from "../tests/support/fake_dns.ts";
import { type StaticName, StaticResolver } from "../tests/support/static_resolver.ts";
import { checkSpf } from "./check.ts";
import { spfRecords, spfSyntaxError } from "./record.ts";
import { until } from "../tests/support/until.ts";

const check = (
  record: string | readonly string[],
  address = "192.0.2.1",
  names: Readonly<Record<string, StaticName>> = {},
) =>
  checkSpf({
    ip: address,
    helo: "d.test",
    mailFrom: "postmaster@d.test",
    resolver: new StaticResolver(
      {
        "d.test": { ...names["d.test"], txt: typeof record === "string" ? [record] : record },
        ...rest(names),
      },
      { ptr: { "192.0.2.1": ["host.d.test", "host.other.test"] } },
    ),
  });

const rest = ({ "d.test": _, ...names }: Readonly<Record<string, StaticName>>) => names;

Deno.test("checkSpf() takes the first mechanism that matches, with its qualifier", async () => {
  for (
    const [record, address, result] of [
      ["v=spf1 ip4:192.0.2.1 -all", "192.0.2.1", "pass"],
      ["v=spf1 ip4:192.0.2.1 -all", "192.0.2.2", "fail"],
      ["v=spf1 ip4:192.0.2.0/31 ~all", "192.0.2.1", "pass"],
      ["v=spf1 ip4:192.0.2.0/31 ~all", "192.0.2.2", "softfail"],
      ["v=spf1 -ip4:192.0.2.1 +all", "192.0.2.1", "fail"],
      ["v=spf1 ?all", "192.0.2.1", "neutral"],
      ["v=spf1", "192.0.2.1", "neutral"],
      ["v=spf1 ip4:0.0.0.0/0 -all", "203.0.113.9", "pass"],
      ["v=spf1 ip6:2001:db8::/33 -all", "2001:db8:7fff::1", "pass"],
      ["v=spf1 ip6:2001:db8::/33 -all", "2001:db8:8000::1", "fail"],
      ["v=spf1 ip6:2001:db8::1 -all", "192.0.2.1", "fail"],
      ["V=SPF1 IP4:192.0.2.1 -ALL", "192.0.2.1", "pass"],
      ["v=spf1 unknown=1 ip4:192.0.2.1 -all", "192.0.2.1", "pass"],
    ] as const
  ) assert.equal((await check(record, address)).result, result, `${record} ${address}`);
});

Deno.test("checkSpf() looks up a, mx, exists, ptr, include and redirect", async () => {
  const names: Record<string, StaticName> = {
    "d.test": { a: ["192.0.2.1"], mx: [{ preference: 1, exchange: "host.d.test" }] },
    "host.d.test": { a: ["192.0.2.1"], aaaa: ["2001:db8::1"] },
    "1.2.0.192.list.test": { a: ["127.0.0.2"] },
    "in.test": { txt: ["v=spf1 ip4:192.0.2.1 -all"] },
    "out.test": { txt: ["v=spf1 -all"] },
    "text.test": { txt: ["hello"] },
  };
  for (
    const [record, result] of [
      ["v=spf1 a -all", "pass"],
      ["v=spf1 a:host.d.test -all", "pass"],
      ["v=spf1 a:host.d.test/24//64 -all", "pass"],
      ["v=spf1 mx -all", "pass"],
      ["v=spf1 ptr -all", "pass"],
      ["v=spf1 exists:%{ir}.list.test -all", "pass"],
      ["v=spf1 exists:%{d2}.list.test -all", "fail"],
      ["v=spf1 include:in.test -all", "pass"],
      ["v=spf1 include:out.test ~all", "softfail"],
      ["v=spf1 include:text.test -all", "permerror"],
      ["v=spf1 redirect=in.test", "pass"],
      ["v=spf1 redirect=text.test", "permerror"],
      ["v=spf1 include:d.test -all", "permerror"],
    ] as const
  ) assert.equal((await check(record, "192.0.2.1", names)).result, result, record);
  assert.equal((await check("v=spf1 mx -all", "2001:db8::1", names)).result, "pass");
});

Deno.test("checkSpf() keeps the limits of RFC 7208 §4.6.4", async () => {
  const many = Array.from({ length: 11 }, (_, i) => `a:h${i}.test`).join(" ");
  const names = Object.fromEntries(
    Array.from({ length: 11 }, (_, i) => [`h${i}.test`, { a: ["192.0.2.7"] }]),
  );
  assert.match(
    (await check(`v=spf1 ${many} -all`, "192.0.2.1", names)).reason ?? "",
    /more than 10 look-ups/,
  );
  assert.match((await check("v=spf1 a:x.test a:y.test a:z.test -all")).reason ?? "", /more than 2 names/);
});

Deno.test("checkSpf() tells no record, several, and DNS that fails", async () => {
  assert.deepEqual(await check(["hello"]), { result: "none", domain: "d.test", identity: "mailfrom" });
  assert.equal((await check(["v=spf1 -all", "v=spf1 +all"])).result, "permerror");
  assert.equal(
    (await check("v=spf1 a:x.test -all", "192.0.2.1", { "x.test": { fails: ["*"] } })).result,
    "temperror",
  );
});

Deno.test("spfSyntaxError() names what is wrong", () => {
  for (const record of ["v=spf1", "v=spf1 a mx/24 a//64 a:h.test/24 ptr ip6:::1/128 exp=e.test -all"]) {
    assert.equal(spfSyntaxError(record), undefined, record);
  }
  for (
    const term of [
      "ip4:192.0.2.300",
      "ip4:192.0.2.1/33",
      "ip6:192.0.2.1",
      "ip4",
      "a:",
      "ipv4:192.0.2.1",
      "all:x",
      "include:x.test/24",
      "-all;",
      "192.0.2.1",
    ]
  ) assert.match(spfSyntaxError(`v=spf1 ${term} -all`) ?? "", new RegExp(term.replace(/[.]/g, "\\.")), term);
  assert.deepEqual(spfRecords(["v=spf1", "v=spf10 a", "v=spf1 -all", "x"]), ["v=spf1", "v=spf1 -all"]);
});

Deno.test("checkSpf() takes HELO where the reverse-path is empty, and no domain where there is none", async () => {
  const resolver = new StaticResolver({ "mx.test": { txt: ["v=spf1 a -all"], a: ["192.0.2.1"] } });
  const ask = (helo: string, mailFrom: string) => checkSpf({ ip: "192.0.2.1", helo, mailFrom, resolver });
  const brief = async (helo: string, mailFrom: string) => {
    const { result, identity, domain } = await ask(helo, mailFrom);
    return `${result} ${identity} ${domain}`;
  };
  assert.equal(await brief("MX.test.", ""), "pass helo mx.test");
  assert.equal(await brief("other.test", "a@mx.test"), "pass mailfrom mx.test");
  assert.equal(await brief("other.test", '"a@b"@MX.TEST'), "pass mailfrom mx.test");
  assert.equal(await brief("[192.0.2.1]", ""), "none helo [192.0.2.1]");
  assert.equal(await brief("localhost", ""), "none helo localhost");
  assert.equal(await brief("", ""), "none helo ");
  assert.equal(await brief("mx.test", "a@[192.0.2.1]"), "none mailfrom [192.0.2.1]");
  assert.equal(await brief("mx.test", "a@no-such.test"), "none mailfrom no-such.test");
});

Deno.test("checkSpf() asks for A-labels, and no term with a local-part that is not ASCII matches", async () => {
  const resolver = new StaticResolver({
    "xn--bcher-kva.test": { txt: ["v=spf1 exists:%{l}.list.test include:%{l}.%{d} ip4:192.0.2.1 -all"] },
    "ü.list.test": { a: ["127.0.0.1"] },
  });
  const verdict = await checkSpf({ ip: "192.0.2.1", helo: "mx.test", mailFrom: "ü@bücher.test", resolver });
  assert.equal(`${verdict.result} ${verdict.domain}`, "pass xn--bcher-kva.test");
  assert.deepEqual(resolver.asked, ["txt xn--bcher-kva.test"]);
});

Deno.test("checkSpf() counts IPv4 within IPv6 as IPv4, however it is written", async () => {
  for (const ip of ["::ffff:192.0.2.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1"]) {
    assert.equal((await check("v=spf1 -ip6:::/0 ip4:192.0.2.1 -all", ip)).result, "pass", ip);
  }
});

Deno.test("checkSpf() has the owner's words for a fail, in bounded printable ASCII", async () => {
  const explain = async (text: string | readonly string[], record = "v=spf1 -all exp=why.test") =>
    (await check(record, "192.0.2.1", { "why.test": { txt: [text].flat() } })).explanation;
  assert.equal(await explain("%{i} may not send for %{o}"), "192.0.2.1 may not send for d.test");
  assert.equal((await explain("x".repeat(60_000)))?.length, 500);
  for (const text of ["bad\r\n250 ok", "ünüsual", "%{q}", ""]) {
    assert.equal(await explain(text), undefined, text);
  }
  assert.equal(await explain(["one", "two"]), undefined);
  assert.equal(await explain("hello", "v=spf1 ~all exp=why.test"), undefined);
});

Deno.test("checkSpf() is bounded by its limits whatever a record says", async () => {
  const names: Record<string, StaticName> = {
    "self.test": { txt: ["v=spf1 include:self.test include:self.test -all"] },
    "around.test": { txt: ["v=spf1 redirect=around.test"] },
    "wide.test": { txt: [`v=spf1 ${"include:wide.test ".repeat(3000)}-all`] },
    "long.test": { txt: [`v=spf1 ${"ip4:192.0.2.9 ".repeat(490)}include:long.test -all`] },
    "many.test": { txt: [`v=spf1 ${"a=b ".repeat(500)}-all`] },
    "endless.test": { txt: [`v=spf1 ${"ip4:192.0.2.9 ".repeat(4500)}-all`] },
    "swollen.test": { txt: [`v=spf1 ${`exists:${"%{s}".repeat(400)} `.repeat(10)}-all`] },
    "mx.test": { txt: ["v=spf1 mx mx mx mx mx mx mx mx mx mx mx -all"], mx: exchangers(10) },
    "crowd.test": { txt: ["v=spf1 mx -all"], mx: exchangers(11) },
    "reverse.test": { txt: [`v=spf1 ${"ptr exists:%{p}.list.test ".repeat(20)}-all`] },
    ...Object.fromEntries(exchangers(11).map(({ exchange }) => [exchange, { a: ["192.0.2.9"] }])),
  };
  for (
    const [domain, result, questions] of [
      ["self.test", "permerror", 11],
      ["around.test", "permerror", 11],
      ["wide.test", "permerror", 11],
      ["long.test", "permerror", 11],
      ["many.test", "permerror", 1],
      ["endless.test", "permerror", 1],
      ["swollen.test", "permerror", 4],
      ["mx.test", "permerror", 1 + 10 + 100],
      ["crowd.test", "permerror", 2],
      ["reverse.test", "permerror", 1 + 1 + 10 + 3],
    ] as const
  ) {
    const resolver = new StaticResolver(names, {
      ptr: { "192.0.2.1": Array.from({ length: 500 }, (_, i) => `h${i}.reverse.test`) },
    });
    const mailFrom = `${"a.b-".repeat(16)}@${domain}`;
    const verdict = await checkSpf({ ip: "192.0.2.1", helo: "h.test", mailFrom, resolver });
    assert.equal(verdict.result, result, domain);
    assert.ok(resolver.asked.length <= questions, `${domain}: ${resolver.asked.length} questions`);
    for (const question of resolver.asked) assert.ok(question.length <= 258, question);
    assert.ok((verdict.reason ?? "").length <= 301, domain);
  }
});

const exchangers = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ preference: i, exchange: `mx${i}.test` }));

Deno.test("checkSpf() gives up by signal with temperror", async () => {
  const clock = new FakeClock();
  await using dns = await FakeDns.start({ "d.test TXT": "silent" });
  const deadline = new AbortController();
  const verdict = checkSpf({
    ip: "192.0.2.1",
    helo: "mx.test",
    mailFrom: "a@d.test",
    resolver: new DnsResolver({ clock, servers: [dns.server] }),
    signal: deadline.signal,
  });
  await until(() => dns.asked.length > 0, "a question", () => clock.advance(0));
  deadline.abort();
  assert.equal((await verdict).result, "temperror");
  await until(() => clock.pending === 0, "the end of all timers", () => clock.advance(5_000));
});

Deno.test("checkSpf() finds names with the characters of local-parts in a real zone", async () => {
  await using dns = await FakeDns.start({
    "d.test TXT": { answers: [txt("d.test", "v=spf1 exists:%{l}.list.test -all")] },
    "a+b=c/d.list.test A": { answers: [{ name: "a+b=c/d.list.test", type: "A", ttl: 1, data: "127.0.0.2" }] },
  });
  const verdict = await checkSpf({
    ip: "192.0.2.1",
    helo: "mx.test",
    mailFrom: "a+b=c/d@d.test",
    resolver: new DnsResolver({ clock: systemClock, servers: [dns.server] }),
  });
  assert.equal(verdict.result, "pass", verdict.reason);
});

const txt = (name: string, text: string) => ({ name, type: "TXT", ttl: 1, data: [Buffer.from(text)] });

Deno.test("checkSpf() shows no control characters of a record", async () => {
  const { result, reason } = await check("v=spf1 a:x\u001b[31m.test -all");
  assert.equal(result, "permerror");
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(reason ?? "", /[\u0000-\u001f]/);
});
