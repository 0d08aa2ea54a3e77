/**
 * The message on standard input.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { CommandError, EXIT } from "../../server/exit_codes.ts";

/**
 * Reads until the end, or until a line with only a dot.
 * @throws {CommandError} when it is larger than `max` octets
 */
export async function readInput(
  stdin: { read(buffer: Uint8Array): Promise<number | null> },
  { ignoreDots, max }: { readonly ignoreDots: boolean; readonly max: number },
): Promise<Uint8Array> {
  const buffer = new Uint8Array(64 * 1024);
  const pieces: Uint8Array[] = [];
  let size = 0;
  const dots = new DotFinder();
  for (let count = await stdin.read(buffer); count !== null; count = await stdin.read(buffer)) {
    const piece = buffer.slice(0, count);
    pieces.push(piece);
    size += count;
    if (size > max) {
      throw new CommandError(
        `sendmail: the message is larger than ${max} octets, the limit of serve-out`,
        EXIT.data,
      );
    }
    const end = ignoreDots ? undefined : dots.find(piece);
    if (end !== undefined) return Buffer.concat(pieces, size - count + end);
  }
  return Buffer.concat(pieces, ignoreDots ? size : size - dots.pending);
}

const LF = 10;
const CR = 13;
const DOT = 46;

/** Finds a line with only a dot in a text that comes in pieces. */
class DotFinder {
  #state: "start" | "dot" | "dot-cr" | "line" = "start";

  /** How much of a line with only a dot, so far without its end, stands at the end. */
  get pending(): number {
    return this.#state === "dot" ? 1 : this.#state === "dot-cr" ? 2 : 0;
  }

  /** Where the line begins in this piece; may be negative. */
  find(piece: Uint8Array): number | undefined {
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at];
      if (byte === LF) {
        const length = this.pending;
        this.#state = "start";
        if (length > 0) return at - length;
      } else if (this.#state === "start" && byte === DOT) this.#state = "dot";
      else if (this.#state === "dot" && byte === CR) this.#state = "dot-cr";
      else this.#state = "line";
    }
    return undefined;
  }
}
