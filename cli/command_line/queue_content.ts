/**
 * `mailapp queue cat`: prints queued messages.
 *
 * @module
 */
import { writeAllSync } from "../../base/write_all.ts";
import { loadConfig } from "../../config/load.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import { type Io, OutputClosedError } from "../../server/io.ts";
import { openQueue } from "../../server/queue_access.ts";
import { printable } from "./terminal.ts";

/** Prints a message as it is sent, with LF line ends; on a terminal, what is unsafe for it is escaped. */
export async function printContent(
  id: string,
  { config: file, io, output = Deno.stdout }: {
    readonly config: string | undefined;
    readonly io: Io;
    /** Where the message goes. */
    readonly output?: { isTerminal(): boolean; writeSync(bytes: Uint8Array): number };
  },
): Promise<ExitCode> {
  await using queue = await openQueue(await loadConfig(file, { env: io.env }), io);
  const lines = new LineFeeds();
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  let isThere = false;
  for await (const piece of queue.content(id)) {
    isThere = true;
    const bytes = lines.convert(piece);
    write(
      output,
      output.isTerminal() ? encoder.encode(safeText(decoder.decode(bytes, { stream: true }))) : bytes,
    );
  }
  if (isThere) return EXIT.ok;
  throw new CommandError(`no such message in the queue: ${printable(id)}`, EXIT.unavailable);
}

function write(output: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  try {
    writeAllSync(output, bytes);
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) throw new OutputClosedError({ cause: error });
    throw error;
  }
}

function safeText(text: string): string {
  return text.split("\n").map((line) => line.split("\t").map(printable).join("\t")).join("\n");
}

const CR = 13;
const LF = 10;

/** Makes CRLF to LF, in pieces. */
class LineFeeds {
  #pendingCr = false;

  /** What is known of the text so far, without what the call before returned. */
  convert(piece: Uint8Array): Uint8Array {
    const result = new Uint8Array(piece.length + 1);
    let length = 0;
    for (const byte of piece) {
      if (this.#pendingCr && byte !== LF) result[length++] = CR;
      this.#pendingCr = byte === CR;
      if (byte !== CR) result[length++] = byte;
    }
    return result.subarray(0, length);
  }
}
