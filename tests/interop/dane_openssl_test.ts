// OpenSSL as the server that serve-out delivers to by DANE, and as a second opinion: each certificate and each set of
// TLSA records is held against its own verification, too.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash, X509Certificate } from "node:crypto";
import { Dialogue } from "../support/dialogue.ts";
import { AA, AD, FakeDns, RA } from "../support/fake_dns.ts";
import { RunningMailapp, Workspace } from "../support/mailapp.ts";
import { type OpensslHost, startOpensslHost } from "../support/peers/openssl_host.ts";
import { freePort } from "../support/peers/ports.ts";
import { run } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { createTestAuthority } from "../support/test_authority.ts";

/** Usage, selector, matching type, and what it is about. */
type Record = readonly [usage: number, selector: number, type: number, of: "own" | "authority" | "other"];

interface Case {
  readonly records: readonly Record[];
  /** The certificate: for the host's name and valid, unless said. */
  readonly shown?: "elsewhere" | "expired";
  /** Whether the authority's certificate is not sent along. */
  readonly alone?: true;
  /** The error; absent: it is delivered. */
  readonly error?: RegExp;
}

const NOT_NAMED = /the certificate is not the one that DNSSEC names/;

const every = (usage: number, of: "own" | "authority"): readonly (readonly [label: string, one: Case])[] =>
  [0, 1].flatMap((selector) =>
    [0, 1, 2].map((type) =>
      [`usage-${usage}-${selector}-${type}`, { records: [[usage, selector, type, of]] }] as const
    )
  );

const CASES = Object.entries<Case>({
  ...Object.fromEntries([...every(3, "own"), ...every(2, "authority")]),
  "wrong-key": { records: [[3, 1, 1, "other"]], error: NOT_NAMED },
  "wrong-certificate": { records: [[3, 0, 1, "other"]], error: NOT_NAMED },
  "wrong-authority": { records: [[2, 1, 1, "other"]], error: /not come from an authority that is named/ },
  "rollover": { records: [[3, 1, 1, "other"], [3, 1, 1, "own"]] },
  // Neither name nor dates matter (RFC 7672 §3.1.1).
  "key-elsewhere": { records: [[3, 1, 1, "own"]], shown: "elsewhere" },
  "key-expired": { records: [[3, 1, 1, "own"]], shown: "expired" },
  // Both do under an authority (§3.1.2).
  "authority-elsewhere": { records: [[2, 1, 1, "authority"]], shown: "elsewhere", error: /for another name/ },
  "authority-expired": {
    records: [[2, 1, 1, "authority"]],
    shown: "expired",
    error: /not valid at this time/,
  },
  // A digest of what is not sent proves nothing; what stands in DNS as a whole need not be sent (RFC 7671 §5.2).
  "not-sent": { records: [[2, 0, 1, "authority"]], alone: true, error: /not come from an authority/ },
  "in-dns": { records: [[2, 0, 0, "authority"]], alone: true },
  "key-in-dns": { records: [[2, 1, 0, "authority"]], alone: true },
});

const DAY = 86_400_000;

