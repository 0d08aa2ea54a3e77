/**
 * Messages that prove themselves: what is found is what was sent, byte for byte, or it is not.
 *
 * @module
 */
import { createHash } from "node:crypto";

/** A message to send. */
export interface CheckedMessage {
  /** Unique. */
  readonly id: string;
  /** With CRLF; no line begins with a dot. */
  readonly text: string;
}

const sha256 = (text: string) => createHash("sha256").update(text, "latin1").digest("hex");

/** Makes a message of about this many octets, whose first field has its id and the checksum of its body. */
export function makeChecked(id: string, octets: number): CheckedMessage {
  const lines: string[] = [];
  for (let length = 0; length < octets; length += 66) lines.push(sha256(`${id} ${lines.length}`));
  const body = `${lines.join("\r\n")}\r\n`;
  return {
    id,
    text: `X-Prove: ${id} ${
      sha256(body)
    }\r\nFrom: <a@prove.test>\r\nSubject: ${id}\r\nMessage-ID: <${id}@prove.test>\r\nDate: Mon, 30 Nov 2026 00:00:00 +0000\r\n\r\n${body}`,
  };
}

/** What a stored or relayed message says of itself. */
export interface ReadMessage {
  readonly id: string;
  /** Whether its body is that which was sent. */
  readonly whole: boolean;
}

/** Reads a message with CRLF, below what servers put on top; `undefined` where it is none of these. */
export function readChecked(text: string): ReadMessage | undefined {
  const at = text.startsWith("X-Prove: ") ? 0 : text.indexOf("\r\nX-Prove: ") + 2;
  const [, id, checksum] = /^X-Prove: (\S{1,100}) ([0-9a-f]{64})\r\n/.exec(text.slice(at, at + 200)) ?? [];
  if (id === undefined) return undefined;
  const end = text.indexOf("\r\n\r\n");
  return { id, whole: end !== -1 && sha256(text.slice(end + 4)) === checksum };
}
