/**
 * smtp-sink on several addresses, and how much it has taken.
 *
 * @module
 */
import type { Folder } from "../tests/support/peers/folder.ts";
import { untilListening } from "../tests/support/peers/ports.ts";
import { start } from "../tests/support/peers/process.ts";

/** Takes mail on several addresses and counts it. */
export interface Sinks extends AsyncDisposable {
  /** Messages so far, all addresses together. */
  count(): Promise<number>;
}

/** Starts one on this port of each host and waits until all answer; the counts are written into the folder. */
export async function startSinks(
  folder: Folder,
  { port, hosts }: { port: number; hosts: readonly string[] },
): Promise<Sinks> {
  const stack = new AsyncDisposableStack();
  const files: string[] = [];
  for (const address of hosts) {
    const file = await folder.write(`count-${address}`, "");
    files.push(file);
    // -c writes the count at each message: into a file, since reading it from a pipe would cost this process more.
    stack.use(start("sh", {
      args: ["-c", 'exec smtp-sink -c -u nobody "$1" 1000 > "$0"', file, `inet:[${address}]:${port}`],
    }));
    await untilListening(port, address);
  }
  return {
    async count() {
      const counts = await Promise.all(files.map(readCount));
      return counts.reduce((sum, count) => sum + count, 0);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** The last count in what smtp-sink -c wrote: `sess=1 quit=1 mesg=1`, each followed by CR. */
async function readCount(path: string): Promise<number> {
  using file = await Deno.open(path);
  const { size } = await file.stat();
  const tail = new Uint8Array(200);
  await file.seek(Math.max(0, size - tail.length), Deno.SeekMode.Start);
  const length = await file.read(tail) ?? 0;
  const counts = new TextDecoder().decode(tail.subarray(0, length)).matchAll(/mesg=(\d+)\r/g);
  return Number([...counts].at(-1)?.[1] ?? 0);
}
