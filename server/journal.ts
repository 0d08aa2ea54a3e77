/**
 * Whether systemd's journal reads standard error, and text for it.
 *
 * @module
 */
import type { Io } from "./io.ts";

/** Whether standard error is the stream that systemd names in `JOURNAL_STREAM` (systemd.exec(5)): device and inode. */
export function isJournal(stream: string | undefined): boolean {
  if (stream === undefined) return false;
  try {
    const { dev, ino } = Deno.statSync("/proc/self/fd/2");
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

/** Where a command writes texts about errors; to be made before the process gives up permissions. */
export function errorOutput({ env, err }: Pick<Io, "env" | "err">): (text: string) => void {
  return errorWriter(err, { toJournal: isJournal(env.get("JOURNAL_STREAM")) });
}

/**
 * What writes texts about errors: each line begins with the priority of errors where the journal reads it, which
 * takes it off (sd-daemon(3)).
 */
export function errorWriter(
  err: (text: string) => void,
  { toJournal = false }: { readonly toJournal?: boolean | undefined },
): (text: string) => void {
  return toJournal ? (text) => err(text.split("\n").map((line) => line && `<3>${line}`).join("\n")) : err;
}
