/**
 * Text for people on a terminal: it must not move the cursor, and times are readable.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import type { Io } from "../../server/io.ts";

// Control characters, line separators, and characters that change the direction of text.
// deno-lint-ignore no-control-regex
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Untrusted text in one line, with control characters escaped as `\u001b`. */
export function printable(text: string): string {
  return text.replaceAll(UNSAFE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

const UNITS: readonly [name: string, ms: number][] = [
  ["day", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

/** A length of time in its largest unit, rounded down: `5 min`, `2 days`; `0 s` for less than a second. */
export function showDuration(ms: number): string {
  const [name, unit] = UNITS.find(([, unit]) => ms >= unit) ?? ["s", 1000];
  const count = Math.max(0, Math.floor(ms / unit));
  return `${count} ${name}${name === "day" && count !== 1 ? "s" : ""}`;
}

/** A moment in UTC, to the second. */
export function showTime(ms: number): string {
  return new Date(ms).toISOString().replace("T", " ").replace(/\.\d+Z$/, "Z");
}

/** A size in octets, KiB or MiB. */
export function showSize(octets: number): string {
  if (octets < 1024) return `${octets} B`;
  const kib = octets / 1024;
  return kib < 1024 ? `${kib.toFixed(1)} KiB` : `${(kib / 1024).toFixed(1)} MiB`;
}

/** `1 message`, `2 messages`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

// Less than this need no display, and a terminal needs no more than this of it.
const INTERVAL = 500;

/** Shows the progress of long work on standard error if it is a terminal. */
export class Progress implements Disposable {
  readonly #io: Io;
  readonly #clock: Clock;
  readonly #noun: string;
  #done = 0;
  #shownAt: number;
  #shown = false;

  /** Shows nothing at first. */
  constructor(noun: string, { io, clock }: { readonly io: Io; readonly clock: Clock }) {
    this.#noun = noun;
    this.#io = io;
    this.#clock = clock;
    this.#shownAt = clock.monotonic();
  }

  /** One more is done. */
  step(): void {
    this.#done++;
    const now = this.#clock.monotonic();
    if (!this.#io.isTerminal || now - this.#shownAt < INTERVAL) return;
    this.#io.err(`\r\u001b[K${count(this.#done, this.#noun)} …`);
    this.#shown = true;
    this.#shownAt = now;
  }

  /** Clears the line for other output. */
  clear(): void {
    if (this.#shown) this.#io.err("\r\u001b[K");
    this.#shown = false;
    this.#shownAt = this.#clock.monotonic();
  }

  /** The same as {@linkcode Progress.clear}. */
  [Symbol.dispose](): void {
    this.clear();
  }
}
