import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { generateKeyPairSync } from "node:crypto";
import { fc } from "../tests/support/property.ts";
import { bitLength, readRsaKey } from "./rsa_key.ts";

const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
const FORMS = (["spki", "pkcs1"] as const).map((type) => publicKey.export({ type, format: "der" }));

Deno.test("readRsaKey() reads both forms", () => {
  const { n = "", e = "" } = publicKey.export({ format: "jwk" });
  for (const der of FORMS) {
    const key = readRsaKey(der);
    assert.equal(key?.modulus.toString("base64url"), n);
    assert.equal(key?.exponent.toString("base64url"), e);
    assert.equal(bitLength(key.modulus), 1024);
  }
});

Deno.test("readRsaKey() refuses what is not an RSA key, or has more after it", () => {
  const { publicKey: other } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { publicKey: ed } = generateKeyPairSync("ed25519");
  for (
    const der of [
      Buffer.alloc(0),
      Buffer.of(0x30),
      Buffer.of(0x30, 0x80),
      Buffer.of(0x30, 0x84, 0, 0, 0, 0),
      Buffer.of(0x30, 0),
      other.export({ type: "spki", format: "der" }),
      ed.export({ type: "spki", format: "der" }),
      ...FORMS.flatMap((form) => [Buffer.concat([form, Buffer.of(5, 0)]), form.subarray(0, form.length - 1)]),
    ]
  ) assert.equal(readRsaKey(der), undefined, der.toString("hex"));
});

Deno.test("readRsaKey() survives any bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    readRsaKey(Buffer.from(bytes));
  }));
  fc.assert(fc.property(fc.constantFrom(...FORMS), fc.nat(160), fc.nat(255), (form, at, byte) => {
    const changed = Buffer.from(form);
    changed[at % changed.length] = byte;
    readRsaKey(changed);
  }));
});

Deno.test("bitLength() counts bits", () => {
  const cases: readonly (readonly [number[], number])[] = [[[], 0], [[1], 1], [[0x80], 8], [[1, 0], 9], [[
    0xff,
    0,
  ], 16]];
  for (const [bytes, bits] of cases) assert.equal(bitLength(Buffer.from(bytes)), bits);
});
