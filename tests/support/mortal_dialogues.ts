/**
 * The program with threads for dialogues that can be made to die: the first one that finds the file `die` in the
 * directory of messages that wait (of serve-out: in the spool) removes it, and throws.
 *
 * @module
 */
import { join } from "@std/path";
import { isConfined, serveConfined } from "../../server/confinement.ts";
import { DIALOGUES, INTAKE, type ToDialogues } from "../../server/dialogues/messages.ts";
import { incomingDirectory } from "../../server/parts.ts";
import { loadHelper, loadServer } from "../../server/servers.ts";
import type { RunHelper } from "../../server/threads.ts";

const err = (text: string) => void Deno.stderr.writeSync(new TextEncoder().encode(text));

function dieWhenTold({ data }: MessageEvent<ToDialogues>): void {
  if (data.kind !== "start") return;
  const { server, config } = data.start;
  const path = server === "serve-in"
    ? join(incomingDirectory(config), "die")
    : join(config.dataDir, "spool", "incoming", "die");
  setInterval(() => {
    try {
      Deno.removeSync(path);
    } catch {
      return;
    }
    throw new Error("told to die");
  }, 10);
}

if (isConfined()) {
  const helper = async (name: string): Promise<RunHelper | undefined> => {
    if (name === DIALOGUES || name === INTAKE) addEventListener("message", dieWhenTold as EventListener);
    return await loadHelper(name);
  };
  await serveConfined({ server: loadServer, helper }, { err, entry: import.meta.url });
} else {
  await import("../../main.ts");
}
