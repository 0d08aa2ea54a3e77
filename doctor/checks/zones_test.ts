// The cases that tests/interop/doctor_test.ts does not show with a real DNS server.
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { type StaticName, StaticResolver } from "../../tests/support/static_resolver.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { createTestAuthority } from "../../tests/support/test_authority.ts";
import type { TlsaRecord } from "../../dns/resolver.ts";
import type { Finding } from "../finding.ts";
import { checkAddresses, type World } from "../world.ts";
import { checkDkim } from "./dkim.ts";
import { checkDmarc } from "./dmarc.ts";
import { checkDns } from "./dns.ts";
import { checkMx } from "./mx.ts";
import { checkReverseDns } from "./reverse_dns.ts";
import { checkSpfRecords } from "./spf.ts";
import { checkTlsa, type KeySetup } from "./tlsa.ts";
import { checkTlsRpt } from "./tlsrpt.ts";

type Names = Readonly<Record<string, StaticName>>;

function world(
  names: Names,
  changes: Partial<World> = {},
  ptr: Readonly<Record<string, string[]>> = {},
): World {
  return {
    hostname: "mx.d.test",
    domains: ["d.test"],
    listening: ["192.0.2.1"],
    sending: ["192.0.2.1"],
    closedNetwork: false,
    dkim: [{ domain: "d.test", recordName: "s._domainkey.d.test", record: "v=DKIM1; k=rsa; p=QUJD" }],
    dnssec: false,
    resolver: new StaticResolver(names, { ptr }),
    ...changes,
  };
}

const ids = (findings: readonly Finding[]) => findings.map(({ id, outcome }) => `${id} ${outcome}`);

Deno.test("checkAddresses() takes private addresses for a machine behind NAT, and looks at the public one instead", async () => {
  const behind = world({ "mx.d.test": { a: ["203.0.113.9"] } }, {
    listening: ["10.0.0.5"],
    sending: ["10.0.0.5"],
  });
  const { findings, world: seen } = await checkAddresses(behind);
  assert.deepEqual(ids(findings), ["address.nat untested"]);
  assert.deepEqual([seen.listening, seen.sending], [["203.0.113.9"], ["203.0.113.9"]]);
  const lost = await checkAddresses({ ...behind, resolver: new StaticResolver({}) });
  assert.deepEqual(ids(lost.findings), ["address.missing failure"]);
  const closed = await checkAddresses({
    ...behind,
    closedNetwork: true,
    resolver: new StaticResolver({ "mx.d.test": { a: ["10.0.0.5"] } }),
  });
  assert.deepEqual(ids(closed.findings), ["address ok"]);
});

Deno.test("checkAddresses() warns of a server that has IPv6 only", async () => {
  const own = { listening: ["2001:db8::1"], sending: ["2001:db8::1"] };
  const check = async (name: StaticName, changes: Partial<World> = {}) =>
    ids((await checkAddresses(world({ "mx.d.test": name }, { ...own, ...changes }))).findings);
  assert.deepEqual(await check({ aaaa: ["2001:db8::1"] }), ["address.no-ipv4 warning"]);
  assert.deepEqual(await check({ aaaa: ["2001:db8::1"], a: ["192.0.2.1"] }), ["address.foreign failure"]);
  // Others get no mail for domains here.
  assert.deepEqual(await check({ aaaa: ["2001:db8::1"] }, { domains: [] }), ["address ok"]);
});

Deno.test("checkAddresses() says that DNS gave no answer, and finds a name without any address once", async () => {
  const failing = await checkAddresses(world({ "mx.d.test": { fails: ["*"] } }));
  assert.deepEqual(ids(failing.findings), ["address untested"]);
  assert.deepEqual(ids((await checkAddresses(world({}))).findings), ["address.missing failure"]);
});

Deno.test("checkMx() tells the null MX, hosts that are none or dead, and another server that comes first", async () => {
  const check = async (exchange: string, rest: Names = {}) =>
    ids(await checkMx(world({ "d.test": { mx: [{ preference: 10, exchange }] }, ...rest })));
  assert.deepEqual(await check("."), ["mx.null failure"]);
  assert.deepEqual(await check("192.0.2.1"), ["mx.no-name failure"]);
  assert.deepEqual(await check("old.d.test"), ["mx.dead failure"]);
  assert.deepEqual(await check("mx.d.test"), ["mx ok"]);
  assert.deepEqual(await check("other.d.test", { "other.d.test": { a: ["192.0.2.1"] } }), ["mx ok"]);
  assert.deepEqual(ids(await checkMx(world({ "d.test": { fails: ["mx"] } }))), ["mx untested"]);
  const mx = [{ preference: 5, exchange: "first.test" }, { preference: 10, exchange: "mx.d.test" }];
  const second = await checkMx(world({ "d.test": { mx }, "first.test": { a: ["198.51.100.1"] } }));
  assert.deepEqual(ids(second), ["mx.second warning"]);
});

