/**
 * What `sendmail` reads in a message before it hands it to serve-out: the recipients, and whether it has an author. All
 * repairs are made by serve-out (submitted_header.ts), whichever program submits the message.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { concat } from "../base/concat.ts";
import { parseAddressList } from "./address_list.ts";
import { encodePhrase } from "./encoded_word.ts";
import { isField, unfold } from "./header_field.ts";
import { fieldValue, type HeaderField, headerFields } from "./header_section.ts";
import { headerStart, splitMessage } from "./split_message.ts";

/**
 * The recipients in To, Cc and Bcc, each once; for a message with Resent fields, those in them.
 * @param message lines ending in LF, CRLF or CR CR LF
 */
export function namedRecipients(message: Uint8Array): string[] {
  const fields = fieldsOf(message);
  const resent = fields.some(({ name }) => name === "resent-to" || name === "resent-from");
  const sources = resent ? ["resent-to", "resent-cc", "resent-bcc"] : ["to", "cc", "bcc"];
  const recipients = fields.filter(({ name }) => sources.includes(name)).flatMap((field) =>
    parseAddressList(Buffer.from(unfold(fieldValue(field)), "latin1").toString())
  );
  return [...new Set(recipients)];
}

/** The message with this author, where it has none: serve-out knows the address, but not the name. */
export function withAuthor(
  message: Uint8Array,
  { address, name }: { readonly address: string; readonly name: string },
): Uint8Array {
  if (fieldsOf(message).some((field) => field.name === "from" && fieldValue(field).trim() !== "")) {
    return message;
  }
  const start = headerStart(message);
  const rest = message.subarray(start);
  // deno-lint-ignore no-control-regex
  const clean = name.replaceAll(/[\u0000-\u001f\u007f]+/g, " ").trim();
  const phrase = encodePhrase(
    { text: Buffer.from(clean).toString("latin1"), charset: "utf-8" },
    "From: ".length,
  );
  const from = `From: ${phrase} <${address}>\r\n`;
  // The text must not become part of the field.
  const lf = rest.indexOf(10);
  const isText = rest.length > 0 && !isField(rest, 0, lf < 0 ? rest.length : lf);
  return concat(Buffer.from(isText ? `${from}\r\n` : from), isText ? withoutEmptyLine(rest) : rest);
}

function fieldsOf(message: Uint8Array): HeaderField[] {
  return headerFields(splitMessage(message.subarray(headerStart(message))).section);
}

/** Where the header section is empty, the empty line is already there. */
function withoutEmptyLine(text: Uint8Array): Uint8Array {
  let at = 0;
  while (text[at] === 13) at++;
  return text[at] === 10 ? text.subarray(at + 1) : text;
}
