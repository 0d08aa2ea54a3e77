/**
 * Follows log files as they grow, over rotations.
 *
 * @module
 */
import { LineCutter } from "./log_files.ts";

/** In milliseconds. */
const POLL_INTERVAL = 250;
/** How long a file that was rotated away is still read, in polls: servers write to it until they are told. */
const KEPT = 240;
/** Files of one log that are open at a time; a log rotated more often loses its oldest. */
const MAX_PARTS = 10;
const BUFFER = 1 << 16;

/**
 * Yields the lines that are written to these files from now on, in pieces of whole lines, until the signal. A file that
 * takes the place of another is read from its beginning, after what was still written to the old one.
 * @param options `mark`: changes what was read from one of these files
 */
export async function* tailOf(
  paths: readonly string[],
  { signal, mark = (piece) => piece }: {
    readonly signal: AbortSignal;
    readonly mark?: (piece: string, path: string) => string;
  },
): AsyncGenerator<string> {
  const tails = paths.map((path) => new Tail(path));
  try {
    for (const tail of tails) await tail.start();
    while (!signal.aborted) {
      let isIdle = true;
      for (const tail of tails) {
        for await (const piece of tail.read()) {
          isIdle = false;
          yield mark(piece, tail.path);
        }
      }
      // Before the look: what was written to a file before it was rotated away is read first.
      if (isIdle) await pause(signal);
      for (const tail of tails) await tail.look();
    }
  } finally {
    for (const tail of tails) tail.close();
  }
}

/** One file that is or was at the path. */
interface Part {
  readonly file: Deno.FsFile;
  readonly lines: LineCutter;
  /** Octets read. */
  at: number;
  /** Looks since another one has taken its place. */
  looks: number;
}

class Tail {
  readonly path: string;
  readonly #buffer = new Uint8Array(BUFFER);
  /** The present one last. */
  #parts: Part[] = [];

  constructor(path: string) {
    this.path = path;
  }

  /** Opens the file at its end, if it is there. */
  async start(): Promise<void> {
    const part = await this.#open();
    if (part !== undefined) part.at = await part.file.seek(0, Deno.SeekMode.End);
  }

  /** Yields what is new. */
  async *read(): AsyncGenerator<string> {
    for (const part of this.#parts) {
      for (;;) {
        const length = await part.file.read(this.#buffer);
        if (length === null) break;
        part.at += length;
        const piece = part.lines.push(this.#buffer.subarray(0, length));
        if (piece !== "") yield piece;
      }
    }
  }

  /** Looks whether another file has taken the place of the present one. */
  async look(): Promise<void> {
    const found = await Deno.stat(this.path).catch(() => undefined);
    const present = this.#parts.at(-1);
    if (found !== undefined && present !== undefined) {
      const open = await present.file.stat();
      if (found.ino === open.ino && found.dev === open.dev) {
        // Emptied in its place, as by copytruncate.
        if (found.size < present.at) {
          present.at = await present.file.seek(0, Deno.SeekMode.Start);
          present.lines.rest = "";
        }
      } else await this.#open();
    } else if (found !== undefined) await this.#open();
    const last = this.#parts.length - 1;
    this.#parts = this.#parts.filter((part, index) => {
      if (index < last && part.looks++ < KEPT && last - index < MAX_PARTS) return true;
      if (index === last) return true;
      part.file.close();
      return false;
    });
  }

  close(): void {
    for (const { file } of this.#parts) file.close();
    this.#parts = [];
  }

  async #open(): Promise<Part | undefined> {
    try {
      const part = { file: await Deno.open(this.path), lines: new LineCutter(), at: 0, looks: 0 };
      this.#parts.push(part);
      return part;
    } catch (error) {
      // Between the two steps of a rotation there is none.
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }
}

/** Waits for the next look, or the signal. */
async function pause(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, POLL_INTERVAL);
  signal.addEventListener("abort", () => resolve(), { once: true });
  if (signal.aborted) resolve();
  await promise;
  clearTimeout(timer);
}
