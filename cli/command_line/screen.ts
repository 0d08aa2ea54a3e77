/**
 * What a terminal adds to the output of a command: lines that fit its width, colours, and a sign of life while a command
 * is silent. Files and pipes get none of it, so that a line stays a line.
 *
 * @module
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Io } from "../../server/io.ts";

/** Commands whose output is prose; what others print is copied elsewhere, or is an answer to a question. */
const PROSE = [
  "check-config",
  "doctor",
  "duplicates",
  "explain",
  "prove",
  "queue",
  "selftest",
  "status",
  "trace",
  "what-if",
] as const;

/** Commands that may be silent for seconds and ask nothing. */
const SILENT = [
  "certificate",
  "check-message",
  "dkim",
  "dmarc-report",
  "dns",
  "doctor",
  "duplicates",
  "explain",
  "healthcheck",
  "prove",
  "selftest",
  "send-test",
  "status",
  "tls-report",
  "trace",
  "what-if",
] as const;

/** These read the terminal, or run until Ctrl-C. */
const ATTENDED = ["--login", "--follow", "--watch", "--wait"] as const;

const COLOURS = { red: "\u001b[31m", yellow: "\u001b[33m", green: "\u001b[32m" } as const;
const RESET = "\u001b[0m";

/** The words that are coloured, at the beginning of a line: a colour only repeats what they say. */
const LABELS: readonly (readonly [label: RegExp, colour: keyof typeof COLOURS])[] = [
  [/^(?:FAILURE|error)(?=: )|^not ok(?=: )/, "red"],
  [/^(?:WARNING|warning)(?=: )|^! /, "yellow"],
  [/^ok(?=: |, |$)|^no problems$/, "green"],
];
/** A server of `status`. */
const STATE = /^(serve-[a-z]+ +)(up|DOWN)\b/;

/** The columns of a narrow terminal; less than that is not wrapped for. */
const MIN_COLUMNS = 40;

/** Breaks lines between words; what follows is indented further than the first. A word stays whole. */
export function fitted(text: string, columns: number): string {
  const width = Math.max(columns, MIN_COLUMNS);
  return text.split("\n").map((line) => fittedLine(line, width)).join("\n");
}

function fittedLine(line: string, width: number): string {
  if (line.length <= width) return line;
  const [indent = "", mark = ""] = /^ *([→|!] )?/.exec(line) ?? [];
  const hanging = " ".repeat(Math.min(indent.length + (mark === "" ? 4 : 0), width / 2));
  const lines: string[] = [];
  let rest = line.slice(indent.length);
  let prefix = indent;
  while (prefix.length + rest.length > width) {
    const room = width - prefix.length;
    const before = rest.lastIndexOf(" ", room);
    const at = before > 0 ? before : rest.indexOf(" ", room);
    if (at < 0) break;
    lines.push(prefix + rest.slice(0, at).trimEnd());
    rest = rest.slice(at + 1).trimStart();
    prefix = hanging;
  }
  return [...lines, prefix + rest].join("\n");
}

/** Colours what stands at the beginnings of lines. */
export function coloured(text: string): string {
  return text.split("\n").map((line) => {
    for (const [label, colour] of LABELS) {
      const [found] = label.exec(line) ?? [];
      if (found !== undefined) return COLOURS[colour] + found + RESET + line.slice(found.length);
    }
    return line.replace(
      STATE,
      (_, name: string, state: string) => name + COLOURS[state === "up" ? "green" : "red"] + state + RESET,
    );
  }).join("\n");
}

/** Whether the user wants colours: https://no-color.org, and a terminal that knows them. */
export function wantsColours(env: Io["env"]): boolean {
  return !env.get("NO_COLOR") && env.get("TERM") !== "dumb";
}

/** Milliseconds of silence after which a command shows that it is at work. */
const SILENCE = 1000;

/** What a command writes to, while it runs. */
export class Screen implements Disposable {
  readonly #io: Io;
  readonly #clock: Clock;
  readonly #name: string;
  readonly #ticks: boolean;
  #timer: Timer | undefined;
  #silentSince: number;
  #shown = false;

  /** @param words the command line */
  constructor(words: readonly string[], { io, clock }: { readonly io: Io; readonly clock: Clock }) {
    const [name = ""] = words;
    this.#io = io;
    this.#clock = clock;
    this.#name = name;
    this.#silentSince = clock.monotonic();
    this.#ticks = io.isTerminal && includes(SILENT, name) && !words.some((word) => includes(ATTENDED, word));
    this.#await();
  }

  /** Writes to standard output, as the terminal `io.columns` wide can show it. */
  readonly out = (text: string): void => {
    this.#clear();
    this.#io.out(this.#dressed(text));
  };

  /** Writes to standard error. */
  readonly err = (text: string): void => {
    this.#clear();
    this.#io.err(text);
  };

  /** Takes away what is shown. */
  [Symbol.dispose](): void {
    this.#timer?.cancel();
    this.#clear();
  }

  #dressed(text: string): string {
    const columns = this.#io.columns?.();
    if (columns === undefined || !includes(PROSE, this.#name)) return text;
    // What clears the screen is no part of the first line.
    // deno-lint-ignore no-control-regex
    const [control = ""] = /^(?:\u001b\[[\d;]*[A-Za-z])*/.exec(text) ?? [];
    const lines = fitted(text.slice(control.length), columns);
    return control + (wantsColours(this.#io.env) ? coloured(lines) : lines);
  }

  #await(): void {
    if (!this.#ticks) return;
    this.#timer = this.#clock.after(SILENCE, () => {
      const silent = this.#clock.monotonic() - this.#silentSince;
      if (silent >= SILENCE) {
        this.#io.err(`\r\u001b[Kmailapp ${this.#name} … ${Math.floor(silent / 1000)} s`);
        this.#shown = true;
      }
      this.#await();
    });
  }

  #clear(): void {
    if (this.#shown) this.#io.err("\r\u001b[K");
    this.#shown = false;
    this.#silentSince = this.#clock.monotonic();
  }
}

function includes(list: readonly string[], word: string): boolean {
  return list.includes(word);
}
