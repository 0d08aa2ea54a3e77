/**
 * Messages that prove themselves: what is found in a Maildir is whole, and the same as what was sent, or it is not.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { basename, join } from "@std/path";
import type { Dialogue } from "../support/dialogue.ts";

/** A message to send. */
export interface CheckedMessage {
  /** Unique. */
  readonly id: string;
  /** The message with CRLF, not dot-stuffed. */
  readonly text: string;
  /** The checksum of all of it. */
  readonly digest: string;
}

/** What is stored of one. */
export interface StoredMessage {
  /** The file. */
  readonly path: string;
  /** The id of the message sent. */
  readonly id: string;
  /** The checksum of the message without the fields that the server put on top, with CRLF. */
  readonly digest: string;
}

/**
 * Makes a message of about this many octets. Its first field holds the id, and the checksum of the body.
 * @param options `author`: its From field; none if absent
 */
export function checkedMessage(
  id: string,
  octets: number,
  { author }: { readonly author?: string } = {},
): CheckedMessage {
  // Eight bits in the body alone: serve-out encodes them in fields.
  let body = "\u00fc\r\n";
  for (let line = 0; body.length < octets; line++) {
    // Every seventh line begins with a dot, some consist of it.
    const dot = line % 7 === 0 ? "." : "";
    body += `${dot}${line % 49 === 0 ? "" : sha256(`${id} ${line}`)}\r\n`;
  }
  const from = author === undefined ? "" : `From: ${author}\r\n`;
  const text = `X-Check: ${id} ${sha256(body)}\r\n${from}Subject: ${id}\r\n\r\n${body}`;
  return { id, text, digest: sha256(text) };
}

/**
 * Reads a file of a Maildir.
 * @throws {AssertionError} when it is torn: its size is not S=, its size with CRLF not W=, or its checksum wrong
 */
export function readStored(path: string): StoredMessage {
  const bytes = Deno.readFileSync(path);
  const [, disk, wire] = /,S=(\d+),W=(\d+)$/.exec(basename(path)) ?? [];
  assert.equal(bytes.length, Number(disk), `${path}: S= is not its size`);
  const text = new TextDecoder().decode(bytes);
  const lines = text.split("\n").length - 1;
  assert.equal(bytes.length + lines, Number(wire), `${path}: W= is not its size with CRLF`);
  return { path, ...readChecked(text.replaceAll("\n", "\r\n"), path) };
}

/**
 * Reads a message with CRLF, below the fields that servers put on top; the id, and the checksum of what was sent.
 * @param name for messages of failure
 * @throws {AssertionError} when it is torn
 */
export function readChecked(
  text: string,
  name = "the message",
): { readonly id: string; readonly digest: string } {
  const start = text.search(/^X-Check: /m);
  assert.notEqual(start, -1, `${name} has no X-Check field`);
  const original = text.slice(start);
  const [, id = "", checksum] = /^X-Check: (\S+) (\S+)\r\n/.exec(original) ?? [];
  const body = original.slice(original.indexOf("\r\n\r\n") + 4);
  assert.equal(sha256(body), checksum, `${name} is torn`);
  return { id, digest: sha256(original) };
}

/**
 * Reads all messages in `new/` of a Maildir.
 * @throws {AssertionError} when one is torn
 */
export function readMaildir(maildir: string): StoredMessage[] {
  return names(join(maildir, "new")).map((name) => readStored(join(maildir, "new", name)));
}

/** The names in a directory, in order; none if it is not there. */
export function names(directory: string): string[] {
  try {
    return Array.from(Deno.readDirSync(directory), ({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** How a message is sent. */
export interface SubmitOptions {
  /** a@client.test if absent. */
  readonly from?: string;
  /** Whole addresses. */
  readonly to: readonly string[];
  /** Called between 354 and the data. */
  readonly beforeData?: () => Promise<void>;
  /** Called when all but the last dot has been sent. */
  readonly beforeDot?: () => Promise<void>;
}

/** Sends a message from MAIL to the last dot. The first reply that is not positive, or the one to the dot. */
export async function submit(
  dialogue: Dialogue,
  message: CheckedMessage,
  { from = "a@client.test", to, beforeData, beforeDot }: SubmitOptions,
): Promise<string> {
  for (const line of [`MAIL FROM:<${from}>`, ...to.map((address) => `RCPT TO:<${address}>`), "DATA"]) {
    const reply = await dialogue.say(line);
    if (!/^[23]/.test(reply)) return reply;
  }
  await beforeData?.();
  await dialogue.send(message.text.replace(/^\./gm, ".."));
  await beforeDot?.();
  return await dialogue.say(".");
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
