/**
 * A spool on disk, and `mailapp queue` on it.
 *
 * @module
 */
import { join } from "@std/path";
import { silentLogger } from "../../base/log.ts";
import type { QueueEntry } from "../../relay/queue_entry.ts";
import { Spool } from "../../relay/spool/spool.ts";
import { newEntry } from "./queue_entry.ts";
import type { Io } from "../../server/io.ts";
import { recordingIo, runInProcess } from "./in_process.ts";

const encoder = new TextEncoder();

/** A data directory with its configuration. */
export interface World {
  readonly directory: string;
  readonly config: string;
  readonly io: Io;
  /** Runs the command; its exit code and output. */
  mailapp(...args: string[]): Promise<{ code: number; out: string; err: string }>;
}

/** Runs a test on its own data directory. */
export async function withSpool(test: (world: World) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  const config = join(directory, "config.toml");
  await Deno.writeTextFile(
    config,
    `hostname = "out.example.test"\ndata_dir = ${JSON.stringify(directory)}\n`,
  );
  const { io } = recordingIo();
  const mailapp = (...args: string[]) => runInProcess([...args, "--config", config]);
  try {
    await test({ directory, config, io, mailapp });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Fills the spool of a serve-out that has stopped a minute ago. */
export async function fill(directory: string, entries: readonly Partial<QueueEntry>[]): Promise<string[]> {
  await using spool = await Spool.open({
    directory: join(directory, "spool"),
    logger: silentLogger,
    uptime: () => Deno.osUptime() * 1000 - 65_000,
  });
  const ids: string[] = [];
  for (const entry of entries) {
    const id = spool.newId();
    const message = encoder.encode("Subject: x\r\n\r\nHi\r\n");
    await spool.add(
      newEntry([], { acceptedAt: Date.now() - 65_000, size: message.length, ...entry, id }),
      message,
    );
    ids.push(id);
  }
  return ids;
}

/** An entry for {@linkcode fill}. */
export function entry(
  recipients: Parameters<typeof newEntry>[0],
  options: Partial<QueueEntry> = {},
): Partial<QueueEntry> {
  const { id: _, size: __, acceptedAt: ___, ...rest } = newEntry(recipients, { id: "unused", ...options });
  return rest;
}
