import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import type { TlsaRecord } from "../dns/resolver.ts";
import { authorityProblem } from "./dane_authority.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const NOW = Date.UTC(2026, 5, 1);
const DAY = 86_400_000;

interface Made {
  readonly keys: CryptoKeyPair;
  readonly subject: string;
  readonly der: Uint8Array;
}

/** A certificate, by an issuer or by itself. */
async function make(
  name: string,
  { issuer, ca = true, names = [], from = NOW - DAY, until = NOW + DAY, keys }: {
    readonly issuer?: Made;
    readonly ca?: boolean;
    readonly names?: readonly string[];
    readonly from?: number;
    readonly until?: number;
    readonly keys?: CryptoKeyPair;
  } = {},
): Promise<Made> {
  const own = keys ?? await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const subject = `CN=${name}`;
  const certificate = await x509.X509CertificateGenerator.create({
    subject,
    issuer: issuer?.subject ?? subject,
    notBefore: new Date(from),
    notAfter: new Date(until),
    publicKey: own.publicKey,
    signingKey: (issuer?.keys ?? own).privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(ca, undefined, true),
      ...(names.length === 0 ? [] : [
        new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns" as const, value }))),
      ]),
    ],
  });
  return { keys: own, subject, der: new Uint8Array(certificate.rawData) };
}

function record({ der }: Made, selector = 1, matchingType = 1, usage = 2): TlsaRecord {
  const whole = selector === 0
    ? der
    : new Uint8Array(new X509Certificate(der).publicKey.export({ type: "spki", format: "der" }));
  const data = matchingType === 0
    ? whole
    : new Uint8Array(createHash(matchingType === 1 ? "sha256" : "sha512").update(whole).digest());
  return { usage, selector, matchingType, data };
}

const root = await make("root");
const middle = await make("middle", { issuer: root });
const leaf = await make("mx.test", { issuer: middle, ca: false, names: ["MX.test", "*.wild.test"] });

function problem(
  chain: readonly Made[],
  records: readonly TlsaRecord[],
  { names = ["mx.test"], now = NOW } = {},
): string | undefined {
  return authorityProblem(chain.map(({ der }) => der), { records, names, now });
}

Deno.test("authorityProblem() finds the way to an authority by any record, in any order of the chain", () => {
  for (const authority of [root, middle]) {
    for (const selector of [0, 1]) {
      for (const type of [0, 1, 2]) {
        assert.equal(problem([leaf, middle, root], [record(authority, selector, type)]), undefined);
        assert.equal(problem([leaf, root, middle], [record(authority, selector, type)]), undefined);
      }
    }
  }
});

Deno.test("authorityProblem() does without an authority in the chain that stands in DNS as a whole", () => {
  for (const selector of [0, 1]) {
    assert.equal(problem([leaf], [record(middle, selector, 0)]), undefined);
    assert.equal(problem([leaf, middle], [record(root, selector, 0)]), undefined);
    assert.equal(problem([leaf], [record(root, selector, 0)]), "certificate-not-trusted");
  }
  assert.equal(problem([leaf], [record(middle)]), "certificate-not-trusted");
});

Deno.test("authorityProblem() trusts no chain that does not lead to what is named", async () => {
  const other = await make("root");
  assert.equal(problem([leaf, middle, root], [record(other)]), "certificate-not-trusted");
  // The named authority is there, and has signed nothing of it.
  assert.equal(problem([leaf, middle, other], [record(other)]), "certificate-not-trusted");
  assert.equal(problem([leaf, middle, root], [record(leaf)]), "certificate-not-trusted");
  assert.equal(problem([leaf, middle, root], [record(root, 1, 1, 3)]), "certificate-not-trusted");
  assert.equal(problem([], [record(root)]), "certificate-not-trusted");
  assert.equal(
    authorityProblem([new Uint8Array([1, 2, 3])], { records: [record(root)], names: ["mx.test"], now: NOW }),
    "certificate-not-trusted",
  );
  const none = await make("plain", { issuer: root, ca: false });
  const below = await make("mx.test", { issuer: none, ca: false, names: ["mx.test"] });
  assert.equal(problem([below, none, root], [record(root)]), "certificate-not-trusted");
});

Deno.test("authorityProblem() passes over what cannot be read of a chain, but for the server's own certificate", async () => {
  const check = { records: [record(root)], names: ["mx.test"], now: NOW };
  const bystander = (await make("bystander", { issuer: root })).der;
  const unreadable: Uint8Array[] = [new Uint8Array(), new Uint8Array([1, 2, 3]), bystander.subarray(0, 100)];
  for (const [at, octet] of bystander.entries()) unreadable.push(bystander.with(at, octet ^ 0x55));
  for (const der of unreadable) {
    for (const chain of [[leaf.der, der, middle.der, root.der], [leaf.der, middle.der, root.der, der]]) {
      assert.equal(authorityProblem(chain, check), undefined);
    }
    assert.equal(authorityProblem([der, middle.der, root.der], check) === undefined, false);
  }
});

Deno.test("authorityProblem() heeds the dates of all that leads there", async () => {
  const old = await make("mx.test", { issuer: middle, ca: false, names: ["mx.test"], until: NOW - 1 });
  assert.equal(problem([old, middle, root], [record(root)]), "certificate-expired");
  const gone = await make("middle", { issuer: root, until: NOW - 1, keys: middle.keys });
  assert.equal(problem([leaf, gone, root], [record(root)]), "certificate-expired");
  assert.equal(problem([leaf, gone, middle, root], [record(root)]), undefined);
  assert.equal(problem([leaf, middle, root], [record(root)], { now: NOW - 2 * DAY }), "certificate-expired");
});

Deno.test("authorityProblem() compares names, one of which is enough", async () => {
  const named = (names: string[]) => problem([leaf, middle, root], [record(root)], { names });
  assert.equal(named(["other.test", "mx.test"]), undefined);
  assert.equal(named(["a.wild.test"]), undefined);
  for (const name of ["wild.test", "a.b.wild.test", "x.mx.test", "test"]) {
    assert.equal(named([name]), "certificate-host-mismatch", name);
  }
  // The common name counts where there is no other (RFC 7672 §3.2.2), and only there.
  const bare = await make("mx.test", { issuer: root, ca: false });
  assert.equal(problem([bare, root], [record(root)]), undefined);
  const both = await make("mx.test", { issuer: root, ca: false, names: ["other.test"] });
  assert.equal(problem([both, root], [record(root)]), "certificate-host-mismatch");
});
