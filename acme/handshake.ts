/**
 * The server's side of a TLS 1.3 handshake (RFC 8446), for TLS-ALPN-01 (RFC 8737) alone: Deno's TLS does not load a
 * certificate with a critical extension that it does not know, and the challenge is such a certificate. No data is
 * exchanged behind this handshake: whoever connects learns what is published anyway, so it protects no secret.
 *
 * @module
 */
import { createPrivateKey, type KeyObject, sign, timingSafeEqual } from "node:crypto";
import { systemClock } from "../base/clock.ts";
import { OctetBuffer } from "../base/octet_buffer.ts";
import { linger } from "../net/linger.ts";
import type { Transport } from "../net/transport.ts";
import { ALERT, type ClientHello, EXTENSION, HandshakeError, parseClientHello } from "./client_hello.ts";
import {
  finishedData,
  hashOf,
  HEADER,
  KeySchedule,
  MAX_CONTENT,
  MAX_EXPANSION,
  plainRecord,
  RECORD,
  RecordProtection,
} from "./handshake_keys.ts";

/** A certificate to show, and its key. */
export interface ShownCertificate {
  /** DER; the first is the server's own. */
  readonly chain: readonly Uint8Array[];
  /** PEM, ECDSA P-256. */
  readonly key: string;
}

/** What the server does. */
export interface HandshakeOptions {
  /** The one protocol that it speaks (ALPN). */
  readonly protocol: string;
  /** The certificate for a name, in lower case; `undefined` if there is none. */
  readonly certificateFor: (name: string) => ShownCertificate | undefined;
}

const MESSAGE = {
  clientHello: 1,
  serverHello: 2,
  encryptedExtensions: 8,
  certificate: 11,
  certificateVerify: 15,
  finished: 20,
  messageHash: 254,
} as const;

const TLS_1_3 = 0x0304;
const AES_128_GCM_SHA256 = 0x1301;
const ECDSA_P256_SHA256 = 0x0403;

/** The groups for the key agreement, in the server's order (RFC 8446 §4.2.7). */
const GROUPS: ReadonlyMap<number, { readonly name: string; readonly namedCurve?: string }> = new Map([
  [0x001d, { name: "X25519" }],
  [0x0017, { name: "ECDH", namedCurve: "P-256" }],
]);

/** The `random` of a ServerHello that is a HelloRetryRequest (§4.1.3). */
const RETRY = hashOf(new TextEncoder().encode("HelloRetryRequest"));
/** For old middleboxes (§D.4). */
const CHANGE_CIPHER_SPEC = plainRecord(RECORD.changeCipherSpec, Uint8Array.of(1));
/** Of the client's messages, in octets. */
const MAX_MESSAGE = 16 * 1024;
/** For the client to close after the handshake, in milliseconds. */
const LINGER = 1_000;

/**
 * Answers one handshake, says that nothing follows, and waits a moment for the client to close.
 * @returns the name that the client asked for
 * @throws {HandshakeError} after an alert where no keys are agreed on yet; or what the transport throws, such as at its
 * deadline
 */
export async function answerHandshake(transport: Transport, options: HandshakeOptions): Promise<string> {
  const records = new Records(transport);
  let agreed: Agreed;
  try {
    agreed = await agree(records, options);
  } catch (error) {
    if (error instanceof HandshakeError) {
      await transport.write(plainRecord(RECORD.alert, Uint8Array.of(2, error.alert)));
    }
    throw error;
  }
  await finish(records, agreed, options);
  transport.deadline = Math.min(transport.deadline, systemClock.monotonic() + LINGER);
  await linger(transport, MAX_CONTENT);
  return agreed.name;
}

/** What both sides have agreed on by their Hellos. */
interface Agreed {
  readonly name: string;
  readonly certificate: ShownCertificate;
  readonly keys: KeySchedule;
  readonly transcript: Uint8Array[];
}

async function agree(records: Records, options: HandshakeOptions): Promise<Agreed> {
  const transcript: Uint8Array[] = [];
  const hello = async () => {
    const message = await records.message(MESSAGE.clientHello);
    transcript.push(message);
    return parseClientHello(message.subarray(4));
  };
  const say = async (message: Uint8Array) => {
    transcript.push(message);
    await records.write(plainRecord(RECORD.handshake, message));
  };
  let client = await hello();
  const { name, certificate } = choose(client, options);
  let group = groupOf([...client.shares.keys()]);
  const retry = group === undefined;
  if (group === undefined) {
    group = groupOf(client.groups);
    if (group === undefined) throw new HandshakeError("no group in common", ALERT.handshakeFailure);
    // The first ClientHello is replaced by its hash (§4.4.1).
    transcript.splice(0, 1, message(MESSAGE.messageHash, hashOf(...transcript)));
    await say(serverHello(client, { random: RETRY, share: number16(group) }));
    await records.write(CHANGE_CIPHER_SPEC);
    client = await hello();
    choose(client, options);
  }
  const theirs = client.shares.get(group);
  if (theirs === undefined) throw new HandshakeError("no key share", ALERT.illegalParameter);
  const { share, secret } = await exchangeKeys(group, theirs);
  const random = crypto.getRandomValues(new Uint8Array(32));
  await say(serverHello(client, { random, share: join(number16(group), vector(2, share)) }));
  if (!retry) await records.write(CHANGE_CIPHER_SPEC);
  const keys = new KeySchedule();
  keys.mix(secret);
  return { name, certificate, keys, transcript };
}

