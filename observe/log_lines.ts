/**
 * Reads lines of the log back, as `log_format.ts` writes them: JSON or text, with or without the journal's priority.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { LogLevel } from "../base/log.ts";

/** One event of a log. */
export interface LoggedEvent {
  /** Milliseconds since the epoch. */
  readonly time: number;
  /** The level. */
  readonly level: LogLevel;
  /** Its name. */
  readonly event: string;
  /** All other fields. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Octets at the beginning of a line that contain its time. */
export const TIME_WITHIN = 64;

const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/;
/** The part of a text line before the fields. */
const TEXT_HEAD =
  /^(?:<\d>)?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (ERROR|WARN|INFO|DEBUG|TRACE) +([\w.]+)(?: |$)/;
const TEXT_FIELD =
  /([\w.]+)=("(?:[^"\\]|\\[^])*"|\[(?:[^\]"]|"(?:[^"\\]|\\[^])*")*\]|(?!["[])[^\s]*)(?: |$)/y;

/** When a line was written, in milliseconds since the epoch; `NaN` if its beginning has no time. */
export function timeOf(line: string): number {
  const [time] = TIME.exec(line.slice(0, TIME_WITHIN)) ?? [];
  return time === undefined ? NaN : Date.parse(time);
}

/** The event of a line, one character per octet of UTF-8; `undefined` if it is not ours. */
export function parseLine(line: string): LoggedEvent | undefined {
  const start = /^<\d>/.test(line) ? 3 : 0;
  // deno-lint-ignore no-control-regex
  const text = /[^\x00-\x7f]/.test(line) ? Buffer.from(line, "latin1").toString() : line;
  return text[start] === "{" ? parseJson(text.slice(start)) : parseText(text);
}

function parseJson(text: string): LoggedEvent | undefined {
  try {
    const { time, level, event, ...fields } = JSON.parse(text) as Record<string, unknown>;
    const at = Date.parse(String(time));
    if (Number.isNaN(at) || typeof event !== "string") return undefined;
    return { time: at, level: level as LogLevel, event, fields };
  } catch {
    return undefined;
  }
}

function parseText(text: string): LoggedEvent | undefined {
  const head = TEXT_HEAD.exec(text);
  if (head === null) return undefined;
  const [all, time = "", level = "", event = ""] = head;
  const fields: Record<string, unknown> = {};
  TEXT_FIELD.lastIndex = all.length;
  for (let at = all.length; at < text.length; at = TEXT_FIELD.lastIndex) {
    const found = TEXT_FIELD.exec(text);
    if (found === null) {
      // A dialogue event ends with its line.
      fields["line"] = text.slice(at);
      break;
    }
    const [, key = "", value = ""] = found;
    fields[key] = textValue(value);
  }
  return { time: Date.parse(time), level: level.toLowerCase() as LogLevel, event, fields };
}

function textValue(value: string): unknown {
  if (value === "-") return null;
  if (value.startsWith('"')) return unquoted(value);
  if (value.startsWith("[")) {
    const items = value.slice(1, -1).match(/"(?:[^"\\]|\\[^])*"|[^,]+/g) ?? [];
    return items.map((item) => item.startsWith('"') ? unquoted(item) : item);
  }
  return /^-?\d+(?:\.\d+)?$/.test(value)
    ? Number(value)
    : value === "true"
    ? true
    : value === "false"
    ? false
    : value;
}

function unquoted(value: string): string {
  try {
    return JSON.parse(value) as string;
  } catch {
    return value;
  }
}
