/**
 * A spool in its own directory, and a short way to say what tests do with it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "@std/path";
import type { NewEntry, QueueSummary } from "../../relay/queue.ts";
import type { QueueEntry, QueueRecipient } from "../../relay/queue_entry.ts";
import { Spool, type SpoolOptions } from "../../relay/spool/spool.ts";
import { newEntry, recipient } from "./queue_entry.ts";
import { RecordingLog } from "./recording_log.ts";

/** When entries of tests were accepted, milliseconds since the epoch. */
export const ACCEPTED = 1_795_000_000_000;
/** The message of entries of tests. */
export const MESSAGE = "Subject: x\r\n\r\nHello\r\n";

const encoder = new TextEncoder();

/** An entry of {@linkcode MESSAGE}. */
export function entryOf(id: string, recipients: QueueRecipient[], size = MESSAGE.length): NewEntry {
  return newEntry(recipients, { id, acceptedAt: ACCEPTED, size });
}

/** Adds a message; its id. */
export async function add(
  spool: Spool,
  recipients = [recipient("b@one.test")],
  message = MESSAGE,
): Promise<string> {
  const id = spool.newId();
  await spool.add(entryOf(id, recipients, message.length), encoder.encode(message));
  return id;
}

/** The text of a message. */
export async function read(spool: Spool, id: string): Promise<string> {
  await using message = await spool.open(id);
  let text = "";
  for await (const chunk of message.chunks()) text += new TextDecoder().decode(chunk);
  assert.equal(text.length, message.size);
  return text;
}

/** What a scan yields. */
export function scan(spool: Spool): Promise<QueueSummary[]> {
  return Array.fromAsync(spool.scan());
}

/** All ids, sorted. */
export async function ids(spool: Spool): Promise<string[]> {
  return (await Array.fromAsync(spool.ids())).sort();
}

/** The first recipient of an entry, which must be there. */
export function first(entry: QueueEntry | undefined): QueueRecipient {
  assert.ok(entry?.recipients[0]);
  return entry.recipients[0];
}

/** Where the message is. */
export function messageFile(directory: string, id: string): string {
  return join(directory, "messages", id.slice(-2), id);
}

/** Where its state is. */
export function stateFile(directory: string, id: string): string {
  return join(directory, "states", id.slice(-2), `${id}.json`);
}

/** What is in a directory, sorted. */
export function names(...path: string[]): string[] {
  return [...Deno.readDirSync(join(...path))].map(({ name }) => name).sort();
}

/** Runs with its own directory; `open` opens the spool in it, as often as wanted. */
export async function inDirectory(
  work: (
    parts: {
      directory: string;
      log: RecordingLog;
      open: (options?: Partial<SpoolOptions>) => Promise<Spool>;
    },
  ) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  const log = new RecordingLog();
  try {
    await work({
      directory,
      log,
      open: (options) => Spool.open({ directory, logger: log, uptime: () => undefined, ...options }),
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
