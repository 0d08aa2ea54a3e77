/**
 * Which server wrote a log whose lines do not say so, as standard error that was redirected into a file.
 *
 * @module
 */
import { basename } from "@std/path";
import type { LogSource } from "./log_files.ts";
import { linesAt, linesWith } from "./log_search.ts";
import { parseLine } from "./log_lines.ts";

/** Pieces at the beginning of each part that are searched for the start of a server. */
const MAX_PIECES = 32;
const READY = "server.ready";

/** The server whose starts are in these parts of one log; the name of the file where there is none, or several are. */
export async function writerOf(path: string, parts: readonly LogSource[]): Promise<string> {
  const servers = new Set<string>();
  for (const part of parts) {
    let pieces = 0;
    for await (const piece of part.pieces({ since: -Infinity, until: Infinity })) {
      for (const line of linesAt(piece, linesWith(READY)(piece))) {
        const event = parseLine(line);
        const server = event?.event === READY ? event.fields["server"] : undefined;
        if (typeof server === "string") servers.add(server);
      }
      if (++pieces === MAX_PIECES) break;
    }
  }
  const [server] = servers;
  return servers.size === 1 && server !== undefined
    ? server
    : basename(path).replace(/\.(?:log|json|txt)$/, "");
}

/** The same lines, with a field for the server where they have none. */
export function withWriter(piece: string, server: string): string {
  return piece.split("\n").map((line) => {
    const event = parseLine(line);
    if (event === undefined || "server" in event.fields) return line;
    const value = JSON.stringify(server);
    return line.endsWith("}") && /^(?:<\d>)?\{/.test(line)
      ? `${line.slice(0, -1)},"server":${value}}`
      : `${line} server=${value}`;
  }).join("\n");
}
