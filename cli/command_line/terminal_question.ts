/**
 * A question on the terminal.
 *
 * @module
 */
import type { Io } from "../../server/io.ts";

/**
 * Asks a question on the terminal, which stays in its normal mode, so that Ctrl-C ends the program.
 * @returns the line; `null` at the end of the input
 */
export function askOnTerminal(question: string, { out }: Pick<Io, "out">): string | null {
  out(`${question} `);
  const bytes: number[] = [];
  const byte = new Uint8Array(1);
  while (Deno.stdin.readSync(byte) !== null) {
    if (byte[0] === 10) return new TextDecoder().decode(Uint8Array.from(bytes));
    bytes.push(byte[0] ?? 0);
  }
  return bytes.length > 0 ? new TextDecoder().decode(Uint8Array.from(bytes)) : null;
}
