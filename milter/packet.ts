/**
 * Packets of the milter protocol, version 6, as Sendmail's libmilter defines it: a length, a letter, data.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** From the mail server to the filter. */
export const COMMAND = {
  abort: "A",
  body: "B",
  connect: "C",
  macros: "D",
  endOfBody: "E",
  hello: "H",
  header: "L",
  mail: "M",
  endOfHeader: "N",
  negotiate: "O",
  quit: "Q",
  recipient: "R",
  data: "T",
} as const;

/** From the filter to the mail server. */
export const REPLY = {
  addRecipient: "+",
  removeRecipient: "-",
  addRecipientParameters: "2",
  shutdown: "4",
  accept: "a",
  replaceBody: "b",
  continue: "c",
  discard: "d",
  changeSender: "e",
  connectionFailure: "f",
  addHeader: "h",
  insertHeader: "i",
  changeHeader: "m",
  progress: "p",
  quarantine: "q",
  reject: "r",
  skip: "s",
  temporaryFailure: "t",
  replyCode: "y",
} as const;

/** What a filter may ask for in the end. */
export const ACTION = {
  addHeaders: 0x01,
  changeHeaders: 0x10,
  quarantine: 0x20,
} as const;

/** What a filter may do without; a filter sets those of the offered bits that it wants. */
export const STEP = {
  noConnect: 0x01,
  noHello: 0x02,
  noMail: 0x04,
  noRecipients: 0x08,
  noBody: 0x10,
  noHeaders: 0x20,
  noEndOfHeader: 0x40,
  headersUnanswered: 0x80,
  noUnknown: 0x100,
  noData: 0x200,
  skip: 0x400,
  connectUnanswered: 0x1000,
  helloUnanswered: 0x2000,
  mailUnanswered: 0x4000,
  recipientsUnanswered: 0x8000,
  dataUnanswered: 0x1_0000,
  endOfHeaderUnanswered: 0x4_0000,
  bodyUnanswered: 0x8_0000,
  /** The space after the colon of a field is part of its value. */
  leadingSpace: 0x10_0000,
} as const;

/** Octets of the body in one packet (MILTER_CHUNK_SIZE). */
export const CHUNK = 65_535;
/** Octets of a packet that is taken from a filter. */
const MAX_PACKET = 1024 * 1024;

/** A packet. */
export interface Packet {
  /** Which. */
  readonly letter: string;
  /** What belongs to it. */
  readonly data: Buffer;
}

/** The filter says what makes no sense. */
export class MilterError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "MilterError";
  }
}

/** A packet as it goes over the wire. */
export function encodePacket(letter: string, ...data: readonly Uint8Array[]): Buffer {
  const length = data.reduce((sum, part) => sum + part.length, 1);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(length);
  head.write(letter, 4, "latin1");
  return Buffer.concat([head, ...data]);
}

/** Texts that end with NUL each; what is in them is one character an octet. NUL within would end them: it goes. */
export function texts(...values: readonly string[]): Buffer {
  return Buffer.from(values.map((value) => `${value.replaceAll("\0", "")}\0`).join(""), "latin1");
}

/** The first texts in some data, at most `most`, one character an octet. The last one may lack its NUL. */
export function readTexts(data: Buffer, most: number): string[] {
  const found: string[] = [];
  for (let at = 0; at < data.length && found.length < most;) {
    const nul = data.indexOf(0, at);
    const end = nul < 0 ? data.length : nul;
    found.push(data.toString("latin1", at, end));
    at = end + 1;
  }
  return found;
}

/** Numbers of 32 bits. */
export function numbers(...values: readonly number[]): Buffer {
  const data = Buffer.alloc(4 * values.length);
  for (const [index, value] of values.entries()) data.writeUInt32BE(value, 4 * index);
  return data;
}

/** Takes packets out of a stream of bytes, in memory and time that grow with the bytes, however they are cut. */
export class PacketReader {
  #room: Buffer = Buffer.alloc(512);
  #start = 0;
  #end = 0;

  /** Adds bytes that have come; they are copied. */
  push(bytes: Uint8Array): void {
    const held = this.#end - this.#start;
    if (this.#end + bytes.length > this.#room.length) {
      const needed = held + bytes.length;
      const room = needed > this.#room.length ? Buffer.alloc(2 * needed) : this.#room;
      this.#room.copy(room, 0, this.#start, this.#end);
      this.#room = room;
      this.#start = 0;
      this.#end = held;
    }
    this.#room.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /**
   * The next packet; `undefined` where it is not whole yet. Its data is valid until the next {@linkcode push}.
   * @throws {MilterError} where it is none, or too long
   */
  next(): Packet | undefined {
    const held = this.#room.subarray(this.#start, this.#end);
    if (held.length < 5) return undefined;
    const length = held.readUInt32BE();
    if (length < 1 || length > MAX_PACKET) throw new MilterError(`a packet of ${length} octets`);
    if (held.length < 4 + length) return undefined;
    this.#start += 4 + length;
    return { letter: held.toString("latin1", 4, 5), data: held.subarray(5, 4 + length) };
  }
}
