import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { RsaVerifier } from "./rsa_verify.ts";

const ALGORITHM = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
const DATA = Buffer.from("what was signed");

interface Pair {
  readonly secret: KeyObject;
  readonly modulus: Buffer;
  readonly verifier: RsaVerifier;
  /** What the platform says. */
  platform(signature: Uint8Array, data: Uint8Array): Promise<boolean>;
}

async function makePair(bits: number): Promise<Pair> {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: bits });
  const { n = "" } = publicKey.export({ format: "jwk" });
  const key = await crypto.subtle.importKey("jwk", { kty: "RSA", n, e: "AQAB" }, ALGORITHM, false, [
    "verify",
  ]);
  const modulus = Buffer.from(n, "base64url");
  return {
    secret: privateKey,
    modulus,
    verifier: new RsaVerifier(modulus),
    platform: (signature, data) =>
      crypto.subtle.verify(ALGORITHM, key, Uint8Array.from(signature), Uint8Array.from(data)),
  };
}

const PAIRS = [await makePair(1024), await makePair(1536), await makePair(2048)];

Deno.test("RsaVerifier verifies what the platform signs, and nothing else", async () => {
  for (const { secret, modulus, verifier, platform } of PAIRS) {
    for (let length = 0; length < 200; length += 67) {
      const data = Buffer.alloc(length, "x");
      const signature = sign("sha256", data, secret);
      assert.equal(verifier.verify(signature, data), true);
      assert.equal(verifier.verify(signature, Buffer.concat([data, DATA])), false);
    }
    const signature = sign("sha256", DATA, secret);
    const others: Record<string, Uint8Array> = {
      "of another hash": sign("sha512", DATA, secret),
      "none": new Uint8Array(0),
      "zero": new Uint8Array(modulus.length),
      "one": Uint8Array.from(modulus, (_, at) => at === modulus.length - 1 ? 1 : 0),
      "the modulus": modulus,
      "all ones": modulus.map(() => 0xff),
      "too short": signature.subarray(1),
      "too long": Buffer.concat([signature, Buffer.alloc(1)]),
      "with a zero before it": Buffer.concat([Buffer.alloc(1), signature]),
      "and the modulus": numberOf(
        BigInt(`0x${signature.toString("hex")}`) + BigInt(`0x${modulus.toString("hex")}`),
      ),
    };
    for (let bit = 0; bit < 8 * signature.length; bit += 61) {
      const broken = Buffer.from(signature);
      broken[bit >> 3] = (broken[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      others[`bit ${bit}`] = broken;
    }
    for (const [what, other] of Object.entries(others)) {
      assert.equal(verifier.verify(other, DATA), false, what);
      assert.equal(await platform(other, DATA), false, what);
    }
  }
});

Deno.test("RsaVerifier takes no encoded message but the one of RFC 8017 §9.2", () => {
  const hash = createHash("sha256").update(DATA).digest("hex");
  const info = `3031300d060960864801650304020105000420${hash}`;
  for (const { secret, modulus, verifier } of PAIRS) {
    const digits = 2 * modulus.length;
    const encoded = (tail: string, { head = "0001", filling = "f" } = {}) =>
      head + filling.repeat(digits - head.length - tail.length) + tail;
    const verifies = (message: string) =>
      verifier.verify(signRaw(secret, { message, octets: modulus.length }), DATA);
    assert.ok(verifies(encoded(`00${info}`)));
    const messages: Readonly<Record<string, string>> = {
      // Bleichenbacher's forgery of 2006: little padding, and anything after the hash.
      "garbage after the hash": `0001ffffffffffffffff00${info}`.padEnd(digits, "1"),
      "parameters left out": encoded(`00302f300b06096086480165030402010420${hash}`),
      "a length in two octets": encoded(`00308131${info.slice(4)}`),
      "block type 2": encoded(`00${info}`, { head: "0002" }),
      "other padding": encoded(`00${info}`, { filling: "e" }),
      "the hash alone": encoded(`00${hash}`),
      "no end of the padding": encoded(info),
      "another hash": encoded(`00${info.slice(0, -1)}${info.endsWith("0") ? "1" : "0"}`),
    };
    for (const [what, message] of Object.entries(messages)) assert.equal(verifies(message), false, what);
  }
});

/** The signature whose encoded message, in hexadecimal, is this. */
function signRaw(
  secret: KeyObject,
  { message, octets }: { readonly message: string; readonly octets: number },
): Buffer {
  const { n = "", d = "" } = secret.export({ format: "jwk" });
  const [modulus, exponent] = [n, d].map((text) =>
    BigInt(`0x${Buffer.from(text, "base64url").toString("hex")}`)
  );
  assert.ok(modulus !== undefined && exponent !== undefined);
  let [power, square] = [1n, BigInt(`0x${message}`)];
  for (let bits = exponent; bits > 0n; bits >>= 1n) {
    if ((bits & 1n) === 1n) power = power * square % modulus;
    square = square * square % modulus;
  }
  return Buffer.from(power.toString(16).padStart(2 * octets, "0"), "hex");
}

function numberOf(number: bigint): Buffer {
  const digits = number.toString(16);
  return Buffer.from(digits.padStart(digits.length + digits.length % 2, "0"), "hex");
}
