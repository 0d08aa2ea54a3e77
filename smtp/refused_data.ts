/**
 * What comes after a refused DATA. A program that sends its message all the same must not have it run as commands; a
 * person who types one is told what is missing.
 *
 * @module
 */
import { parseCommand } from "./command.ts";
import type { Line } from "./line_reader.ts";

/** How a line arrived. */
export interface Arrival {
  /** Whether more was received with it. */
  readonly moreAtHand: boolean;
  /** Milliseconds from the last reply until it was there. */
  readonly waited: number;
}

/** What happens to a line: it runs, or it is mail data of a person or of a program. */
export type Verdict = "command" | "typed" | "sent";

// Milliseconds that a person needs to read a reply and type a line; a program that goes on with its message is faster.
const TYPING = 500;

/** What may stand anywhere in a pipelined group; any other command ends it (RFC 2920 §3.1, RFC 3030 §4.2). */
const GROUPED: ReadonlySet<string> = new Set(["RSET", "MAIL", "RCPT", "BDAT"]);
/** What tells nothing about what comes next. */
const NEUTRAL: ReadonlySet<string> = new Set(["NOOP", "HELP", "VRFY", "EXPN"]);

/** Keeps mail data after a refused DATA from running as commands. */
export class RefusedData {
  readonly #isVerb: (verb: string) => boolean;
  #state: "none" | "refused" | "typed" | "sent" = "none";

  /** @param isVerb Whether there is such a command */
  constructor(isVerb: (verb: string) => boolean) {
    this.#isVerb = isVerb;
  }

  /** Whether no refused data can follow. */
  get isOver(): boolean {
    return this.#state === "none";
  }

  /**
   * DATA was refused. It is the last of a pipelined group (RFC 2920 §3.1): what has come with it was meant as mail
   * data.
   */
  begin({ moreAtHand }: Pick<Arrival, "moreAtHand">): void {
    this.#state = moreAtHand ? "sent" : "refused";
  }

  /** Another command ran: the message is forgotten, unless a program may still send it. */
  end(verb: string): void {
    if (this.#state === "typed" || !NEUTRAL.has(verb)) this.#state = "none";
  }

  /** What to do with the next line. QUIT runs in any case, since nothing runs after it. */
  judge(line: Line, { moreAtHand, waited }: Arrival): Verdict {
    if (this.isOver || isQuit(line)) return "command";
    const typed = this.#state !== "sent" && !moreAtHand && waited >= TYPING;
    const verb = line.kind === "line" && !looksLikeData(line.text) ? parseCommand(line.text).verb : "";
    const isCommand = this.#isVerb(verb) && (!moreAtHand || GROUPED.has(verb));
    // After a line that was mail data, or wrong, only a person can mean a command.
    if (isCommand && (typed || this.#state === "refused")) return "command";
    this.#state = typed ? "typed" : "sent";
    return this.#state;
  }
}

function isQuit(line: Line): boolean {
  return line.kind === "line" && /^QUIT[ \t]*$/i.test(line.text);
}

/** Whether a line is like one of a message: a header field, an empty one, one that begins with a dot or a space. */
export function looksLikeData(text: string): boolean {
  return text === "" || /^[.\s]/.test(text) || /^[!-9;-~]+[ \t]*:/.test(text);
}