/** What is answered; the same for a second ClientHello. */
function choose(
  client: ClientHello,
  { protocol, certificateFor }: HandshakeOptions,
): { readonly name: string; readonly certificate: ShownCertificate } {
  if (!client.versions.includes(TLS_1_3)) {
    throw new HandshakeError("the client does not speak TLS 1.3", ALERT.protocolVersion);
  }
  if (
    !client.cipherSuites.includes(AES_128_GCM_SHA256) ||
    !client.signatureAlgorithms.includes(ECDSA_P256_SHA256)
  ) throw new HandshakeError("no cipher suite or signature in common", ALERT.handshakeFailure);
  if (!client.protocols.includes(protocol)) {
    throw new HandshakeError(`the client does not ask for ${protocol}`, ALERT.noApplicationProtocol);
  }
  const { serverName: name } = client;
  if (name === undefined) throw new HandshakeError("no server name", ALERT.missingExtension);
  const certificate = certificateFor(name);
  if (certificate === undefined) {
    throw new HandshakeError("no certificate for that name", ALERT.unrecognizedName);
  }
  return { name, certificate };
}

function groupOf(offered: readonly number[]): number | undefined {
  return [...GROUPS.keys()].find((group) => offered.includes(group));
}

async function exchangeKeys(
  group: number,
  theirs: Uint8Array,
): Promise<{ readonly share: Uint8Array; readonly secret: Uint8Array }> {
  const algorithm = GROUPS.get(group);
  if (algorithm === undefined) throw new TypeError("an unknown group");
  const own = await crypto.subtle.generateKey(algorithm, false, ["deriveBits"]) as CryptoKeyPair;
  try {
    const peer = await crypto.subtle.importKey("raw", Uint8Array.from(theirs), algorithm, false, []);
    const bits = await crypto.subtle.deriveBits(
      { name: algorithm.name, public: peer } as EcdhKeyDeriveParams,
      own.privateKey,
      256,
    );
    const share = await crypto.subtle.exportKey("raw", own.publicKey);
    return { share: new Uint8Array(share), secret: new Uint8Array(bits) };
  } catch {
    throw new HandshakeError("a key share that is none", ALERT.illegalParameter);
  }
}

/** The rest of the server's messages, and the client's Finished. */
async function finish(
  records: Records,
  { keys, transcript, certificate }: Agreed,
  { protocol }: HandshakeOptions,
): Promise<void> {
  const hash = () => hashOf(...transcript);
  const secrets = {
    client: keys.secret("c hs traffic", hash()),
    server: keys.secret("s hs traffic", hash()),
  };
  const sealing = await RecordProtection.of(secrets.server);
  const flight: Uint8Array[] = [];
  const add = (type: number, body: Uint8Array) => {
    const added = message(type, body);
    transcript.push(added);
    flight.push(added);
  };
  const name = vector(2, vector(1, new TextEncoder().encode(protocol)));
  add(MESSAGE.encryptedExtensions, vector(2, extension(EXTENSION.applicationProtocols, name)));
  const chain = certificate.chain.map((der) => join(vector(3, der), vector(2, new Uint8Array())));
  add(MESSAGE.certificate, join(vector(1, new Uint8Array()), vector(3, join(...chain))));
  const signature = signatureOf(createPrivateKey(certificate.key), hash());
  add(MESSAGE.certificateVerify, join(number16(ECDSA_P256_SHA256), vector(2, signature)));
  add(MESSAGE.finished, finishedData(secrets.server, hash()));
  const octets = join(...flight);
  for (let at = 0; at < octets.length; at += MAX_CONTENT) {
    await records.write(await sealing.seal(RECORD.handshake, octets.subarray(at, at + MAX_CONTENT)));
  }
  const expected = finishedData(secrets.client, hash());
  keys.mix();
  const application = await RecordProtection.of(keys.secret("s ap traffic", hash()));
  records.protect(await RecordProtection.of(secrets.client));
  const finished = (await records.message(MESSAGE.finished)).subarray(4);
  if (finished.length !== expected.length || !timingSafeEqual(finished, expected)) {
    throw new HandshakeError("the client's Finished is wrong", ALERT.decryptError);
  }
  await records.write(await application.seal(RECORD.alert, Uint8Array.of(1, ALERT.closeNotify)));
}

