/**
 * What a header field is (RFC 5322 §2.2), and where its name ends. All that reads header sections reads names by this.
 *
 * @module
 */
/**
 * The largest header section that is accepted, in octets; a longer one refuses the message. Header sections are worked
 * on as a whole, while all else waits: this bounds how long.
 */
export const MAX_HEADER_SECTION = 512 * 1024;
/** The largest header section that is made of one by repairs. */
export const MAX_REPAIRED_SECTION = 4 * MAX_HEADER_SECTION;
/** The most fields of a header section: each costs more than its octets. Honest messages have a few hundred at most. */
export const MAX_FIELDS = 10_000;

const LF = 10;
const CR = 13;
const SPACE = 32;
const TAB = 9;
const COLON = 58;

/**
 * Where the name that begins at `start` ends: the first octet that a name may not hold. Equal to `start` where none
 * begins.
 */
export function nameEnd(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  for (; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte <= SPACE || byte === COLON || byte >= 127) break;
  }
  return at;
}

/** The first octet from `start` on that is not white space, or `end`; folding counts as white space. */
export function skipSpace(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  for (; at < end; at++) {
    const byte = bytes[at];
    if (byte !== SPACE && byte !== TAB && byte !== CR && byte !== LF) break;
  }
  return at;
}

/**
 * Whether a field begins at `start`: a name and a colon in what goes to `end`, with white space between them at most,
 * as RFC 5322 §4.5.8 still allows.
 */
export function isField(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
  const name = nameEnd(bytes, start, end);
  const colon = skipSpace(bytes, name, end);
  return name > start && colon < end && bytes[colon] === COLON;
}

/** A value, or a part of one, without its folding (RFC 5322 §2.2.3): the white space stays, the line ends go. */
export function unfold(value: string): string {
  return value.includes("\n") ? value.replaceAll(/[\r\n]/g, "") : value;
}
