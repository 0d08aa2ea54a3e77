import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { constants, generateKeyPairSync, sign } from "node:crypto";
import { readPublicKey } from "./public_key.ts";

/** A DER element. */
function element(tag: number, value: Buffer): Buffer {
  const { length } = value;
  const head = length < 128 ? [tag, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), value]);
}

function integer(number: bigint): Buffer {
  const digits = number.toString(16);
  return element(2, Buffer.from(digits.padStart(digits.length + 2 - digits.length % 2, "0"), "hex"));
}

/** The record of a key of these numbers. */
function recordOf(modulus: bigint, exponent: bigint): string {
  return `v=DKIM1; p=${
    element(0x30, Buffer.concat([integer(modulus), integer(exponent)])).toString("base64")
  }`;
}

const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const { n = "" } = publicKey.export({ format: "jwk" });
const MODULUS = BigInt(`0x${Buffer.from(n, "base64url").toString("hex")}`);
const DATA = Uint8Array.from(Buffer.from("from:a@b.example\r\n".repeat(2000)));

Deno.test("readPublicKey() refuses RSA keys that are none: even, or with an exponent out of range", async () => {
  const small: readonly bigint[] = [0n, 1n, 2n, 65536n, (1n << 33n) - 2n];
  const large: readonly bigint[] = [(1n << 33n) + 1n, (1n << 63n) + 1n, (1n << 2047n) + 1n, MODULUS];
  for (const exponent of [...small, ...large]) {
    assert.equal(
      await readPublicKey(recordOf(MODULUS, exponent), "rsa-sha256"),
      "key syntax error",
      `e = ${exponent}`,
    );
  }
  for (const modulus of [MODULUS - 1n, 1n << 2047n, (1n << 2048n) - 2n]) {
    assert.equal(await readPublicKey(recordOf(modulus, 65537n), "rsa-sha256"), "key syntax error");
  }
});

Deno.test("readPublicKey() gives keys that verify or do not, and never throw, with any signature", async () => {
  const right = sign("sha256", DATA, { key: privateKey, padding: constants.RSA_PKCS1_PADDING });
  const keys: readonly (readonly [string, "rsa-sha256" | "ed25519-sha256"])[] = [
    [recordOf(MODULUS, 65537n), "rsa-sha256"],
    [recordOf(MODULUS, 3n), "rsa-sha256"],
    [recordOf(MODULUS, (1n << 33n) - 1n), "rsa-sha256"],
    // A prime power, and a number with small factors: no key of anybody's, but numbers like others.
    [recordOf(3n ** 1292n, 65537n), "rsa-sha256"],
    [recordOf((1n << 4096n) - 1n, 65537n), "rsa-sha256"],
    ...[0, 1, 0x7f, 0xff].map((byte) =>
      [`v=DKIM1; k=ed25519; p=${Buffer.alloc(32, byte).toString("base64")}`, "ed25519-sha256"] as const
    ),
  ];
  const signatures = [
    ...[0, 1, 63, 64, 65, 255, 256, 257, 512, 4096].flatMap((length) => [
      Buffer.alloc(length),
      Buffer.alloc(length, 0xff),
    ]),
    right,
  ];
  for (const [record, algorithm] of keys) {
    const key = await readPublicKey(record, algorithm);
    assert.ok(typeof key !== "string", `${record}: ${key}`);
    for (const signature of signatures) {
      const expected = record === recordOf(MODULUS, 65537n) && signature === right;
      // More octets are verified elsewhere.
      assert.equal(await key.verify(signature, DATA), expected);
      assert.equal(await key.verify(signature, DATA.subarray(0, 18)), false);
    }
  }
});