/** §4.4.3 */
function signatureOf(key: KeyObject, transcript: Uint8Array): Uint8Array {
  const context = new TextEncoder().encode("TLS 1.3, server CertificateVerify\0");
  return new Uint8Array(sign("sha256", join(new Uint8Array(64).fill(0x20), context, transcript), key));
}

function serverHello(
  { sessionId }: ClientHello,
  { random, share }: { readonly random: Uint8Array; readonly share: Uint8Array },
): Uint8Array<ArrayBuffer> {
  const extensions = join(
    extension(EXTENSION.supportedVersions, number16(TLS_1_3)),
    extension(EXTENSION.keyShare, share),
  );
  return message(
    MESSAGE.serverHello,
    join(
      Uint8Array.of(3, 3),
      random,
      vector(1, sessionId),
      number16(AES_128_GCM_SHA256),
      // No compression.
      Uint8Array.of(0),
      vector(2, extensions),
    ),
  );
}

function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function number16(value: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(value >> 8, value & 255);
}

/** Octets with their length before them, a number of so many octets. */
function vector(octets: 1 | 2 | 3, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const { length } = content;
  return join(Uint8Array.of(length >> 16, (length >> 8) & 255, length & 255).subarray(3 - octets), content);
}

function message(type: number, body: Uint8Array): Uint8Array<ArrayBuffer> {
  return join(Uint8Array.of(type), vector(3, body));
}

function extension(type: number, data: Uint8Array): Uint8Array<ArrayBuffer> {
  return join(number16(type), vector(2, data));
}

/** Reads the client's messages, which may share records or be split over several. */
class Records {
  readonly #transport: Transport;
  #protection: RecordProtection | undefined;
  readonly #messages = new OctetBuffer();
  #records = 0;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  write(record: Uint8Array): Promise<void> {
    return this.#transport.write(record);
  }

  /**
   * From now on the client's messages must be protected.
   * @throws {HandshakeError} if something came before the change of keys that should come after it (RFC 8446 §5.1)
   */
  protect(protection: RecordProtection): void {
    if (this.#messages.length > 0) {
      throw new HandshakeError("a message across a change of keys", ALERT.unexpectedMessage);
    }
    this.#protection = protection;
  }

  /** The next message, which must be of this type, with type and length. @throws {HandshakeError} */
  async message(type: number): Promise<Uint8Array<ArrayBuffer>> {
    for (;;) {
      const first = this.#messages.at(0);
      if (first !== undefined && first !== type) {
        throw new HandshakeError(`message ${first} in place of ${type}`, ALERT.unexpectedMessage);
      }
      const found = this.#messages.take(this.#size());
      if (found !== undefined) return found;
      this.#messages.push(await this.#content());
    }
  }

  /** Octets of the next message with type and length; those four as long as they have not come. */
  #size(): number {
    const [high, middle, low] = [this.#messages.at(1), this.#messages.at(2), this.#messages.at(3)];
    if (high === undefined || middle === undefined || low === undefined) return 4;
    const size = 4 + (high * 256 + middle) * 256 + low;
    if (size > MAX_MESSAGE) throw new HandshakeError("a message is too long", ALERT.decodeError);
    return size;
  }

  /** The content of the next record with messages. */
  async #content(): Promise<Uint8Array> {
    for (;;) {
      // Each record has at least one octet of a message.
      if (++this.#records > MAX_MESSAGE) {
        throw new HandshakeError("too many records", ALERT.unexpectedMessage);
      }
      const header = await this.#exactly(HEADER);
      const [type = 0, , , high = 0, low = 0] = header;
      const length = high * 256 + low;
      if (length > MAX_CONTENT + MAX_EXPANSION) {
        throw new HandshakeError("a record is too long", ALERT.recordOverflow);
      }
      const content = await this.#exactly(length);
      if (type === RECORD.changeCipherSpec) continue;
      const protection = type === RECORD.applicationData ? this.#protection : undefined;
      const { type: inner, content: messages } = protection === undefined
        ? { type, content }
        : await protection.open(join(header, content));
      if (inner === RECORD.alert) {
        throw new HandshakeError(`the client sends alert ${messages[1]}`, ALERT.closeNotify);
      }
      // Only an alert may come without protection, of a client that could not agree.
      const isExpected = inner === RECORD.handshake && protection === this.#protection;
      if (!isExpected || messages.length === 0) {
        throw new HandshakeError(`no handshake, but a record of type ${inner}`, ALERT.unexpectedMessage);
      }
      return messages;
    }
  }

  async #exactly(length: number): Promise<Uint8Array<ArrayBuffer>> {
    const octets = new Uint8Array(length);
    for (let at = 0; at < length;) {
      const read = await this.#transport.read(octets.subarray(at));
      if (read === null) throw new HandshakeError("the client has gone", ALERT.closeNotify);
      at += read;
    }
    return octets;
  }
}
