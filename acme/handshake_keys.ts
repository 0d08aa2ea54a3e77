/**
 * The keys of a TLS 1.3 connection (RFC 8446 §7) and the protection of its records (§5.2), with AES-128-GCM and SHA-256.
 *
 * @module
 */
import { createHash, createHmac } from "node:crypto";
import { ALERT, HandshakeError } from "./client_hello.ts";

/** Types of records (RFC 8446 §5.1). */
export const RECORD = { changeCipherSpec: 20, alert: 21, handshake: 22, applicationData: 23 } as const;

/** The octets of a record's header. */
export const HEADER = 5;
/** The longest content, in octets. */
export const MAX_CONTENT = 2 ** 14;
/** What protection adds at most, in octets (RFC 8446 §5.2). */
export const MAX_EXPANSION = 256;

const HASH = "sha256";
const HASH_LENGTH = 32;
const KEY_LENGTH = 16;
const IV_LENGTH = 12;
const NOTHING = new Uint8Array(HASH_LENGTH);

const encoder = new TextEncoder();

/** SHA-256 of these octets one after the other. */
export function hashOf(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const hash = createHash(HASH);
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

function hmac(key: Uint8Array, data: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHmac(HASH, key).update(data).digest());
}

/** HKDF-Expand-Label (§7.1), for at most one block of the hash. */
function expandLabel(
  secret: Uint8Array,
  label: string,
  { context = new Uint8Array(), length = HASH_LENGTH }: { context?: Uint8Array; length?: number } = {},
): Uint8Array<ArrayBuffer> {
  const name = encoder.encode(`tls13 ${label}`);
  // HkdfLabel, and the number of the block of HKDF-Expand (RFC 5869 §2.3).
  const info = Uint8Array.of(0, length, name.length, ...name, context.length, ...context, 1);
  return hmac(secret, info).slice(0, length);
}

/** The secrets of a connection, each from the one before (§7.1). No pre-shared key. */
export class KeySchedule {
  #secret = hmac(NOTHING, NOTHING);

  /** From now on the secrets depend on this, too: what both sides have agreed on; absent for the master secret. */
  mix(input: Uint8Array = NOTHING): void {
    this.#secret = hmac(expandLabel(this.#secret, "derived", { context: hashOf() }), input);
  }

  /** The secret with this label, for a transcript with this hash. */
  secret(label: string, transcript: Uint8Array): Uint8Array<ArrayBuffer> {
    return expandLabel(this.#secret, label, { context: transcript });
  }
}

/** The `verify_data` of a Finished message (§4.4.4). */
export function finishedData(secret: Uint8Array, transcript: Uint8Array): Uint8Array<ArrayBuffer> {
  return hmac(expandLabel(secret, "finished"), transcript);
}

/** A record without protection. */
export function plainRecord(type: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(...header(type, content.length), ...content);
}

function header(type: number, length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(type, 3, 3, length >> 8, length & 255);
}

/** Protects the records of one direction. */
export class RecordProtection {
  readonly #key: CryptoKey;
  readonly #iv: Uint8Array;
  #sequence = 0;

  private constructor(key: CryptoKey, iv: Uint8Array) {
    this.#key = key;
    this.#iv = iv;
  }

  /** With the keys of a traffic secret (§7.3). */
  static async of(secret: Uint8Array): Promise<RecordProtection> {
    const raw = expandLabel(secret, "key", { length: KEY_LENGTH });
    const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
    return new RecordProtection(key, expandLabel(secret, "iv", { length: IV_LENGTH }));
  }

  /** A record with this content. @param content at most {@linkcode MAX_CONTENT} octets */
  async seal(type: number, content: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
    const inner = Uint8Array.of(...content, type);
    const head = header(RECORD.applicationData, inner.length + 16);
    const sealed = await crypto.subtle.encrypt(this.#parameters(head), this.#key, inner);
    return Uint8Array.of(...head, ...new Uint8Array(sealed));
  }

  /**
   * The type and content of a protected record.
   * @throws {HandshakeError} if it was not protected with this key
   */
  async open(
    record: Uint8Array<ArrayBuffer>,
  ): Promise<{ readonly type: number; readonly content: Uint8Array<ArrayBuffer> }> {
    const parameters = this.#parameters(record.slice(0, HEADER));
    const opened = await crypto.subtle.decrypt(parameters, this.#key, record.slice(HEADER)).catch(() => {
      throw new HandshakeError("a record is not protected by the key agreed on", ALERT.badRecordMac);
    });
    const inner = new Uint8Array(opened);
    // Zeros behind the type are padding (§5.4).
    const end = inner.findLastIndex((octet) => octet !== 0);
    if (end < 0) throw new HandshakeError("a record without a type", ALERT.unexpectedMessage);
    return { type: inner[end] ?? 0, content: inner.slice(0, end) };
  }

  #parameters(additionalData: Uint8Array<ArrayBuffer>): AesGcmParams {
    const iv = Uint8Array.from(this.#iv);
    // The few records of a handshake need no more than the last octets of the number.
    new DataView(iv.buffer).setUint32(
      IV_LENGTH - 4,
      new DataView(iv.buffer).getUint32(IV_LENGTH - 4) ^ this.#sequence++,
    );
    return { name: "AES-GCM", iv, additionalData };
  }
}
