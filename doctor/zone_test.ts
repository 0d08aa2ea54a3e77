import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { reverseRecords, zoneFile, zoneTable } from "./zone_file.ts";
import { type ZonePlan, zoneSections } from "./zone.ts";

const PLAN: ZonePlan = {
  hostname: "mx.example.com",
  domains: ["example.com"],
  addresses: ["192.0.2.1", "2001:db8::1"],
  sending: ["192.0.2.1", "2001:db8::1"],
  dkim: [{ domain: "example.com", recordName: "s._domainkey.example.com", record: "v=DKIM1; p=QUJD" }],
};

const records = (plan: Partial<ZonePlan> = {}) =>
  zoneSections({ ...PLAN, ...plan }).flatMap(({ records }) =>
    records.map(({ name, type, data }) => `${name} ${type} ${data}`)
  );

Deno.test("zoneSections() names all that a server and its domains need", () => {
  assert.deepEqual(records(), [
    "mx.example.com A 192.0.2.1",
    "mx.example.com AAAA 2001:db8::1",
    "mx.example.com TXT v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all",
    "example.com MX 10 mx.example.com.",
    "example.com TXT v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 ~all",
    "s._domainkey.example.com TXT v=DKIM1; p=QUJD",
    "_dmarc.example.com TXT v=DMARC1; p=none",
    "_smtp._tls.example.com TXT v=TLSRPTv1; rua=mailto:postmaster@example.com",
  ]);
});

Deno.test("zoneSections() gives a name that is server and domain one SPF record", () => {
  const spf = records({ hostname: "example.com" }).filter((record) => record.includes("v=spf1"));
  assert.deepEqual(spf, ["example.com TXT v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 ~all"]);
});

Deno.test("zoneSections() has SRV records for mail programs where they may send (RFC 6186, 8314)", () => {
  const services = (submission: ZonePlan["submission"]) =>
    records(submission && { submission }).filter((record) => record.includes(" SRV "));
  assert.deepEqual(services(undefined), []);
  assert.deepEqual(services({ tlsPort: 465, port: 587 }), [
    "_submissions._tcp.example.com SRV 0 1 465 mx.example.com.",
    "_submission._tcp.example.com SRV 10 1 587 mx.example.com.",
    "_imaps._tcp.example.com SRV 0 1 993 mx.example.com.",
  ]);
  assert.equal(services({ tlsPort: 465, port: false })[1], "_submission._tcp.example.com SRV 0 0 0 .");
  const sections = zoneSections({ ...PLAN, submission: { tlsPort: 4465, port: false } });
  const table = zoneTable(sections, { reverse: [] });
  assert.match(
    table,
    / {2}type {6}SRV\n {2}name {6}_submissions\S+\n {2}priority {2}0\n {2}weight {4}1\n {2}port {6}4465\n {2}target {4}mx\.example\.com\n\n/,
  );
  assert.match(table, / {2}port {6}0\n {2}target {4}\.\n/);
});

Deno.test("zoneSections() has the record of the MTA-STS policy, and where its host is", () => {
  const sts = (policy: ZonePlan["policy"]) =>
    records(policy && { policy }).filter((record) => record.includes("mta-sts"));
  const record = "v=STSv1; id=abc;";
  const txt = "_mta-sts.example.com TXT v=STSv1; id=abc;";
  assert.deepEqual(sts(undefined), []);
  assert.deepEqual(sts({ record }), [txt]);
  assert.deepEqual(sts({ record, host: { name: "mx.example.com" } }), [
    "mta-sts.example.com CNAME mx.example.com.",
    txt,
  ]);
  assert.deepEqual(sts({ record, host: { addresses: ["192.0.2.2", "2001:db8::2"] } }), [
    "mta-sts.example.com A 192.0.2.2",
    "mta-sts.example.com AAAA 2001:db8::2",
    txt,
  ]);
  // A web server must have the policy first.
  const notes = zoneSections({ ...PLAN, policy: { record } })[1]?.notes.join() ?? "";
  assert.match(notes, /\n {2}https:\/\/mta-sts\.example\.com\/\.well-known\/mta-sts\.txt/);
  const sections = zoneSections({ ...PLAN, policy: { record, host: { name: "mx.example.com" } } });
  assert.match(zoneTable(sections, { reverse: [] }), /type {6}CNAME\n.*\n {2}value {5}mx\.example\.com\n/);
});

