/**
 * What comes back of a message in a notice about it (RFC 3461 §4.3, RFC 6522): in a form that every server on the way
 * to the sender takes.
 *
 * @module
 */
import { isAscii } from "node:buffer";
import { concat } from "../base/concat.ts";
import { MAX_LINE } from "../message/fold_lines.ts";
import { unfold } from "../message/header_field.ts";
import { fieldValue, HeaderSection } from "../message/header_section.ts";
import { encodeParts, type EncodingRules, planEncoding } from "../message/short_lines.ts";
import { splitMessage } from "../message/split_message.ts";
import type { Queue } from "./queue.ts";
import type { QueueEntry } from "./queue_entry.ts";

/** What comes back of the message. */
export interface ReturnedContent {
  /**
   * The message, or only its header section. A whole one is short lines of ASCII, unless it is internationalised, which
   * a notice may encode as it is (RFC 6532 §3.7).
   */
  readonly bytes: Uint8Array;
  /** Whether it is all of the message. */
  readonly whole: boolean;
}

/** A message that is too large to be returned whole comes back as its header section. */
const MAX_RETURNED = 1024 * 1024;
/** Octets of a header section that comes back, at most. */
export const MAX_RETURNED_HEADER = 64 * 1024;

/** message/rfc822 may not be encoded (RFC 2046 §5.2.1), and the way back may be one of seven bits: so its parts are. */
const SEVEN_BIT: EncodingRules = { eightBit: true, anyPart: true };

/** Whether a message needs a type of RFC 6532 when it comes back. */
export function isInternational({ smtputf8, content }: QueueEntry): boolean {
  return smtputf8 && content.eightBitHeader;
}

/** Reads what comes back; `whole`: all of it, if that can be delivered. `undefined` where the message cannot be read. */
export async function readReturned(
  queue: Pick<Queue, "open">,
  { entry, whole }: { readonly entry: QueueEntry; readonly whole: boolean },
): Promise<ReturnedContent | undefined> {
  try {
    await using message = await queue.open(entry.id);
    const all = whole && message.size <= MAX_RETURNED;
    const limit = all ? MAX_RETURNED : MAX_RETURNED_HEADER;
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of message.chunks()) {
      chunks.push(chunk.slice(0, limit - length));
      length += chunk.length;
      if (length >= limit) break;
    }
    const bytes = concat(...chunks);
    const deliverable = all ? isInternational(entry) ? bytes : await sevenBit(bytes) : undefined;
    return deliverable === undefined
      ? { bytes: headerSection(bytes), whole: false }
      : { bytes: deliverable, whole: true };
  } catch {
    // The sender is better told without it than not at all.
    return undefined;
  }
}

/** The message in short lines of ASCII, as its reader would see it; `undefined` where that is not possible. */
async function sevenBit(message: Uint8Array): Promise<Uint8Array | undefined> {
  if (isPlain(message)) return message;
  const plan = await planEncoding([message], SEVEN_BIT);
  if (plan.parts.size === 0) return undefined;
  const pieces: Uint8Array[] = [];
  for await (const piece of encodeParts([message], plan, SEVEN_BIT)) pieces.push(piece);
  const encoded = concat(...pieces);
  return isPlain(encoded) ? encoded : undefined;
}

/** Whether bytes are short lines of ASCII, which every server takes as they are. */
export function isPlain(bytes: Uint8Array): boolean {
  if (!isAscii(bytes) || bytes.includes(0)) return false;
  let start = 0;
  for (let lf = bytes.indexOf(10); lf >= 0; lf = bytes.indexOf(10, lf + 1)) {
    if (lf - start > MAX_LINE + 1) return false;
    start = lf + 1;
  }
  return bytes.length - start <= MAX_LINE;
}

/** The header section without the empty line; cut at the end of a line where it is too long. */
function headerSection(bytes: Uint8Array): Uint8Array {
  const { section, by } = splitMessage(bytes);
  return by === "end" ? section.subarray(0, section.lastIndexOf(10) + 1) : section;
}

/** The id of what comes back, where it is plain enough to be repeated in a header field. */
export function messageIdOf({ bytes }: ReturnedContent): string | undefined {
  const [field] = HeaderSection.of(splitMessage(bytes).section).named("message-id");
  return /^[ \t]*(<[!-;=?-~]{1,250}>)[ \t]*$/.exec(field === undefined ? "" : unfold(fieldValue(field)))?.[1];
}
