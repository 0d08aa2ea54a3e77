/**
 * The spool's index: what the scheduler wants to know of each entry, a line for each, so that a start need not open a
 * million files. It is a mere copy: a line counts only while it is whole and the files are the ones that it was made
 * from; everything else is read from the files, as if there were no index.
 *
 * @module
 */
import { join } from "node:path";
import type { Logger } from "../../base/log.ts";
import type { QueueSummary } from "../queue.ts";
import type { QueueEntry } from "../queue_entry.ts";
import { shardOf } from "./directory.ts";
import { isSender, type QueueFilter } from "../queue_filter.ts";
import { intern, isDone, isUnfinished, toSummary } from "../stored/entry.ts";
import { hasUndeliverable } from "../undeliverable.ts";
import { isQueueId } from "../stored/format.ts";
import { SpoolFormatError } from "../stored/format_values.ts";
import { isSealed, seal, unseal } from "../stored/seal.ts";

/** What tells that a file is still the same: size in octets, time of change in milliseconds, inode. */
export type FileMark = readonly [size: number, time: number, inode: number];

/** The files of an entry. */
export interface EntryMarks {
  /** The message. */
  readonly message: FileMark;
  /** The state; absent where there is none. */
  readonly state?: FileMark;
}

/** What a line of the index tells. */
export interface EntryDigest {
  /** Milliseconds since the epoch. */
  readonly acceptedAt: number;
  /** The reverse-path. */
  readonly sender: string;
  /** The domains of all recipients. */
  readonly domains: readonly string[];
  /** For each domain with a pending recipient, its place in `domains` and when it is due. */
  readonly due: readonly (readonly [domain: number, at: number])[];
  readonly unfinished: boolean;
  /** Held without a sender to notify; see {@linkcode QueueSummary.undeliverable}. */
  readonly undeliverable: boolean;
  /** Whether all is settled, so that the entry can go. */
  readonly done: boolean;
}

/** A line of the index. */
export interface IndexLine extends EntryDigest {
  /** The files it was made from. */
  readonly marks: EntryMarks;
}

// Written when so much is waiting, and at the end. What a crash takes of it is read from the files once.
const FLUSH_LINES = 1000;
// Octets of a shard's file beyond which the lines of what has gone are left out of it.
const SWEEP_AT = 256 * 1024;
// With a few hundred recipients the line is no cheaper to read than the files.
const MAX_DOMAINS = 100;

// How every line begins; an id has nothing to escape.
const BEFORE_ID = '{"id":"';

/** The index of one spool; one file a shard. */
export class SpoolIndex {
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #exists: (id: string) => boolean;
  /** Where it is not {@linkcode SWEEP_AT}: twice what the last sweep left. */
  readonly #sweepAt = new Map<string, number>();
  readonly #waiting = new Map<string, string[]>();
  #waitingCount = 0;
  #flushing: Promise<void> | undefined;

  /** `directory` is made when something is written; `exists` tells whether an entry is still there. */
  constructor(
    options: {
      readonly directory: string;
      readonly logger: Logger;
      readonly exists: (id: string) => boolean;
    },
  ) {
    this.#directory = options.directory;
    this.#logger = options.logger;
    this.#exists = options.exists;
  }

  /** The lines of a shard, by id, and how many there were in all. What cannot be read is not there. */
  read(shard: string): { readonly lines: Map<string, IndexLine>; readonly count: number } {
    const lines = new Map<string, IndexLine>();
    const { texts, count } = this.#texts(shard);
    for (const text of texts) takeLine(text, lines);
    return { lines, count };
  }

  /** The same as they are written, for {@linkcode mayMean} and {@linkcode isWrittenAbout}: a tenth of the work. */
  readTexts(shard: string): Map<string, string> {
    const whole = new Map<string, string>();
    for (const text of this.#texts(shard).texts) {
      const id = idOf(text);
      if (id === undefined) continue;
      if (isSealed(text)) whole.set(id, text);
      else whole.delete(id);
    }
    return whole;
  }

