/**
 * Finds lines in a log by a text or by ids in them: gigabytes in seconds, since it searches the
 * raw text, and parses only lines that match.
 *
 * @module
 */
import { type LoggedEvent, parseLine } from "./log_lines.ts";
import type { LogSource, TimeRange } from "./log_files.ts";

/** Finds the wanted lines of a piece: returns a position in each, ascending. */
export type LineFinder = (piece: string) => Iterable<number>;

/** Finds lines that contain this text, with or without regard to letter case. */
export function linesWith(
  text: string,
  { anyCase = false }: { readonly anyCase?: boolean } = {},
): LineFinder {
  const wanted = anyCase ? text.toLowerCase() : text;
  return function* (piece) {
    const hay = anyCase ? piece.toLowerCase() : piece;
    for (let at = hay.indexOf(wanted); at >= 0; at = hay.indexOf(wanted, at + wanted.length)) yield at;
  };
}

/**
 * Finds lines that mention one of these ids, of letters and digits.
 * @throws {RangeError} for any other id
 */
export function linesOf(ids: ReadonlySet<string>): LineFinder {
  const odd = [...ids].find((id) => !/^[A-Za-z0-9]+$/.test(id));
  if (odd !== undefined || ids.size === 0) throw new RangeError(`no id: ${odd}`);
  // One expression for all of them looks at each octet about once.
  const any = new RegExp(`(?:${[...ids].join("|")})(?![A-Za-z0-9])`, "g");
  return function* (piece) {
    any.lastIndex = 0;
    for (let found = any.exec(piece); found !== null; found = any.exec(piece)) yield found.index;
  };
}

/** All events of these sources within the range whose lines are found, in their order in the log. */
export async function* searchLog(
  sources: readonly LogSource[],
  { find, range }: { readonly find: LineFinder; readonly range: TimeRange },
): AsyncGenerator<LoggedEvent> {
  for (const source of sources) {
    for await (const piece of source.pieces(range)) {
      for (const line of linesAt(piece, find(piece))) {
        const event = parseLine(line);
        if (event !== undefined && event.time >= range.since && event.time <= range.until) yield event;
      }
    }
  }
}

/** The lines at these positions, each once, in their order. */
export function linesAt(piece: string, places: Iterable<number>): string[] {
  const starts = new Set<number>();
  for (const place of places) starts.add(piece.lastIndexOf("\n", place - 1) + 1);
  return [...starts].sort((one, other) => one - other).map((start) => {
    const end = piece.indexOf("\n", start);
    return piece.slice(start, end < 0 ? piece.length : end);
  });
}
