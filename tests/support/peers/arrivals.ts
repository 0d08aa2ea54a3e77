/**
 * What lands in a Maildir, looked at as files.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { until } from "./process.ts";

/** A file in `new/`. */
export interface StoredMessage {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** One character a byte. */
  readonly text: string;
}

/** All that is in `new/`, in the order of the names; nothing when there is no such Maildir yet. */
export async function storedMessages(maildir: string): Promise<StoredMessage[]> {
  const names = await list(maildir);
  return await Promise.all(names.map((name) => read(maildir, name)));
}

/** The message that holds this text. @throws {Error} when none comes within 60 s */
export async function arrival(maildir: string, marker: string): Promise<StoredMessage> {
  const seen = new Set<string>();
  return await until(async () => {
    for (const name of await list(maildir)) {
      if (seen.has(name)) continue;
      seen.add(name);
      const message = await read(maildir, name);
      if (message.text.includes(marker)) return message;
    }
    return undefined;
  }, { what: `"${marker}" in ${maildir}`, within: 60_000 });
}

/** One character a byte. */
export function toLatin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** Holds that the stored bytes end with these. @returns what is before them */
export function assertEndsWith(stored: Uint8Array, expected: Uint8Array): string {
  const start = stored.length - expected.length;
  assert.ok(start >= 0, `${stored.length} bytes stored, ${expected.length} sent`);
  if (Buffer.compare(stored.subarray(start), expected) === 0) return toLatin1(stored.subarray(0, start));
  const different = expected.findIndex((byte, index) => byte !== stored[start + index]);
  const around = (bytes: Uint8Array, at: number) =>
    JSON.stringify(toLatin1(bytes.subarray(Math.max(0, at - 40), at + 40)));
  assert.fail(
    `byte ${different} differs: stored ${around(stored, start + different)}, sent ${
      around(expected, different)
    }`,
  );
}

/** Holds that only trace fields, each once, was put on top. @returns the Received field, unfolded */
export function assertTraceOnly(prefix: string): string {
  const fields = prefix.replaceAll(/\n[\t ]+/g, " ").split("\n");
  assert.equal(fields.pop(), "", prefix);
  assert.deepEqual(
    fields.map((field) => field.split(":")[0]),
    ["Return-Path", "Delivered-To", "Received"],
    prefix,
  );
  return fields[2] ?? "";
}

/** Holds the sizes in a file's name against the file: S= as it is on disk, W= with CRLF. */
export function assertSizesInName({ name, bytes }: StoredMessage): void {
  const [, size, wireSize] = name.match(/,S=(\d+),W=(\d+)$/) ?? [];
  assert.equal(Number(size), bytes.length, name);
  assert.equal(Number(wireSize), bytes.length + bytes.filter((byte) => byte === 0x0a).length, name);
}

async function list(maildir: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(`${maildir}/new`))).map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

async function read(maildir: string, name: string): Promise<StoredMessage> {
  const bytes = await Deno.readFile(`${maildir}/new/${name}`);
  return { name, bytes, text: toLatin1(bytes) };
}
