/**
 * Shows long output a page at a time on a terminal.
 *
 * The output is collected first and paged when the command has ended, so that nothing is held while somebody reads:
 * neither the lock of a stopped serve-out's queue nor a connection to a running one.
 *
 * @module
 */
import { Option } from "commander";
import type { ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { fitted } from "./screen.ts";

/** Upper bound of what is collected, in UTF-16 units. */
const MAX_TEXT = 64 * 1024 * 1024;

/** The terminal that a pager reads keys from. */
export interface PagerTerminal {
  /** Its size; absent if it has none, as a serial line. Asked again for each page, as windows change. */
  size(): { readonly rows: number; readonly columns: number } | undefined;
  /** Waits for input, which is not echoed; what was typed, `""` at its end. */
  keys(): string;
}

/** Flags of a command whose output is paged. */
export interface PagerFlags {
  /** `false` with `--no-pager`. */
  readonly pager?: boolean;
  readonly json?: true;
}

/** `--no-pager`. */
export function pagerOption(): Option {
  return new Option("--no-pager", "on a terminal, print everything at once");
}

/** Runs a command whose output is paged if it is longer than the screen of a terminal. */
export async function paged(
  command: (io: Io) => Promise<ExitCode>,
  { flags, io, terminal = terminalOf(io) }: {
    readonly flags: PagerFlags;
    readonly io: Io;
    /** Default: that of the process, if both its input and its output are one. */
    readonly terminal?: PagerTerminal;
  },
): Promise<ExitCode> {
  if (flags.pager === false || flags.json || terminal?.size() === undefined) return await command(io);
  const parts: string[] = [];
  let length = 0;
  const out = (text: string) => {
    if (length < MAX_TEXT) parts.push(text);
    length += text.length;
  };
  try {
    return await command({ ...io, out });
  } finally {
    if (length >= MAX_TEXT) parts.push("(the rest is too long to be paged; --no-pager prints everything)\n");
    page(parts.join(""), { out: io.out, terminal });
  }
}

type Step = "page" | "line" | "quit";

const STEPS: Readonly<Record<string, Step>> = {
  " ": "page",
  f: "page",
  "\u001b[6~": "page", // Page Down
  "\r": "line",
  "\n": "line",
  j: "line",
  "\u001b[B": "line", // Down
  q: "quit",
  Q: "quit",
  "\u0003": "quit", // Ctrl-C
  "\u0004": "quit", // Ctrl-D
  "\u001b": "quit",
};

/** Prints text, and waits for a key each time that the screen is full. */
function page(text: string, { out, terminal }: { out: Io["out"]; readonly terminal: PagerTerminal }): void {
  const columns = terminal.size()?.columns ?? Infinity;
  // As it is folded when it is written, so that the rows are counted that there will be.
  const lines = fitted(text, columns).split(/(?<=\n)/);
  const typed: string[] = [];
  let left = room(terminal);
  let ready = "";
  for (const [at, line] of lines.entries()) {
    const rows = rowsOf(line, terminal);
    if (rows > left && at > 0) {
      const percent = Math.floor(100 * at / lines.length);
      const prompt = `--More-- (${percent}%) space: next page, Enter: next line, q: quit`;
      out(ready + prompt.slice(0, columns - 1));
      ready = "";
      const step = nextStep(typed, terminal);
      out("\r\u001b[K");
      if (step === "quit") return;
      left = step === "page" ? room(terminal) : rows;
    }
    ready += line;
    left -= rows;
  }
  out(ready);
}

function nextStep(typed: string[], terminal: PagerTerminal): Step {
  for (;;) {
    if (typed.length === 0) {
      const keys = terminal.keys();
      if (keys === "") return "quit";
      // A key that is no character comes as one sequence.
      typed.push(...keys.startsWith("\u001b") ? [keys] : keys);
    }
    const key = typed.shift() ?? "";
    if (Object.hasOwn(STEPS, key)) return STEPS[key] ?? "quit";
  }
}

/** The rows of a page, below which the prompt has one. */
function room(terminal: PagerTerminal): number {
  return Math.max(1, (terminal.size()?.rows ?? Infinity) - 1);
}

/** The rows that a line takes; rather one too many, so that nothing leaves the screen unread. */
function rowsOf(line: string, terminal: PagerTerminal): number {
  let width = 0;
  for (const char of line) width += char < "\u1100" ? 1 : 2;
  if (line.endsWith("\n")) width--;
  return Math.max(1, Math.ceil(width / (terminal.size()?.columns ?? Infinity)));
}

function terminalOf({ env }: Io): PagerTerminal | undefined {
  const { stdin, stdout } = Deno;
  // A dumb terminal cannot erase the prompt.
  if (!stdin.isTerminal() || !stdout.isTerminal() || env.get("TERM") === "dumb") return undefined;
  const buffer = new Uint8Array(64);
  return {
    size() {
      const { rows, columns } = Deno.consoleSize();
      return rows > 0 && columns > 0 ? { rows, columns } : undefined;
    },
    keys() {
      // Ctrl-C comes as a key, so that the terminal never stays in this mode.
      stdin.setRaw(true);
      try {
        return new TextDecoder().decode(buffer.subarray(0, stdin.readSync(buffer) ?? 0));
      } finally {
        stdin.setRaw(false);
      }
    },
  };
}
