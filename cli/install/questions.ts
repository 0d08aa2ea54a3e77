/**
 * Questions on a terminal.
 *
 * @module
 */
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";

/** Asks a question; returns what was typed, `null` at the end of the input. */
export type Ask = (question: string) => string | null;

/** How one question is answered. */
export interface Question {
  /** The flag that answers it in place of the user. */
  readonly flag: string;
  /** The default answer. */
  readonly preset: string | undefined;
  /** Parses the answer; `undefined` if it is invalid. */
  readonly parse: (text: string) => string | undefined;
  /** What is allowed. */
  readonly wanted: string;
}

/** `yes` or `no`, by their first letters too. */
export function parseYesOrNo(answer: string): "yes" | "no" | undefined {
  return /^y(?:es)?$/i.test(answer) ? "yes" : /^no?$/i.test(answer) ? "no" : undefined;
}

/** Asks until the answer is valid; without a terminal uses the default. */
export class Questions {
  readonly #io: Io;
  readonly #ask: Ask | undefined;

  /** Without `ask` the presets are used. */
  constructor(io: Io, ask: Ask | undefined) {
    this.#io = io;
    this.#ask = ask;
  }

  /** Asks for one thing. */
  one(text: string, question: Question): string {
    return this.until(text, question, (answer) => question.parse(answer));
  }

  /** Asks for several things, with spaces or commas between them. */
  several(text: string, question: Question): string[] {
    return this.until(text, question, (answer) => {
      const words = answer.split(/[\s,]+/).filter((word) => word !== "");
      const parsed = words.flatMap((word) => question.parse(word) ?? []);
      return words.length > 0 && parsed.length === words.length ? [...new Set(parsed)] : undefined;
    });
  }

  /** Asks until `read` returns something. */
  until<T>(
    text: string,
    { flag, preset, wanted }: Omit<Question, "parse">,
    read: (answer: string) => T | undefined,
  ): T {
    for (;;) {
      if (this.#ask === undefined && preset === undefined) {
        throw new CommandError(`not a terminal, and no default: give ${flag}, ${wanted}`, EXIT.usage);
      }
      const answer = this.#ask === undefined
        ? preset ?? ""
        : this.#ask(`${text}${preset === undefined ? "" : ` [${preset}]`}:`);
      if (answer === null) throw new CommandError("end of input; nothing was written", EXIT.noInput);
      const value = read(answer.trim() || (preset ?? ""));
      if (value !== undefined) return value;
      this.#io.out(`Please type ${wanted}.\n`);
    }
  }
}
