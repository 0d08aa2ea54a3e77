/**
 * The ClientHello of TLS 1.3 (RFC 8446 §4.1.2), as far as {@linkcode answerHandshake} needs it.
 *
 * @module
 */

/** Why a handshake cannot go on. */
export class HandshakeError extends Error {
  /** The description of the alert to send (RFC 8446 §6). */
  readonly alert: number;

  /** `alert`: one of {@linkcode ALERT}. */
  constructor(message: string, alert: number) {
    super(message);
    this.name = "HandshakeError";
    this.alert = alert;
  }
}

/** Descriptions of alerts (RFC 8446 §6, RFC 7301 §3.2). */
export const ALERT = {
  closeNotify: 0,
  unexpectedMessage: 10,
  badRecordMac: 20,
  recordOverflow: 22,
  handshakeFailure: 40,
  illegalParameter: 47,
  decodeError: 50,
  decryptError: 51,
  protocolVersion: 70,
  missingExtension: 109,
  unrecognizedName: 112,
  noApplicationProtocol: 120,
} as const;

/** Numbers of extensions (RFC 8446 §4.2, RFC 6066, RFC 7301). */
export const EXTENSION = {
  serverName: 0,
  supportedGroups: 10,
  signatureAlgorithms: 13,
  applicationProtocols: 16,
  supportedVersions: 43,
  keyShare: 51,
} as const;

/** What a client offers. */
export interface ClientHello {
  /** To be sent back as it is. */
  readonly sessionId: Uint8Array;
  readonly cipherSuites: readonly number[];
  readonly versions: readonly number[];
  readonly groups: readonly number[];
  readonly signatureAlgorithms: readonly number[];
  /** By ALPN. */
  readonly protocols: readonly string[];
  /** By SNI, in lower case. */
  readonly serverName: string | undefined;
  /** The client's public keys, by group. */
  readonly shares: ReadonlyMap<number, Uint8Array>;
}

/** Reads the fields of a message in order. */
class Fields {
  readonly #octets: Uint8Array;
  #at = 0;

  constructor(octets: Uint8Array) {
    this.#octets = octets;
  }

  get atEnd(): boolean {
    return this.#at === this.#octets.length;
  }

  bytes(length: number): Uint8Array {
    if (this.#at + length > this.#octets.length) {
      throw new HandshakeError("a message ends too early", ALERT.decodeError);
    }
    return this.#octets.subarray(this.#at, this.#at += length);
  }

  /** An unsigned number of so many octets. */
  number(octets: 1 | 2): number {
    return this.bytes(octets).reduce((value, octet) => value * 256 + octet, 0);
  }

  /** What is preceded by its length, a number of so many octets. */
  vector(octets: 1 | 2): Uint8Array {
    return this.bytes(this.number(octets));
  }

  /** Such a vector as a list of numbers of two octets. */
  numbers(octets: 1 | 2): number[] {
    return list(this.vector(octets), (fields) => fields.number(2));
  }
}

/** Items one after the other until the end. */
function list<T>(octets: Uint8Array, item: (fields: Fields) => T): T[] {
  const fields = new Fields(octets);
  const items: T[] = [];
  while (!fields.atEnd) items.push(item(fields));
  return items;
}

const latin1 = new TextDecoder("latin1");

/**
 * Reads a ClientHello.
 * @param body the message without its type and length
 * @throws {HandshakeError}
 */
export function parseClientHello(body: Uint8Array): ClientHello {
  const fields = new Fields(body);
  // legacy_version and random
  fields.bytes(2 + 32);
  const sessionId = fields.vector(1).slice();
  if (sessionId.length > 32) throw new HandshakeError("the session id is too long", ALERT.decodeError);
  const cipherSuites = fields.numbers(2);
  // legacy_compression_methods
  fields.vector(1);
  // A client of TLS 1.2 may have no extensions at all.
  const extensions = new Map<number, Uint8Array>();
  for (const [type, data] of fields.atEnd ? [] : list(fields.vector(2), extension)) {
    if (extensions.has(type)) throw new HandshakeError("an extension comes twice", ALERT.illegalParameter);
    extensions.set(type, data);
  }
  if (!fields.atEnd) throw new HandshakeError("there is more after the extensions", ALERT.decodeError);
  const read = <T>(type: number, reader: (fields: Fields) => T, absent: T): T => {
    const data = extensions.get(type);
    return data === undefined ? absent : reader(new Fields(data));
  };
  return {
    sessionId,
    cipherSuites,
    versions: read(EXTENSION.supportedVersions, (fields) => fields.numbers(1), []),
    groups: read(EXTENSION.supportedGroups, (fields) => fields.numbers(2), []),
    signatureAlgorithms: read(EXTENSION.signatureAlgorithms, (fields) => fields.numbers(2), []),
    protocols: read(EXTENSION.applicationProtocols, protocolNames, []),
    serverName: read(EXTENSION.serverName, hostName, undefined),
    shares: new Map(read(EXTENSION.keyShare, (fields) => list(fields.vector(2), keyShare), [])),
  };
}

function extension(fields: Fields): [number, Uint8Array] {
  return [fields.number(2), fields.vector(2)];
}

function keyShare(fields: Fields): [number, Uint8Array] {
  return [fields.number(2), fields.vector(2)];
}

function protocolNames(fields: Fields): string[] {
  return list(fields.vector(2), (names) => latin1.decode(names.vector(1)));
}

/** RFC 6066 §3: the first name of type 0. */
function hostName(fields: Fields): string | undefined {
  const names = list(fields.vector(2), (name) => ({ type: name.number(1), name: name.vector(2) }));
  const found = names.find(({ type }) => type === 0);
  return found && latin1.decode(found.name).toLowerCase();
}
