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

/** Finds lines with a field that is this id, of letters and digits. */
export function linesOfField(id: string): LineFinder {
  const field = new RegExp(`(?:id|session|dsn)"?[:=]"?${checked(id)}(?![A-Za-z0-9])`, "g");
  return (piece) => matchesOf(field, piece);
}

/**
 * One expression for all ids takes a twentieth of what looking each word up does, where they begin alike, as ours do: with
 * the time. From so many beginnings on it takes longer, and from so many ids on it may be too large.
 */
const MANY_BEGINNINGS = 8;
const MANY_IDS = 2000;
/** Characters of a beginning. */
const BEGINNING = 3;
/** By character code: whether it is a letter or a digit of ASCII. */
const IN_WORD = Uint8Array.from(
  { length: 256 },
  (_, code) => /[A-Za-z0-9]/.test(String.fromCharCode(code)) ? 1 : 0,
);

/**
 * Finds lines that mention one of these ids, of letters and digits. Takes no longer the more ids there are.
 * @throws {RangeError} for any other id
 */
export function linesOf(ids: ReadonlySet<string>): LineFinder {
  if (ids.size === 0) throw new RangeError("no id");
  const all = [...ids].map(checked).sort();
  const beginnings = new Set(all.map((id) => id.slice(0, BEGINNING)));
  if (beginnings.size < MANY_BEGINNINGS && all.length < MANY_IDS) {
    const any = new RegExp(`(?:${all.join("|")})(?![A-Za-z0-9])`, "g");
    return (piece) => matchesOf(any, piece);
  }
  // An id may stand behind the letter of an escape sequence, so it is looked for at the end of words.
  const lengths = [...new Set(all.map(({ length }) => length))];
  const shortest = Math.min(...lengths);
  const tails = new Uint8Array(TAILS);
  for (const id of all) tails[tailAt(id, id.length)] = 1;
  // A single character has no tail.
  if (shortest < 2) tails.fill(1);
  return (piece) => {
    const places: number[] = [];
    let start = 0;
    for (let at = 0; at <= piece.length; at++) {
      if (at < piece.length && IN_WORD[piece.charCodeAt(at)] === 1) continue;
      if (at - start >= shortest && tails[tailAt(piece, at)] === 1) {
        for (const length of lengths) {
          if (length > at - start || !ids.has(piece.slice(at - length, at))) continue;
          places.push(at - length);
          break;
        }
      }
      start = at + 1;
    }
    return places;
  };
}

const TAILS = 1 << 14;

/** A number below {@linkcode TAILS} of the last two characters, by which most words are told from all ids at once. */
function tailAt(text: string, end: number): number {
  return (text.charCodeAt(end - 1) << 7 ^ text.charCodeAt(end - 2)) & (TAILS - 1);
}

function checked(id: string): string {
  if (!/^[A-Za-z0-9]+$/.test(id)) throw new RangeError(`no id: ${id}`);
  return id;
}

function* matchesOf(expression: RegExp, piece: string): Generator<number> {
  expression.lastIndex = 0;
  for (let found = expression.exec(piece); found !== null; found = expression.exec(piece)) yield found.index;
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
        if (event === undefined || event.time < range.since || event.time > range.until) continue;
        yield source.server === undefined ? event : withServer(event, source.server);
      }
    }
  }
}

function withServer(event: LoggedEvent, server: string): LoggedEvent {
  return "server" in event.fields ? event : { ...event, fields: { ...event.fields, server } };
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