  #texts(shard: string): { readonly texts: readonly string[]; readonly count: number } {
    let text = "";
    try {
      text = Deno.readTextFileSync(join(this.#directory, shard));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) this.#failed(shard, error);
    }
    const written = text.split("\n");
    return { texts: [...written, ...this.#waiting.get(shard) ?? []], count: written.length - 1 };
  }

  /** Notes an entry as its files stand; `undefined` where it is not worth a line. */
  note(id: string, { digest, marks }: { digest: EntryDigest | undefined; marks: EntryMarks }): void {
    if (digest === undefined) return;
    const shard = shardOf(id);
    const waiting = this.#waiting.get(shard) ?? [];
    if (waiting.length === 0) this.#waiting.set(shard, waiting);
    waiting.push(encodeLine(id, { ...digest, marks }));
    if (++this.#waitingCount >= FLUSH_LINES) this.#flushing ??= this.#flush();
  }

  /** Rewrites a shard with these lines alone, where the old ones have become too many. */
  async rewrite(shard: string, lines: ReadonlyMap<string, IndexLine>): Promise<void> {
    const text = [...lines].map(([id, line]) => encodeLine(id, line) + "\n").join("");
    await this.#write(shard, { text, append: false });
  }

  /** Writes what is waiting. */
  async close(): Promise<void> {
    await this.#flushing;
    await this.#flush();
  }

  async #flush(): Promise<void> {
    await Promise.resolve();
    for (const [shard, lines] of this.#waiting) {
      this.#waiting.delete(shard);
      this.#waitingCount -= lines.length;
      await this.#write(shard, { text: lines.map((line) => line + "\n").join(""), append: true });
      await this.#sweep(shard);
    }
    this.#flushing = undefined;
  }

  /** Keeps a shard's file in bounds while the server runs: the latest line of each entry that is still there. */
  async #sweep(shard: string): Promise<void> {
    const path = join(this.#directory, shard);
    const kept = new Map<string, string>();
    try {
      if ((await Deno.stat(path)).size <= (this.#sweepAt.get(shard) ?? SWEEP_AT)) return;
      for (const line of (await Deno.readTextFile(path)).split("\n")) {
        const id = idOf(line);
        if (id !== undefined && this.#exists(id)) kept.set(id, `${line}\n`);
      }
    } catch (error) {
      return this.#failed(shard, error);
    }
    const text = [...kept.values()].join("");
    this.#sweepAt.set(shard, Math.max(SWEEP_AT, 2 * text.length));
    await this.#write(shard, { text, append: false });
  }

  async #write(shard: string, { text, append }: { text: string; append: boolean }): Promise<void> {
    try {
      await Deno.mkdir(this.#directory, { recursive: true, mode: 0o700 });
      await Deno.writeTextFile(join(this.#directory, shard), text, { append, mode: 0o600 });
    } catch (error) {
      this.#failed(shard, error);
    }
  }

  /** Without the index the next start is slower, no more. */
  #failed(shard: string, error: unknown): void {
    this.#logger.debug("queue.index_failed", { shard, error: String(error) });
  }
}

/** Whether two files are the same, unchanged. */
export function sameMark(a: FileMark | undefined, b: FileMark | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2];
}

/** Whether a line was made from the message that is there. */
export function isAbout({ marks }: IndexLine, message: Deno.FileInfo | undefined): boolean {
  return message !== undefined && sameMark(markOf(message), marks.message);
}

/** What a file is known by. */
export function markOf({ size, mtime, ino }: Deno.FileInfo): FileMark {
  return [size, mtime?.getTime() ?? 0, ino ?? 0];
}

/** What the index tells of an entry; `undefined` where that is no shorter than the entry itself. */
export function digestOf(entry: QueueEntry): EntryDigest | undefined {
  const domains = [...new Set(entry.recipients.map(({ domain }) => domain))];
  if (domains.length > MAX_DOMAINS) return undefined;
  const due = new Map<number, number>();
  for (const { status, domain, nextAttemptAt } of entry.recipients) {
    if (status !== "pending") continue;
    const place = domains.indexOf(domain);
    due.set(place, Math.min(due.get(place) ?? Infinity, nextAttemptAt));
  }
  return {
    acceptedAt: entry.acceptedAt,
    sender: entry.reversePath,
    domains,
    due: [...due],
    unfinished: isUnfinished(entry),
    undeliverable: hasUndeliverable(entry),
    done: isDone(entry),
  };
}

export function summarizeLine(
  id: string,
  { domains, due, unfinished, undeliverable }: IndexLine,
  { age, known }: { readonly age: number; readonly known: Map<string, string> },
): QueueSummary | undefined {
  const shared = due.map(([place, at]) => ({ domain: intern(domains[place] ?? "", known), at }));
  return toSummary({ id, age, due: shared }, { unfinished, undeliverable });
}

/**
 * Tells by the line of an entry whether that can have a recipient in this domain, and this sender: no state changes
 * either. It may say so of others, too. A search in the text takes a third of the time of reading it as JSON: one to
 * two seconds of a million lines.
 */
export function mayMean({ domain, sender }: QueueFilter): (text: string) => boolean {
  const written = domain === undefined ? "" : JSON.stringify(domain);
  return (text) =>
    text.includes(written) && (sender === undefined || isSender(String(unseal(text).from), sender));
}

/** {@linkcode isAbout}, of the line as it is written. */
export function isWrittenAbout(text: string, message: Deno.FileInfo | undefined): boolean {
  return message !== undefined && text.includes(`,"m":${JSON.stringify(markOf(message))},`);
}

// Kept short: a spool of a million entries has a million of them.
function encodeLine(id: string, line: IndexLine): string {
  const { marks: { message, state }, acceptedAt, sender, domains, due } = line;
  const { unfinished, undeliverable, done } = line;
  return seal({
    id,
    m: message,
    s: state,
    at: acceptedAt,
    from: sender,
    domains,
    due,
    u: unfinished || undefined,
    h: undeliverable || undefined,
    d: done || undefined,
  });
}

function idOf(text: string): string | undefined {
  if (!text.startsWith(BEFORE_ID)) return undefined;
  const id = text.slice(BEFORE_ID.length, text.indexOf('"', BEFORE_ID.length));
  return isQueueId(id) ? id : undefined;
}

function takeLine(text: string, lines: Map<string, IndexLine>): void {
  if (text === "") return;
  let line: Record<string, unknown>;
  try {
    line = unseal(text);
  } catch (error) {
    if (error instanceof SpoolFormatError) return;
    throw error;
  }
  // With its check in order it is what encodeLine() wrote.
  if (typeof line.check !== "string" || typeof line.id !== "string") return;
  const { id, m, s, at, from, domains, due, u, h, d } = line as {
    id: string;
    m: FileMark;
    s?: FileMark;
    at: number;
    from: string;
    domains: string[];
    due: [number, number][];
    u?: true;
    h?: true;
    d?: true;
  };
  lines.set(id, {
    marks: s === undefined ? { message: m } : { message: m, state: s },
    acceptedAt: at,
    sender: from,
    domains,
    due,
    unfinished: u ?? false,
    undeliverable: h ?? false,
    done: d ?? false,
  });
}
