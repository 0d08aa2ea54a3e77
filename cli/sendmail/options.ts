/**
 * The command line of sendmail, as programs have used it for decades: one-letter options, with or without a space
 * before their value, in groups, most of them of no meaning here.
 *
 * @module
 */
import type { DsnOptions, Notify } from "../../smtp/envelope.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";

/** What is asked for: to send a message, to speak SMTP, to show the queue, or nothing that needs doing. */
export type SendmailMode = "send" | "smtp" | "queue" | "nothing";

/** The command line, read. */
export interface SendmailOptions {
  readonly mode: SendmailMode;
  /** Also take recipients from To, Cc and Bcc (`-t`). */
  readonly fromHeader: boolean;
  /** A line with only a dot is text, not the end (`-i`). */
  readonly ignoreDots: boolean;
  /** The reverse-path as written (`-f`, `-r`); absent: the user's own. */
  readonly sender?: string;
  /** The sender's name (`-F`). */
  readonly fullName?: string;
  /** When notices are wanted (`-N`). */
  readonly notify?: Notify;
  /** RET and ENVID (`-R`, `-V`). */
  readonly dsn?: DsnOptions;
  /** The configuration file (`-C`, or `--config`). */
  readonly config?: string;
  readonly recipients: readonly string[];
}

const WITH_VALUE = new Set("ABCFLNORVXbefhopr");
const WITHOUT_VALUE = new Set("GIUcimntvx");
// These may have a value, but only directly after them.
const MAYBE_VALUE = new Set("dq");

const MODES: ReadonlyMap<string, SendmailMode> = new Map([
  ["m", "send"],
  ["s", "smtp"],
  ["p", "queue"],
  ["i", "nothing"],
]);

/**
 * Reads the arguments after `sendmail`.
 * @throws {CommandError} with exit code 64
 */
export function parseSendmailOptions(args: readonly string[]): SendmailOptions {
  let mode: SendmailMode = "send";
  let fromHeader = false;
  let ignoreDots = false;
  let sender: string | undefined;
  let fullName: string | undefined;
  let notify: Notify | undefined;
  let dsn: DsnOptions = {};
  let config: string | undefined;
  const recipients: string[] = [];

  const set = (option: string, value: string) => {
    switch (option) {
      case "b":
        mode = MODES.get(value) ?? fail(`-b${value} is not something that is done here`);
        break;
      case "I":
        mode = "nothing";
        break;
      case "q":
        // The queue runs by itself; nothing is read from standard input.
        mode = "nothing";
        break;
      case "t":
        fromHeader = true;
        break;
      case "i":
        ignoreDots = true;
        break;
      case "o":
        if (value === "i") ignoreDots = true;
        break;
      case "f":
      case "r":
        sender = value;
        break;
      case "F":
        fullName = value;
        break;
      case "N":
        notify = parseNotify(value);
        break;
      case "R":
        dsn = { ...dsn, ret: parseRet(value) };
        break;
      case "V":
        dsn = { ...dsn, envelopeId: value };
        break;
      case "C":
        config = value;
        break;
        // The others tune or trace what does not exist here, or ask for the default.
    }
  };

  for (let at = 0; at < args.length; at++) {
    const arg = args[at] ?? "";
    if (arg === "--") {
      recipients.push(...args.slice(at + 1));
      break;
    }
    if (arg === "--config" || arg.startsWith("--config=")) {
      config = arg === "--config"
        ? args[++at] ?? fail("--config needs a file")
        : arg.slice("--config=".length);
      continue;
    }
    if (!arg.startsWith("-") || arg === "-") {
      recipients.push(arg);
      continue;
    }
    for (let i = 1; i < arg.length; i++) {
      const option = arg[i] ?? "";
      const behind = arg.slice(i + 1);
      if (WITHOUT_VALUE.has(option)) {
        set(option, "");
        continue;
      }
      if (MAYBE_VALUE.has(option)) set(option, behind);
      else if (WITH_VALUE.has(option)) {
        set(option, behind !== "" ? behind : args[++at] ?? fail(`-${option} needs a value`));
      } else fail(`unknown option ${JSON.stringify(arg)}`);
      break;
    }
  }
  return {
    mode,
    fromHeader,
    ignoreDots,
    recipients,
    ...(sender !== undefined && { sender }),
    ...(fullName !== undefined && { fullName }),
    ...(notify !== undefined && { notify }),
    ...(Object.keys(dsn).length > 0 && { dsn }),
    ...(config !== undefined && { config }),
  };
}

function parseNotify(value: string): Notify {
  const known = ["NEVER", "SUCCESS", "FAILURE", "DELAY"] as const;
  const wanted = value.toUpperCase().split(",").map((word) =>
    known.find((name) => name === word) ??
      fail(`-N takes never, or success, failure, delay with commas between`)
  );
  if (wanted.includes("NEVER") && wanted.length > 1) fail("-N never stands alone");
  return wanted;
}

function parseRet(value: string): "FULL" | "HDRS" {
  const ret = value.toUpperCase();
  return ret === "FULL" || ret === "HDRS" ? ret : fail("-R takes full or hdrs");
}

function fail(problem: string): never {
  throw new CommandError(`sendmail: ${problem}`, EXIT.usage);
}
