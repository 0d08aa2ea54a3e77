import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import type { TlsaRecord } from "../dns/resolver.ts";
import { type StaticName, StaticResolver } from "../tests/support/static_resolver.ts";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { daneNeed, matchesTlsa } from "./dane.ts";

const record = (more: Partial<TlsaRecord> = {}): TlsaRecord => ({
  usage: 3,
  selector: 1,
  matchingType: 1,
  data: new Uint8Array(32),
  ...more,
});

async function need(
  records: readonly TlsaRecord[] | "fails",
  more: { authenticated?: boolean; signed?: boolean; host?: string } = {},
) {
  const { authenticated = true, signed = true, host = "mx.test" } = more;
  const name = records === "fails" ? { fails: ["tlsa" as const] } : { tlsa: records, authenticated: signed };
  const resolver = new StaticResolver({ [`_25._tcp.${host}`]: name });
  return await daneNeed({ host, port: 25, authenticated }, { resolver });
}

Deno.test("daneNeed() tells records, no records, and what cannot be told", async () => {
  assert.deepEqual(await need([record(), record({ usage: 1 })]), {
    kind: "records",
    records: [record()],
    baseDomain: "mx.test",
  });
  assert.equal((await need([])).kind, "none");
  assert.equal((await need([record()], { signed: false })).kind, "none");
  assert.equal((await need([record()], { authenticated: false })).kind, "none");
  assert.equal((await need([record()], { host: "192.0.2.1" })).kind, "none");
  assert.equal(
    (await need([record({ usage: 0 }), record({ usage: 1 }), record({ matchingType: 9 })])).kind,
    "encrypt",
  );
  assert.equal((await need("fails")).kind, "unknown");
});

Deno.test("daneNeed() takes a malformed record for one that cannot be used (RFC 7672 §2.2)", async () => {
  const { cert } = await (await createTestAuthority()).issue({ names: ["mx.test"] });
  const { raw, publicKey } = new X509Certificate(cert);
  const key = publicKey.export({ type: "spki", format: "der" });
  const octets = (length: number) => new Uint8Array(length);
  const malformed: Partial<TlsaRecord>[] = [
    ...[0, 20, 31, 33, 64].map((length) => ({ matchingType: 1, data: octets(length) })),
    ...[0, 20, 32, 63, 65].map((length) => ({ matchingType: 2, data: octets(length) })),
    { matchingType: 3, data: octets(32) },
    { selector: 2 },
    { selector: 255 },
    { selector: 0, matchingType: 0, data: octets(0) },
    { selector: 0, matchingType: 0, data: new Uint8Array(raw.subarray(0, 100)) },
    { selector: 0, matchingType: 0, data: new Uint8Array(key) },
    { selector: 1, matchingType: 0, data: octets(32) },
    { selector: 1, matchingType: 0, data: new Uint8Array(key.subarray(1)) },
  ];
  for (const one of malformed) {
    assert.equal((await need([record(one)])).kind, "encrypt", JSON.stringify(one));
    const beside = await need([record(one), record()]);
    assert.deepEqual(beside.kind === "records" && beside.records, [record()]);
  }
  const good: Partial<TlsaRecord>[] = [
    { matchingType: 2, data: octets(64) },
    { selector: 0 },
    { selector: 0, matchingType: 0, data: new Uint8Array(raw) },
    { selector: 1, matchingType: 0, data: new Uint8Array(key) },
  ];
  for (const one of good) assert.equal((await need([record(one)])).kind, "records", JSON.stringify(one));
});

Deno.test("daneNeed() looks where the aliases end, and only then at the host's own name", async () => {
  const signed = { tlsa: [record()], authenticated: true };
  const own = { "_25._tcp.mx.test": signed };
  const given = async (names: Record<string, StaticName>) => {
    const resolver = new StaticResolver(names);
    const host = { host: "mx.test", expanded: "end.test", port: 25, authenticated: true };
    const found = await daneNeed(host, { resolver });
    return [
      found.kind === "records" ? found.baseDomain : found.kind,
      ...resolver.asked.map((question) => question.replace("tlsa _25._tcp.", "")),
    ];
  };
  assert.deepEqual(await given({ ...own, "_25._tcp.end.test": signed }), ["end.test", "end.test"]);
  assert.deepEqual(await given(own), ["mx.test", "end.test", "mx.test"]);
  assert.deepEqual(await given({ ...own, "_25._tcp.end.test": { tlsa: [record()] } }), [
    "mx.test",
    "end.test",
    "mx.test",
  ]);
  const unusable = { tlsa: [record({ usage: 1 })], authenticated: true };
  assert.deepEqual(await given({ ...own, "_25._tcp.end.test": unusable }), ["encrypt", "end.test"]);
  assert.deepEqual(await given({ ...own, "_25._tcp.end.test": { fails: ["tlsa"] } }), [
    "unknown",
    "end.test",
  ]);
  assert.deepEqual(await given({}), ["none", "end.test", "mx.test"]);
});

Deno.test("matchesTlsa() compares certificate or public key, whole or hashed", async () => {
  const authority = await createTestAuthority();
  const leaf = new X509Certificate((await authority.issue({ names: ["mx.test"] })).cert);
  const other = new X509Certificate((await authority.issue({ names: ["mx.test"] })).cert);
  const parts = (certificate: X509Certificate) =>
    [certificate.raw, certificate.publicKey.export({ type: "spki", format: "der" })].map((part) => [
      part,
      createHash("sha256").update(part).digest(),
      createHash("sha512").update(part).digest(),
    ]);
  const certificate = new Uint8Array(leaf.raw);
  for (const selector of [0, 1]) {
    for (const matchingType of [0, 1, 2]) {
      const right = parts(leaf)[selector]?.[matchingType] ?? new Uint8Array();
      const wrong = parts(other)[selector]?.[matchingType] ?? new Uint8Array();
      const name = `${selector} ${matchingType}`;
      assert.equal(matchesTlsa(certificate, record({ selector, matchingType, data: right })), true, name);
      assert.equal(matchesTlsa(certificate, record({ selector, matchingType, data: wrong })), false, name);
      assert.equal(
        matchesTlsa(certificate, record({ selector, matchingType, data: right.subarray(1) })),
        false,
        name,
      );
    }
  }
  assert.equal(matchesTlsa(new Uint8Array(10), record()), false);
});