Deno.test("zoneSections() has the TLSA record of the key of now, and of the next one once that is made", async () => {
  const authority = await createTestAuthority();
  const [now, next] = [
    await authority.issue({ names: ["mx.example.com"] }),
    await authority.issue({ names: ["mx.example.com"] }),
  ].map(({ cert }) => new X509Certificate(cert));
  assert.ok(now && next);
  const tlsa = (plan: Partial<ZonePlan>) => records(plan).filter((record) => record.includes(" TLSA "));
  const of = ({ publicKey }: X509Certificate) =>
    `_25._tcp.mx.example.com TLSA 3 1 1 ${
      createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("hex")
    }`;
  assert.deepEqual(tlsa({ certificate: now }), [of(now)]);
  assert.deepEqual(tlsa({ certificate: now, nextKey: next.publicKey }), [of(now), of(next)]);
});

Deno.test("zoneSections() names the host in SPF behind NAT, and says what to replace", () => {
  const plan = { ...PLAN, addresses: ["10.0.0.5"], sending: ["10.0.0.5"] };
  assert.ok(records(plan).includes("example.com TXT v=spf1 a:mx.example.com ~all"));
  assert.match(zoneSections(plan)[0]?.notes.join() ?? "", /10\.0\.0\.5 cannot be reached .* NAT/);
});

Deno.test("zoneSections() leaves SPF open for the smarthost's", () => {
  const sections = zoneSections({ ...PLAN, sending: [], smarthost: "smtp.provider.test" });
  assert.match(sections[1]?.notes.join() ?? "", /smtp\.provider\.test. Add the include:/);
  assert.equal(sections[1]?.records[1]?.data, "v=spf1 mx ~all");
});

Deno.test("zoneSections() has the keys of domains that it only sends for", () => {
  const sections = zoneSections({ ...PLAN, domains: [] });
  assert.deepEqual(sections.map(({ name }) => name), ["mx.example.com", "example.com"]);
  assert.deepEqual(sections[1]?.records.map(({ type }) => type), ["TXT"]);
});

Deno.test("zoneFile() cuts long texts, gives one SOA to nested domains, and keeps reverse names as comments", () => {
  const long = `v=DKIM1; p=${"A".repeat(400)}`;
  const sections = zoneSections({
    ...PLAN,
    dkim: [{ domain: "example.com", recordName: "s._domainkey.example.com", record: long }],
  });
  const text = zoneFile(sections, {
    hostname: "mx.example.com",
    domains: ["example.com", "sub.example.com"],
    date: "2026-11-24T00:00:00.000Z",
    reverse: reverseRecords(["192.0.2.1"], "mx.example.com"),
  });
  assert.equal(text.match(/ IN SOA /g)?.length, 1);
  assert.match(text, /^example\.com\. IN SOA mx\.example\.com\. hostmaster\.example\.com\. 2026112401 /m);
  assert.match(
    text,
    /^; 192\.0\.2\.1 is mx\.example\.com \(1\.2\.0\.192\.in-addr\.arpa\. PTR mx\.example\.com\.\)$/m,
  );
  const strings = [...text.matchAll(/"([^"]*)"/g)].map(([, string = ""]) => string);
  assert.ok(strings.every((string) => string.length <= 255));
  assert.ok(strings.join("").includes(long));
});

Deno.test("zoneTable() shows values whole, and the priority by itself", () => {
  const table = zoneTable(zoneSections(PLAN), { reverse: reverseRecords(["192.0.2.1"], "mx.example.com") });
  assert.match(
    table,
    /type {6}MX\n {2}name {6}example\.com\n {2}priority {2}10\n {2}value {5}mx\.example\.com\n/,
  );
  assert.match(table, /value {5}v=DKIM1; p=QUJD\n/);
  assert.match(table, /192\.0\.2\.1 {2}mx\.example\.com\n$/);
});
