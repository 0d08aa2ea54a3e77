/**
 * One event as one line, for people or for programs.
 *
 * Values come from the network: nothing in them may end the line, move the cursor or reverse the text.
 *
 * @module
 */
import type { LogFields, LogLevel, LogValue } from "../base/log.ts";

/** An event, ready to be written. */
export interface LogEvent {
  /** Milliseconds since the Unix epoch. */
  readonly time: number;
  /** The level. */
  readonly level: LogLevel;
  /** Its name, as in docs/logs.md. */
  readonly event: string;
  /** Its fields; `undefined` ones are left out. */
  readonly fields: LogFields;
}

/** Longest value that is written in full, in UTF-16 units; a longer one ends in `…`. */
export const MAX_VALUE_LENGTH = 4096;
/** Upper bound of the list elements written; the rest is counted. */
export const MAX_LIST_LENGTH = 200;

// C0 and DEL, C1, line and paragraph separator, the marks and embeddings of Unicode's bidirectional algorithm, and
// the invisible characters that are used to make one text look like another.
// deno-lint-ignore no-control-regex
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/;
const UNSAFE_ALL = new RegExp(UNSAFE, "g");
// Characters that a text value may contain without quotes.
const PLAIN = /^[^\s"'=\\,[\]]+$/u;
// Characters that need no escaping in JSON, and are safe.
const PLAIN_JSON = /^[ !#-[\]-~]*$/;
const RESERVED = new Set(["time", "level", "event"]);

/**
 * `{"time":"…","level":"info","event":"session.closed",…}`: always these three first. A field of the program that
 * has one of these names is written with `_` before it.
 */
export function formatJson({ time, level, event, fields }: LogEvent): string {
  // Concatenated, since `JSON.stringify()` of an object with varying fields costs several times as much.
  let line = `{"time":"${timestamp(time)}","level":"${level}","event":${jsonString(event)}`;
  for (const key in fields) {
    const value = fields[key];
    if (value === undefined) continue;
    line += `,${jsonString(RESERVED.has(key) ? `_${key}` : key)}:${jsonValue(value)}`;
  }
  return `${line}}`;
}

function jsonValue(value: Exclude<LogValue, undefined>): string {
  if (typeof value === "string") return jsonString(shortenedText(value));
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `[${shortenedList(value).map((item) => jsonValue(item)).join(",")}]`;
}

function jsonString(text: string): string {
  // JSON escapes C0 only.
  return PLAIN_JSON.test(text) ? `"${text}"` : escapeUnsafe(JSON.stringify(text));
}

// Many lines share one second.
let lastSecond = NaN;
let upToSecond = "";

/** As `toISOString()` of a date has it. */
function timestamp(time: number): string {
  const milliseconds = Math.trunc(time);
  const second = Math.floor(milliseconds / 1000);
  if (second !== lastSecond) {
    upToSecond = new Date(second * 1000).toISOString().slice(0, -"000Z".length);
    lastSecond = second;
  }
  return `${upToSecond}${String(milliseconds - second * 1000).padStart(3, "0")}Z`;
}

/**
 * `2026-11-24T03:20:11.123Z INFO  session.closed session=x peer=192.0.2.1`. Values with spaces, `=`, quotes and the
 * like are quoted as in JSON. A `dialogue` event ends with its line verbatim, control characters escaped.
 */
export function formatText({ time, level, event, fields }: LogEvent): string {
  let line = `${timestamp(time)} ${level.toUpperCase().padEnd(5)} ${event}`;
  const spoken = event === "dialogue" && typeof fields.line === "string" ? fields.line : undefined;
  for (const key in fields) {
    const value = fields[key];
    if (value === undefined || (spoken !== undefined && key === "line")) continue;
    line += ` ${key}=${textValue(value)}`;
  }
  return spoken === undefined ? line : `${line} ${escapeUnsafe(shortenedText(spoken))}`;
}

function textValue(value: Exclude<LogValue, undefined>): string {
  if (typeof value === "string") return textString(shortenedText(value));
  if (value === null) return "-";
  if (typeof value === "object") return `[${shortenedList(value).map((item) => textValue(item)).join(",")}]`;
  return String(value);
}

function textString(text: string): string {
  return PLAIN.test(text) && !UNSAFE.test(text) && text !== "-" ? text : escapeUnsafe(JSON.stringify(text));
}

function escapeUnsafe(text: string): string {
  if (!UNSAFE.test(text)) return text;
  return text.replace(
    UNSAFE_ALL,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function shortenedList(values: readonly string[] | readonly number[]): readonly (string | number)[] {
  const items: (string | number)[] = values.slice(0, MAX_LIST_LENGTH);
  if (values.length > MAX_LIST_LENGTH) items.push(`… ${values.length - MAX_LIST_LENGTH} more`);
  return items;
}

function shortenedText(text: string): string {
  return text.length > MAX_VALUE_LENGTH ? text.slice(0, MAX_VALUE_LENGTH) + "…" : text;
}
