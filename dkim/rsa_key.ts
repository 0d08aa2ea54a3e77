/**
 * RSA public keys in DER, in the two forms that are published (RFC 6376 §3.6.1, RFC 8017 appendix A.1.1, RFC 5280 §4.1).
 *
 * @module
 */
import { Buffer } from "node:buffer";

const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OBJECT_IDENTIFIER = 0x06;
const SEQUENCE = 0x30;
const RSA_ENCRYPTION = Buffer.from("2a864886f70d010101", "hex");

/** The two numbers of a key, without leading zeros. */
export interface RsaNumbers {
  /** n. */
  readonly modulus: Buffer;
  /** e. */
  readonly exponent: Buffer;
}

/** The numbers in a SubjectPublicKeyInfo, or in a bare RSAPublicKey; `undefined` where it is neither. */
export function readRsaKey(der: Buffer): RsaNumbers | undefined {
  const [outer, ...rest] = elements(der) ?? [];
  if (outer?.tag !== SEQUENCE || rest.length > 0) return undefined;
  const [first, second] = elements(outer.value) ?? [];
  if (first?.tag === INTEGER) return readNumbers(outer.value);
  if (first?.tag !== SEQUENCE || second?.tag !== BIT_STRING || second.value[0] !== 0) return undefined;
  const [algorithm] = elements(first.value) ?? [];
  if (algorithm?.tag !== OBJECT_IDENTIFIER || !algorithm.value.equals(RSA_ENCRYPTION)) return undefined;
  const [key, ...more] = elements(second.value.subarray(1)) ?? [];
  return key?.tag === SEQUENCE && more.length === 0 ? readNumbers(key.value) : undefined;
}

/** How many bits a number has. */
export function bitLength(number: Buffer): number {
  return number.length === 0 ? 0 : number.length * 8 - Math.clz32(number[0] ?? 0) + 24;
}

function readNumbers(sequence: Buffer): RsaNumbers | undefined {
  const [modulus, exponent, ...rest] = elements(sequence) ?? [];
  if (modulus?.tag !== INTEGER || exponent?.tag !== INTEGER || rest.length > 0) return undefined;
  const numbers = { modulus: magnitude(modulus.value), exponent: magnitude(exponent.value) };
  return numbers.modulus.length > 0 && numbers.exponent.length > 0 ? numbers : undefined;
}

/** An INTEGER without its leading zeros. What would be negative is published, and meant, as positive. */
function magnitude(value: Buffer): Buffer {
  const start = value.findIndex((byte) => byte !== 0);
  return value.subarray(start < 0 ? value.length : start);
}

interface Element {
  readonly tag: number;
  readonly value: Buffer;
}

/** What stands one after the other; `undefined` where it does not end with the bytes. */
function elements(bytes: Buffer): Element[] | undefined {
  const found: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes[at++] ?? 0;
    let length = bytes[at++] ?? Infinity;
    if (length >= 0x80) {
      const size = length & 0x7f;
      if (size < 1 || size > 3 || at + size > bytes.length) return undefined;
      length = bytes.readUIntBE(at, size);
      at += size;
    }
    if (at + length > bytes.length) return undefined;
    found.push({ tag, value: bytes.subarray(at, at + length) });
    at += length;
  }
  return found;
}
