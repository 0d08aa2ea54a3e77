/**
 * The files of a log, including rotated ones, read a piece at a time: what is outside the requested range is not
 * read at all.
 *
 * @module
 */
import { basename, dirname, join } from "@std/path";
import { Buffer } from "node:buffer";
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { errorText } from "../base/error_text.ts";
import { timeOf } from "./log_lines.ts";

/** A time range, in milliseconds since the epoch, both ends included. */
export interface TimeRange {
  readonly since: number;
  readonly until: number;
}

/** One part of a log. */
export interface LogSource {
  /** For messages. */
  readonly name: string;
  /** The server that wrote its lines, where they do not name one; absent: they do, or it does not matter. */
  readonly server?: string;
  /** When its first line was written; `NaN` if unknown. */
  begins(): Promise<number>;
  /**
   * Pieces of whole lines, one character per octet, of at least the range; pieces stay valid.
   * @throws what reading throws
   */
  pieces(range: TimeRange): AsyncIterable<string>;
}

const PIECE = 1 << 16;
/** Longer lines are not ours. */
const MAX_LINE = 16 << 20;
/** Tolerance for lines out of order, of two servers or after a clock change, in milliseconds. */
const DISORDER = 60_000;
/** Smaller files are read from the beginning. */
const SMALL = 8 * PIECE;
// Suffixes used by logrotate and by people.
const ROTATED = /^[.-][\w.-]*$/;
const OTHER_COMPRESSION = /\.(?:xz|bz2|zst|lz4)$/;

/** Called with a sentence about a part of the log that cannot be read. */
export type OnProblem = (problem: string) => void;

/**
 * The log file and its rotated ones, oldest first; and those that cannot be read.
 * @throws what reading the directory throws
 */
export async function findLogFiles(
  file: string,
  onProblem: OnProblem = () => {},
): Promise<{ readonly sources: LogSource[]; readonly unreadable: string[] }> {
  const directory = dirname(file);
  const name = basename(file);
  const found: { path: string; modified: number }[] = [];
  const unreadable: string[] = [];
  for await (const entry of Deno.readDir(directory)) {
    if (!entry.name.startsWith(name) || entry.isDirectory) continue;
    const rest = entry.name.slice(name.length);
    if (rest !== "" && !ROTATED.test(rest)) continue;
    const path = join(directory, entry.name);
    if (OTHER_COMPRESSION.test(rest)) {
      unreadable.push(path);
      continue;
    }
    const { mtime } = await Deno.stat(path);
    found.push({ path, modified: mtime?.getTime() ?? 0 });
  }
  found.sort((one, other) => one.modified - other.modified);
  return { sources: found.map(({ path }) => fileSource(path, onProblem)), unreadable };
}

/** One file; gzip where its name ends in `.gz`. */
export function fileSource(path: string, onProblem: OnProblem = () => {}): LogSource {
  const isCompressed = path.endsWith(".gz");
  return {
    name: path,
    async begins() {
      for await (const piece of streamOf(path, { from: isCompressed ? undefined : 0, onProblem })) {
        return firstTime(piece);
      }
      return NaN;
    },
    async *pieces({ since, until }) {
      const { mtime, size } = await Deno.stat(path);
      if (mtime !== null && mtime.getTime() + DISORDER < since) return;
      const from = isCompressed
        ? undefined
        : size < SMALL
        ? 0
        : await findStart(path, { size, since: since - DISORDER });
      for await (const piece of streamOf(path, { from, onProblem })) {
        if (firstTime(piece) > until + DISORDER) return;
        yield piece;
      }
    },
  };
}

/** The time of the first line that has one, in milliseconds since the epoch; `NaN` if none has. */
export function firstTime(piece: string): number {
  for (let at = 0; at < piece.length;) {
    const time = timeOf(piece.slice(at, at + 64));
    if (!Number.isNaN(time)) return time;
    const end = piece.indexOf("\n", at);
    if (end < 0) break;
    at = end + 1;
  }
  return NaN;
}

/** Finds the beginning of a line before all lines of that time. */
async function findStart(
  path: string,
  { size, since }: { readonly size: number; readonly since: number },
): Promise<number> {
  using file = await Deno.open(path);
  let low = 0;
  let high = size;
  while (high - low > PIECE) {
    const middle = Math.floor((low + high) / 2);
    await file.seek(middle, Deno.SeekMode.Start);
    const buffer = new Uint8Array(PIECE);
    const length = await file.read(buffer) ?? 0;
    const text = latin1(buffer.subarray(0, length));
    const time = firstTime(text.slice(text.indexOf("\n") + 1));
    if (Number.isNaN(time) || time >= since) high = middle;
    else low = middle;
  }
  if (low === 0) return 0;
  await file.seek(low, Deno.SeekMode.Start);
  const buffer = new Uint8Array(PIECE);
  const length = await file.read(buffer) ?? 0;
  const end = buffer.subarray(0, length).indexOf(10);
  return end < 0 ? low : low + end + 1;
}

/** Yields whole lines from an offset on, or from gzip; the last one may be incomplete. */
async function* streamOf(
  path: string,
  { from, onProblem }: { readonly from: number | undefined; readonly onProblem: OnProblem },
): AsyncGenerator<string> {
  if (from === undefined) return yield* wholeLines(unpacked(path, onProblem));
  using file = await Deno.open(path);
  await file.seek(from, Deno.SeekMode.Start);
  yield* wholeLines(chunksOf(file));
}

async function* chunksOf(file: Deno.FsFile): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(PIECE);
  for (;;) {
    const length = await file.read(buffer);
    if (length === null) return;
    yield buffer.subarray(0, length);
  }
}

/** Yields the content of a gzip file, up to where it is cut off. */
async function* unpacked(path: string, onProblem: OnProblem): AsyncGenerator<Uint8Array> {
  const packed = createReadStream(path, { highWaterMark: PIECE });
  const whole = packed.pipe(createGunzip({ chunkSize: PIECE }));
  packed.on("error", (error) => whole.destroy(error));
  try {
    yield* whole as AsyncIterable<Uint8Array>;
  } catch (error) {
    onProblem(`${path} is read only in part: ${errorText(error)}`);
  } finally {
    packed.destroy();
    whole.destroy();
  }
}

/** Splits a stream of octets at line ends. */
export async function* wholeLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const lines = new LineCutter();
  for await (const chunk of chunks) {
    const piece = lines.push(chunk);
    if (piece !== "") yield piece;
  }
  if (lines.rest !== "") yield lines.rest;
}

/** Cuts octets at line ends. */
export class LineCutter {
  /** The line that has no end yet. */
  rest = "";

  /** Takes octets; returns the whole lines so far, one character per octet. */
  push(chunk: Uint8Array): string {
    const text = latin1(chunk);
    const end = text.lastIndexOf("\n") + 1;
    if (end === 0) {
      this.rest = this.rest.length + text.length > MAX_LINE ? "" : this.rest + text;
      return "";
    }
    const piece = this.rest + text.slice(0, end);
    this.rest = text.slice(end);
    return piece;
  }
}

function latin1(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).toString("latin1");
}
