/**
 * What a server syncs to disk before its 250, as strace sees it: the calls that end between the final dot and the
 * reply to it.
 *
 * @module
 */
import { start } from "../../tests/support/peers/process.ts";
import { processTree } from "../process_tree.ts";

/** What was synced. */
export interface Synced {
  /** Files. */
  readonly files: number;
  /** Directories. */
  readonly directories: number;
}

/** In words. */
export type Durability = "nothing" | "file" | "file and directory";

/** A moment in seconds since 1970, as strace prints it, from which and to which calls count. */
export interface Interval {
  readonly from: number;
  readonly to: number;
}

/** In words. */
export function durabilityOf({ files, directories }: Synced): Durability {
  if (files === 0) return "nothing";
  return directories === 0 ? "file" : "file and directory";
}

/** Watches the processes while a message is sent, whose last dot and whose reply `send` tells the time of. */
export async function watchSyncs(
  pids: readonly number[],
  send: () => Promise<Interval>,
): Promise<Synced> {
  const tree = [...new Set(pids.flatMap(processTree))];
  const strace = start("strace", {
    args: [
      ...["-f", "-y", "-ttt", "-T", "-e", "trace=fsync,fdatasync,sync_file_range,syncfs,sync"],
      ...tree.flatMap((pid) => ["-p", String(pid)]),
    ],
    stopSignal: "SIGINT",
  });
  try {
    // Some may have ended meanwhile.
    for (const pid of tree) {
      await strace.line(new RegExp(`Process ${pid} attached|, ${pid}\\): No such process`));
    }
    const interval = await send();
    // What was called before the reply may return later.
    await new Promise((resolve) => setTimeout(resolve, 300));
    await strace.stop();
    return syncsIn(strace.lines, { ...interval, isDirectory });
  } finally {
    await strace.stop();
  }
}

/** Counts the syncs that ended within the interval, in what `strace -f -y -ttt -T` wrote. */
export function syncsIn(
  lines: readonly string[],
  { from, to, isDirectory }: Interval & { readonly isDirectory: (path: string) => boolean },
): Synced {
  const unfinished = new Map<string, string>();
  let [files, directories] = [0, 0];
  for (const line of lines) {
    const [, pid = "", time = "", call = ""] = /^(?:\[pid +(\d+)\] )?(\d+\.\d+) (.*)$/.exec(line) ?? [];
    const [, path] = /^f(?:data)?sync\(\d+<([^>]*)>/.exec(call) ?? [];
    if (call.endsWith("<unfinished ...>")) {
      if (path !== undefined) unfinished.set(pid, path);
      continue;
    }
    const resumed = call.startsWith("<... ");
    const synced = resumed ? unfinished.get(pid) : path;
    if (synced === undefined || !/ = 0(?: <|$)/.test(call)) continue;
    unfinished.delete(pid);
    const took = resumed ? 0 : Number(/<([\d.]+)>$/.exec(call)?.[1] ?? 0);
    const ended = Number(time) + took;
    if (ended < from || ended > to) continue;
    if (isDirectory(synced)) directories++;
    else files++;
  }
  return { files, directories };
}

function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    // A file that has been renamed or removed meanwhile.
    return false;
  }
}