Deno.test("checkMx() tells of a machine's name that has its mailboxes elsewhere", async () => {
  const machineNames = [{ name: "firm.test", home: "d.test" }];
  const mx = (exchange: string) => ({ mx: [{ preference: 10, exchange }] });
  const check = async (firm: StaticName) =>
    await checkMx(world({
      "d.test": mx("mx.d.test"),
      "firm.test": firm,
      "mx.other.test": { a: ["198.51.100.1"] },
      "www.d.test": { a: ["192.0.2.1"] },
    }, { machineNames }));
  const [, found] = await check(mx("mx.other.test"));
  assert.equal(found?.id, "mx.machine");
  assert.match(found?.next ?? "", /"firm\.test" = "mx\.other\.test" to \[serve-out\.routes\]/);
  for (const firm of [mx("mx.d.test"), mx("www.d.test"), mx("."), { a: ["192.0.2.1"] }, { fails: ["mx"] }]) {
    assert.deepEqual(ids(await check(firm as StaticName)), ["mx ok"]);
  }
});

Deno.test("checkSpfRecords() looks at the server's name too, warns of +all, and cannot see through a smarthost", async () => {
  const txt = ["v=spf1 ip4:192.0.2.1 -all"];
  const check = async (names: Names, changes: Partial<World> = {}) =>
    ids(await checkSpfRecords(world(names, changes)));
  assert.deepEqual(await check({ "d.test": { txt } }), ["spf ok"]);
  assert.deepEqual(await check({ "d.test": { txt }, "mx.d.test": { txt: ["v=spf1 -all"] } }), [
    "spf ok",
    "spf.refused failure",
  ]);
  assert.deepEqual(await check({ "d.test": { txt: ["v=spf1 all"] } }), ["spf.open warning"]);
  assert.deepEqual(await check({ "d.test": { txt: ["v=spf1 include:gone.test -all"] } }), [
    "spf.error failure",
  ]);
  assert.deepEqual(await check({ "d.test": { txt } }, { sending: [], smarthost: "smtp.test" }), [
    "spf untested",
  ]);
});

Deno.test("checkDkim() tells what else can be wrong with a key's record", async () => {
  const check = async (...txt: string[]) => ids(await checkDkim(world({ "s._domainkey.d.test": { txt } })));
  assert.deepEqual(await check("v=DKIM1; k=rsa; p=QU JD"), ["dkim ok"]);
  assert.deepEqual(await check("p=QUJD; s=*; h=sha1:sha256"), ["dkim ok"]);
  assert.deepEqual(await check("v=DKIM1; k=rsa; p="), ["dkim.revoked failure"]);
  assert.deepEqual(await check("v=DKIM1; k=ed25519; p=QUJD"), ["dkim.other-key failure"]);
  assert.deepEqual(await check("v=DKIM1; h=sha1; p=QUJD"), ["dkim.unfit failure"]);
  assert.deepEqual(await check("v=DKIM1; t=y; p=QUJD"), ["dkim.testing warning"]);
  assert.deepEqual(await check("hello"), ["dkim.syntax failure"]);
  assert.deepEqual(await check("p=QUJD", "p=QUJD"), ["dkim.several failure"]);
  // The domain above signs for this one.
  assert.deepEqual(ids(await checkDkim(world({}, { dkim: [], domains: ["d.test"] }))), [
    "dkim.unsigned failure",
  ]);
  const above = { domains: ["sub.d.test"] };
  assert.deepEqual(ids(await checkDkim(world({ "s._domainkey.d.test": { txt: ["p=QUJD"] } }, above))), [
    "dkim ok",
  ]);
});

Deno.test("checkDmarc() takes the record of the domain above, and none that cannot count", async () => {
  const check = async (names: Names, changes: Partial<World> = {}) =>
    ids(await checkDmarc(world(names, changes)));
  const at = (...txt: string[]) => ({ "_dmarc.d.test": { txt } });
  assert.deepEqual(await check(at("v=DMARC1; p=reject; rua=mailto:a@d.test,mailto:b@x.test")), ["dmarc ok"]);
  assert.deepEqual(await check(at("v=DMARC1; p=none"), { dkim: [], domains: ["a.b.d.test"] }), ["dmarc ok"]);
  for (
    const text of [
      "v=DMARC1",
      "v=DMARC1; p=all",
      "v=DMARC1; p=none; rua=a@d.test",
      "p=none; v=DMARC1",
      "v=DMARC1;;p=none",
    ]
  ) {
    assert.deepEqual(await check(at(text)), ["dmarc.syntax failure"], text);
  }
  assert.deepEqual(await check(at("v=DMARC1; p=none", "v=DMARC1; p=reject")), ["dmarc.several failure"]);
});

Deno.test("checkReverseDns() takes one name of several, and asks nothing of a name that is missing already", async () => {
  const check = async (names: Names, ptr: string[]) =>
    ids(await checkReverseDns(world(names, {}, { "192.0.2.1": ptr })));
  const right = { "mx.d.test": { a: ["192.0.2.1"] } };
  assert.deepEqual(await check(right, ["other.test", "mx.d.test"]), ["reverse ok"]);
  assert.deepEqual(await check({}, ["mx.d.test"]), []);
  assert.deepEqual(await check({ "x.test": { fails: ["a"] } }, ["x.test"]), ["reverse untested"]);
});

