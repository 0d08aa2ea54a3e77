/**
 * The command line of sendmail, as programs have used it for decades: one-letter options, with or without a space
 * before their value, in groups, most of them of no meaning here.
 *
 * @module
 */
import type { DsnOptions, Notify } from "../../smtp/envelope.ts";
import { normalizeDomain } from "../../net/domain_name.ts";
import type { QueueFilter } from "../../relay/queue_filter.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";

/**
 * What is asked for: to send a message, to speak SMTP, to show the queue, to try again what waits in it, to say where
 * aliases are, or nothing that needs doing.
 */
export type SendmailMode = "send" | "smtp" | "queue" | "retry" | "aliases" | "nothing";

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
  /** What of the queue to try again (`-qI`, `-qR`, `-qS`); absent: all of it. */
  readonly retry?: QueueFilter;
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
  ["i", "aliases"],
]);

/** Modes of sendmail that are something else here, and what to do instead. */
const INSTEAD: ReadonlyMap<string, string> = new Map([
  ["d", "the servers are services: systemctl start mailapp-in mailapp-out"],
  ["D", "to run a server in the foreground: mailapp serve-out"],
  ["v", "to see how mail to an address would be handled: mailapp explain ADDRESS"],
  ["t", "to see how mail to an address would be handled: mailapp explain ADDRESS"],
  ["h", "to see how other servers answer: mailapp queue list --group domain"],
  ["H", "serve-out clears host back-off by itself: mailapp queue retry --all"],
  ["P", "to see how many messages wait: mailapp queue list --group domain"],
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
  let retry: QueueFilter | undefined;
  const recipients: string[] = [];

  const set = (option: string, value: string) => {
    switch (option) {
      case "b":
        mode = MODES.get(value) ?? fail(
          INSTEAD.has(value)
            ? `-b${value} is not supported; ${INSTEAD.get(value)}`
            : `unknown mode -b${value}`,
        );
        break;
      case "I":
        mode = "aliases";
        break;
      case "q":
        // With an interval it asks for what serve-out does by itself.
        mode = /^\d/.test(value) ? "nothing" : "retry";
        retry = parseRetry(value);
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
    ...(retry !== undefined && { retry }),
  };
}

/** `-qIid`, `-qRdomain`, `-qSsender`; `undefined` for the whole queue. */
function parseRetry(value: string): QueueFilter | undefined {
  const [, key = "", text = ""] = /^([IRS])([^]+)$/.exec(value) ?? [];
  if (key === "I") return { ids: [text] };
  if (key === "S") return { sender: text };
  if (key === "R") {
    return { domain: normalizeDomain(text.slice(text.lastIndexOf("@") + 1)) ?? fail(`-qR takes a domain`) };
  }
  return value === "" || /^[\df]/.test(value)
    ? undefined
    : fail(`-q${value} is not supported; see mailapp queue --help`);
}

function parseNotify(value: string): Notify {
  const known = ["NEVER", "SUCCESS", "FAILURE", "DELAY"] as const;
  const wanted = value.toUpperCase().split(",").map((word) =>
    known.find((name) => name === word) ??
      fail(`-N takes never, or success, failure, delay with commas between`)
  );
  if (wanted.includes("NEVER") && wanted.length > 1) fail("-N never cannot be combined with others");
  return wanted;
}

function parseRet(value: string): "FULL" | "HDRS" {
  const ret = value.toUpperCase();
  return ret === "FULL" || ret === "HDRS" ? ret : fail("-R takes full or hdrs");
}

function fail(problem: string): never {
  throw new CommandError(`sendmail: ${problem}`, EXIT.usage);
}
