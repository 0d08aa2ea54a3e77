/**
 * A notice that its recipient's server refuses for its size, once more with less of what it returns: the header section
 * instead of the message (as RET=HDRS asks, RFC 3461 §4.3), then nothing.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { concat } from "../base/concat.ts";
import { splitMessage } from "../message/split_message.ts";
import { messageContent } from "./message_content.ts";
import { boundaryOf, encodedPart, HEADER_BELOW, multipart, type Part, WHOLE_BELOW } from "./notice_parts.ts";
import type { NewEntry, Queue } from "./queue.ts";
import { pendingRecipient } from "./queue_entry.ts";
import { MAX_RETURNED_HEADER } from "./returned_content.ts";
import type { NoticeRequest } from "./settle.ts";

/** Above what a notice of ours can come to: 1 MiB of a message in quoted-printable, and what is said of recipients. */
const MAX_NOTICE = 8 * 1024 * 1024;
const LF = 10;

/**
 * Writes the notice once more for those recipients; `undefined` where the message is not a notice of ours, or has nothing
 * that could be left out.
 * @throws what the queue throws when the notice cannot be read
 */
export async function writeSmaller(
  { id, entry, recipients }: NoticeRequest,
  { queue, now }: { readonly queue: Pick<Queue, "open">; readonly now: number },
): Promise<{ entry: NewEntry; message: Uint8Array } | undefined> {
  if (entry.size > MAX_NOTICE) return undefined;
  const notice = concat(...await Array.fromAsync(messageContent(queue, entry.id)));
  const message = smallerNotice(notice, { id, before: entry.id });
  if (message === undefined) return undefined;
  return {
    message,
    entry: {
      id,
      acceptedAt: now,
      reversePath: "",
      body: entry.body,
      smtputf8: entry.smtputf8,
      size: message.length,
      content: entry.content,
      recipients: recipients.flatMap((index) => entry.recipients[index] ?? []).map(
        ({ address, domain, notify, originalRecipient }) => ({
          ...pendingRecipient(address, domain),
          ...(notify !== undefined && { notify }),
          ...(originalRecipient !== undefined && { originalRecipient }),
        }),
      ),
    },
  };
}

/**
 * The notice with the next smaller form of what it returns, under its new id.
 * @param options `id`: the new id; `before`: the one it has now, by which its boundary is known
 */
export function smallerNotice(
  notice: Uint8Array,
  { id, before }: { readonly id: string; readonly before: string },
): Uint8Array | undefined {
  // One character for each octet.
  const text = Buffer.from(notice.buffer, notice.byteOffset, notice.length).toString("latin1");
  // Signatures, which do not fit any more, stand before the first field.
  const start = text.startsWith(FIRST_FIELD) ? 0 : text.indexOf(`\r\n${FIRST_FIELD}`) + 2;
  const end = text.indexOf("\r\n\r\n");
  const [preamble = "", ...rest] = text.split(`\r\n--${boundaryOf(before)}`);
  // Only a notice of ours has its own id there, which cannot be known beforehand.
  if (start > end || !preamble.slice(start, end).includes(`boundary="${boundaryOf(before)}"`)) {
    return undefined;
  }
  const [people, machines, returned] = rest.map(parsePart);
  if (rest.at(-1) !== "--\r\n" || people === undefined || machines === undefined) return undefined;
  if (returned === undefined) return undefined;
  const top = preamble.slice(start)
    .replace(`boundary="${boundaryOf(before)}"`, `boundary="${boundaryOf(id)}"`)
    .replace(`\r\nMessage-ID: <${before}@`, `\r\nMessage-ID: <${id}@`);
  const write = (header?: Uint8Array) => {
    const said = withoutEnd(people.body, [`${WHOLE_BELOW}\r\n`, `${HEADER_BELOW}\r\n`]);
    const parts: Part[] = [
      { fields: people.fields, body: octets(header === undefined ? said : `${said}${HEADER_BELOW}\r\n`) },
      { fields: machines.fields, body: octets(machines.body) },
      ...(header === undefined ? [] : [encodedPart("text/rfc822-headers", header)]),
    ];
    return concat(octets(top), ...multipart(parts, boundaryOf(id)));
  };
  if (returned.type === "message/rfc822") {
    const withHeader = write(headerOf(returned.body));
    if (withHeader.length < notice.length) return withHeader;
  }
  return write();
}

const FIRST_FIELD = "Date: ";

interface ReadPart {
  readonly fields: readonly string[];
  readonly type: string;
  readonly body: string;
}

function parsePart(text: string): ReadPart | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (!text.startsWith("\r\n") || end < 0) return undefined;
  const fields = text.slice(2, end).split("\r\n");
  const type = fields[0]?.replace("Content-Type: ", "") ?? "";
  return { fields, type, body: text.slice(end + 4) };
}

/** The header section of what is returned, which is short lines of ASCII. */
function headerOf(message: string): Uint8Array {
  const { section } = splitMessage(octets(message));
  return section.length <= MAX_RETURNED_HEADER
    ? section
    : section.subarray(0, section.lastIndexOf(LF, MAX_RETURNED_HEADER - 1) + 1);
}

function withoutEnd(text: string, ends: readonly string[]): string {
  const end = ends.find((end) => text.endsWith(end)) ?? "";
  return text.slice(0, text.length - end.length);
}

function octets(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}