Deno.test("checkTlsa() knows the key in use, and wants DNSSEC where it can tell", async () => {
  const { cert } = await (await createTestAuthority()).issue({ names: ["mx.d.test"] });
  const certificate = new X509Certificate(cert);
  const data = createHash("sha256").update(certificate.publicKey.export({ type: "spki", format: "der" }))
    .digest();
  const other = { usage: 3, selector: 1, matchingType: 1, data: new Uint8Array(32) };
  const right = { ...other, data: new Uint8Array(data) };
  const check = async (name: StaticName, changes: Partial<World> = {}) =>
    ids(
      await checkTlsa(world({ "_25._tcp.mx.d.test": name }, { certificate, ...changes }), {
        clock: new FakeClock(),
      }),
    );
  assert.deepEqual(await check({ tlsa: [other, right] }), ["tlsa ok"]);
  assert.deepEqual(await check({ tlsa: [other] }), ["tlsa.stale failure"]);
  assert.deepEqual(await check({ tlsa: [right] }, { dnssec: true }), ["tlsa.unsigned warning"]);
  assert.deepEqual(await check({ tlsa: [right], authenticated: true }, { dnssec: true }), ["tlsa ok"]);
  assert.deepEqual(await check({ tlsa: [{ ...other, usage: 2 }] }), ["tlsa untested"]);
  assert.deepEqual(await check({}), []);
});

Deno.test("checkTlsa() says what a change of keys has left to publish, and when", async () => {
  const { cert } = await (await createTestAuthority()).issue({ names: ["mx.d.test"] });
  const certificate = new X509Certificate(cert);
  const record = (data: string) => ({
    usage: 3,
    selector: 1,
    matchingType: 1,
    data: Uint8Array.fromHex(data),
  });
  const own = record(
    createHash("sha256").update(certificate.publicKey.export({ type: "spki", format: "der" })).digest("hex"),
  );
  const next = record("ab".repeat(32));
  const tlsa = `3 1 1 ${"ab".repeat(32)}`;
  const clock = new FakeClock();
  const now = clock.now();
  const check = async (published: TlsaRecord[], setup: Partial<KeySetup>) => {
    const names = { "_25._tcp.mx.d.test": { tlsa: published } };
    const findings = await checkTlsa(world(names, { certificate }), { clock, ...setup });
    return findings.map(({ id, what, next = "" }) => `${id}: ${what} → ${next}`).join("\n");
  };
  const authority = { issued: true };
  assert.match(
    await check([own], { authority, nextKey: { tlsa } }),
    /^tlsa\.rollover: .*not published → Publish beside.* _25\._tcp\.mx\.d\.test\. TLSA 3 1 1 abab/,
  );
  assert.match(
    await check([own, next], { authority, nextKey: { tlsa } }),
    /^tlsa\.rollover: .*is published → As root/,
  );
  assert.match(
    await check([own, next], { authority, nextKey: { tlsa, usableFrom: now + 60_000 } }),
    /^tlsa\.rollover: .*until \d{4}-\d\d-\d\d \d\d:\d\d UTC → As root: mailapp certificate rollover, after that\.$/,
  );
  assert.match(
    await check([own, next], { authority, nextKey: { tlsa, usableFrom: now } }),
    /^tlsa\.rollover: .*for long enough.* → As root: mailapp certificate rollover\.$/,
  );
  assert.match(await check([own, next], { authority }), /^tlsa\.leftover: .* → Remove: .* TLSA 3 1 1 abab/);
  assert.match(await check([own, next], {}), /^tlsa: /);
  assert.match(await check([own], { authority }), /^tlsa: /);
});

Deno.test("checkTlsRpt() wants a record that reports can be sent by", async () => {
  const check = async (names: Names) => ids(await checkTlsRpt(world(names)));
  assert.deepEqual(await check({}), []);
  const right = { txt: ["v=TLSRPTv1; rua=https://r.test/x"] };
  assert.deepEqual(await check({ "_smtp._tls.d.test": right }), ["tlsrpt ok"]);
  assert.deepEqual(await check({ "_smtp._tls.d.test": { txt: ["v=TLSRPTv1"] } }), ["tlsrpt.syntax failure"]);
});

Deno.test("checkDns() tells a zone that fails from DNS that is down", async () => {
  const check = async (names: Names) => {
    const { findings, down } = await checkDns({
      resolver: new StaticResolver(names),
      names: ["d.test"],
      foreign: "probe.test",
      servers: "192.0.2.53",
    });
    return [...ids(findings), down];
  };
  const fails: StaticName = { fails: ["*"] };
  assert.deepEqual(await check({}), ["dns ok", false]);
  assert.deepEqual(await check({ "d.test": fails }), ["dns.zone failure", false]);
  assert.deepEqual(await check({ "d.test": fails, "probe.test": fails }), ["dns.down failure", true]);
});
