/**
 * The decoded parts of a stored message, within bounds, and the content of what is compressed in them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { gunzipSync, inflateRawSync } from "node:zlib";
import { MalformedMimeError, type MimeLeaf, MimeWalker } from "./mime_walker.ts";

/** A part that is no multipart, decoded. */
export interface Attachment {
  /** Such as `application/gzip`, in lower case. */
  readonly type: string;
  readonly content: Uint8Array;
}

/** The message or the archive cannot be opened; the error's message says why. */
export class AttachmentError extends Error {
  override readonly name = "AttachmentError";
}

/** Parts that are looked at. */
const MAX_PARTS = 20;

/**
 * The parts of these types, in the order of the message.
 * @param message lines end in LF or CRLF
 * @throws {AttachmentError}
 */
export function attachmentsOf(message: Uint8Array, isWanted: (type: string) => boolean): Attachment[] {
  const found: Attachment[] = [];
  let pieces: Uint8Array[] = [];
  const isTaken = ({ type }: MimeLeaf) => found.length < MAX_PARTS && isWanted(type);
  const walker = new MimeWalker({
    header: () => {},
    body: (bytes, leaf) => {
      if (isTaken(leaf)) pieces.push(bytes);
    },
    end: (leaf) => {
      if (!isTaken(leaf)) return;
      found.push({ type: leaf.type, content: decoded(Buffer.concat(pieces), leaf.encoding) });
      pieces = [];
    },
    other: () => {},
  });
  try {
    walker.push(message);
    walker.finish();
  } catch (error) {
    if (!(error instanceof MalformedMimeError)) throw error;
    throw new AttachmentError(error.message, { cause: error });
  }
  return found;
}

function decoded(body: Buffer, encoding: string): Uint8Array {
  switch (encoding) {
    case "base64":
      return Buffer.from(body.toString("latin1"), "base64");
    case "quoted-printable":
      return Buffer.from(
        body.toString("latin1").replace(/=[ \t]*\r?\n/g, "").replace(
          /=([0-9a-f]{2})/gi,
          (_, hex: string) => String.fromCharCode(parseInt(hex, 16)),
        ),
        "latin1",
      );
    default:
      return body;
  }
}

/**
 * What is in a gzip file (RFC 1952) or a ZIP archive of one file; the octets themselves if they are neither.
 * @param options `most`: octets of what is unpacked
 * @throws {AttachmentError} when it is longer or damaged
 */
export function unpacked(octets: Uint8Array, { most }: { readonly most: number }): Uint8Array {
  const [first, second, third] = octets;
  try {
    if (first === 0x1f && second === 0x8b) return gunzipSync(octets, { maxOutputLength: most });
    if (first === 0x50 && second === 0x4b && third === 3) return firstOfZip(octets, most);
  } catch (error) {
    if (error instanceof AttachmentError) throw error;
    throw new AttachmentError("it cannot be unpacked, or is too long", { cause: error });
  }
  return octets;
}

const LOCAL_HEADER = 0x04034b50;
const DIRECTORY_HEADER = 0x02014b50;
const DIRECTORY_END = 0x06054b50;
const DIRECTORY_END_SIZE = 22;
const MAX_COMMENT = 0xffff;
const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 1;

/** The first file of an archive, by its central directory (APPNOTE.TXT §4.3). Throws RangeError where it is cut off. */
function firstOfZip(octets: Uint8Array, most: number): Uint8Array {
  const zip = Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength);
  let end = zip.length - DIRECTORY_END_SIZE;
  const last = Math.max(0, end - MAX_COMMENT);
  while (end > last && zip.readUInt32LE(end) !== DIRECTORY_END) end--;
  if (zip.readUInt32LE(end) !== DIRECTORY_END) throw new AttachmentError("a ZIP archive without its end");
  const entry = zip.readUInt32LE(end + 16);
  if (zip.readUInt32LE(entry) !== DIRECTORY_HEADER) throw new AttachmentError("a ZIP archive with no file");
  const method = zip.readUInt16LE(entry + 10);
  const size = zip.readUInt32LE(entry + 20);
  const header = zip.readUInt32LE(entry + 42);
  if ((zip.readUInt16LE(entry + 8) & ENCRYPTED) !== 0) throw new AttachmentError("an encrypted ZIP archive");
  if (zip.readUInt32LE(header) !== LOCAL_HEADER) throw new AttachmentError("a damaged ZIP archive");
  const start = header + 30 + zip.readUInt16LE(header + 26) + zip.readUInt16LE(header + 28);
  if (start + size > zip.length) throw new AttachmentError("a ZIP archive that is cut off");
  const data = zip.subarray(start, start + size);
  if (method === DEFLATED) return inflateRawSync(data, { maxOutputLength: most });
  if (method !== STORED) throw new AttachmentError("a ZIP archive with an unknown compression");
  if (data.length > most) throw new AttachmentError("it is too long");
  return data;
}