testWith(["openssl"], "serve-out delivers to OpenSSL by DANE where OpenSSL would, too", async (t) => {
  await using stack = new AsyncDisposableStack();
  const authority = await createTestAuthority();
  const stranger = await createTestAuthority("another authority");
  const names = CASES.map(([label]) => `mx.${label}.test`);
  const shown = {
    "own": await authority.issue({ names }),
    "elsewhere": await authority.issue({ names: ["mx.elsewhere.test"] }),
    "expired": await authority.issue({
      names,
      notBefore: new Date(Date.now() - 3 * DAY),
      notAfter: new Date(Date.now() - DAY),
    }),
  };
  const dataOf = ([, selector, type, of]: Record, leaf: string) => {
    const pem = { own: leaf, authority: authority.cert, other: stranger.cert }[of];
    const certificate = new X509Certificate(pem);
    const part = selector === 0
      ? certificate.raw
      : certificate.publicKey.export({ type: "spki", format: "der" });
    return type === 0 ? part : createHash(type === 1 ? "sha256" : "sha512").update(part).digest();
  };
  const port = freePort();
  const flags = AA | AD | RA;
  const zone: FakeDns["zone"] = {};
  const hosts: OpensslHost[] = [];
  for (const [index, [label, { records, alone, ...one }]] of CASES.entries()) {
    const { cert, key } = shown[one.shown ?? "own"];
    const address = `127.0.3.${index + 1}`;
    const chain = alone ? {} : { chain: authority.cert };
    hosts.push(stack.use(await startOpensslHost({ address, port, cert, key, ...chain })));
    const [domain, host] = [`${label}.test`, `mx.${label}.test`];
    const name = `_${port}._tcp.${host}`;
    const exchange = { name: domain, type: "MX", ttl: 60, data: { preference: 10, exchange: host } };
    zone[`${domain} MX`] = { flags, answers: [exchange] };
    zone[`${host} A`] = { flags, answers: [{ name: host, type: "A", ttl: 60, data: address }] };
    zone[`${name} TLSA`] = {
      flags,
      answers: records.map((record) => {
        const [usage, selector, matchingType] = record;
        const certificate = Buffer.from(dataOf(record, cert));
        return { name, type: "TLSA", ttl: 60, data: { usage, selector, matchingType, certificate } };
      }),
    };
  }
  const dns = stack.use(await FakeDns.start(zone));
  const workspace = stack.use(await Workspace.create());
  const listen = freePort();
  const config = await workspace.configure({
    "": { hostname: "out.client.test", data_dir: workspace.file("state") },
    dns: { servers: [dns.server], dnssec: true },
    "serve-in": {},
    "serve-out": {
      ...{ listen: ["127.0.0.1"], port: listen, smtp_port: port },
      ...{ allow_private_targets: true, min_free_space: 0 },
    },
  });
  const server = stack.use(new RunningMailapp(["serve-out", "--config", config]));
  await server.event("server.ready");
  using dialogue = await Dialogue.connect(listen);
  await dialogue.hear();
  await dialogue.say("EHLO client.test");
  await dialogue.say("MAIL FROM:<a@client.test>");
  for (const [label] of CASES) assert.match(await dialogue.say(`RCPT TO:<x@${label}.test>`), /^250 /);
  await dialogue.say("DATA");
  assert.match(await dialogue.say("Subject: x\r\n\r\nHello\r\n."), /^250 /);
  for (const [index, [label, { records, error, ...one }]] of CASES.entries()) {
    await t.step(`${label}: ${error ? "not delivered" : "delivered"}`, async () => {
      const recipient = `x@${label}.test`;
      const event = await server.event(error ? "attempt.deferred" : "attempt.relayed", {
        where: { recipient },
      });
      assert.equal(event["policy"], "dane");
      if (error === undefined) assert.equal(event["tls"], "dane");
      else assert.match(String(event["error"]), error);
      assert.deepEqual(hosts[index]?.taken, error ? [] : [recipient]);
      const { cert } = shown[one.shown ?? "own"];
      const { stdout, stderr } = await run("openssl", {
        args: [
          ...["s_client", "-starttls", "smtp", "-connect", `127.0.3.${index + 1}:${port}`, "-brief"],
          ...["-dane_tlsa_domain", `mx.${label}.test`, "-dane_ee_no_namechecks", "-verify_return_error"],
          ...records.flatMap((record) => [
            "-dane_tlsa_rrdata",
            `${record.slice(0, 3).join(" ")} ${Buffer.from(dataOf(record, cert)).toString("hex")}`,
          ]),
        ],
        stdin: "QUIT\r\n",
      });
      assert.equal(/^Verification: OK$/m.test(stdout + stderr), error === undefined, stdout + stderr);
    });
  }
  assert.equal(await server.stop(), 0);
});
