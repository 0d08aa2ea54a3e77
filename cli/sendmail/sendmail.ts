/**
 * `mailapp sendmail`: hands a message of a local program to serve-out, as /usr/sbin/sendmail does. Needs no rights:
 * where the configuration cannot be read, serve-out is looked for at its default address.
 *
 * @module
 */
import type { Command } from "commander";
import { writeAll } from "../../base/write_all.ts";
import { parseAddressList } from "../../message/address_list.ts";
import { namedRecipients, withAuthor } from "../../message/submission.ts";
import { DEFAULT_CONFIG_FILE } from "../../config/load.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { type HandedOver, handOver, NotServingError } from "../../smtp/hand_over.ts";
import type { RecipientResult } from "../../smtp/send_result.ts";
import { examples, type Registrar } from "../command_line/subcommand.ts";
import { readInput } from "./input.ts";
import { leave } from "./maildrop.ts";
import type { Message } from "./message.ts";
import { parseSendmailOptions, type SendmailOptions } from "./options.ts";
import { connect, findServer, type Server, talk } from "./server.ts";

/** How a program finds the way from here to the queue. */
export interface SendmailIo extends Io {
  /** Where the message comes from. */
  readonly stdin: { read(buffer: Uint8Array): Promise<number | null> };
  /** Where the answers of `-bs` go. */
  readonly stdout: { write(bytes: Uint8Array): Promise<number> };
}

/** Registers the subcommand. Its options are read elsewhere, since commander does not take `-fsender` and `-oi`. */
export function registerSendmail(program: Command, { io, action }: Registrar): void {
  program.command("sendmail")
    .description("hand a message from standard input to serve-out, as /usr/sbin/sendmail does")
    .usage("[-t] [-i] [-f SENDER] [-F NAME] [RECIPIENT...]")
    .helpOption("--help")
    .option("-t", "take recipients from To, Cc and Bcc as well, and drop Bcc")
    .option("-i", "a line with only a dot does not end the message (also -oi)")
    .option("-f <sender>", "the envelope's sender; '' is the null sender")
    .option("-F <name>", "the sender's name, for a message without From")
    .option("-N <when>", "when to send a notice: never, or success,failure,delay")
    .option("-R <what>", "what a failure notice returns: full or hdrs")
    .option("-V <id>", "the envelope id, repeated in notices")
    .option("-C <file>", "the configuration file (also --config); needed only if serve-out is not on port 25")
    .option("-q", "retry waiting messages now; -qI<id>, -qR<domain>, -qS<sender>: only that")
    .option(
      "-b <mode>",
      "m: take a message (as without -b); s: speak SMTP on standard input and output; p: list the queue, as mailq; " +
        "i: say where aliases are, as newaliases",
    )
    .argument("[recipients...]")
    .addHelpText(
      "after",
      examples("mailapp sendmail -t < message.eml", "ln -s /usr/local/bin/mailapp /usr/sbin/sendmail"),
    )
    .action(action((recipients: string[]) => sendmail(["--", ...recipients], { ...io, ...standardStreams })));
}

/** The process's own streams. */
export const standardStreams = {
  stdin: { read: (buffer: Uint8Array): Promise<number | null> => Deno.stdin.read(buffer) },
  stdout: { write: (bytes: Uint8Array): Promise<number> => Deno.stdout.write(bytes) },
};

/**
 * Runs sendmail with these arguments. Where serve-out cannot be reached, or puts the message off, it waits in the
 * maildrop: programs such as cron do not retry.
 * @throws {CommandError} with the exit code of sysexits.h that fits: 75 when serve-out says 4xx, or is not there, and the
 * message cannot wait in the maildrop
 */
export async function sendmail(args: readonly string[], io: SendmailIo): Promise<ExitCode> {
  const options = parseSendmailOptions(args);
  if (options.mode === "nothing") return EXIT.ok;
  if (options.mode === "aliases") return sayWhereAliasesAre(options, io);
  if (options.mode === "queue" || options.mode === "retry") return await forQueue(options, io);
  const server = await findServer(options, io);
  if (options.mode === "smtp") return await passThrough(await connect(server), io);
  const max = await largestMessage(server);
  // Without a connection: a program may write for hours, as cron's jobs do, and serve-out waits for minutes only.
  const input = await readInput(io.stdin, { ignoreDots: options.ignoreDots, max });
  const message = read(options, { input, user: userName(io) });
  let results: readonly RecipientResult[];
  try {
    results = await talk(server, (client) => handOver(client, handedOver(message)));
  } catch (error) {
    if (error instanceof RangeError) {
      throw new CommandError(`sendmail: ${error.message}`, EXIT.data, { cause: error });
    }
    if (!(error instanceof NotServingError)) throw error;
    return await leave(message, { server, reason: error.message });
  }
  return report(message, { results: await leaveWhatWaits(message, { results, server, io }), io });
}

/** `newaliases`: there is nothing to rebuild. */
function sayWhereAliasesAre({ config }: SendmailOptions, { env, out }: Io): ExitCode {
  const file = config ?? (env.get("MAILAPP_CONFIG") || DEFAULT_CONFIG_FILE);
  out(
    `aliases are in [mailboxes.aliases] of ${file}; after a change: systemctl reload mailapp-in mailapp-out\n`,
  );
  return EXIT.ok;
}

/** `-bp` and `-q`. */
async function forQueue({ mode, retry, config }: SendmailOptions, io: Io): Promise<ExitCode> {
  const { listQueue, retryQueue } = await import("../queue.ts");
  const flags = config === undefined ? {} : { config };
  return mode === "queue" ? await listQueue(flags, io) : await retryQueue(retry ?? {}, { flags, io });
}

/** Leaves what must wait in the maildrop; returns what is left to report. */
async function leaveWhatWaits(
  message: Message,
  { results, server, io }: {
    readonly results: readonly RecipientResult[];
    readonly server: Server;
    readonly io: Pick<Io, "err">;
  },
): Promise<readonly (RecipientResult | undefined)[]> {
  const recipients = message.recipients.filter((_, index) => isPutOff(results[index]));
  if (recipients.length === 0) return results;
  const lost = results.flatMap((result) => result.kind === "lost" ? [result.error] : []);
  try {
    await leave({ ...message, recipients }, {
      server,
      reason: lost[0] ?? "serve-out does not accept it now",
    });
  } catch (error) {
    // Its refusals must be reported as well, and what others have received must not be sent again.
    const isSafe = results.some(({ kind }) => kind === "relayed");
    if (!(error instanceof CommandError) || (lost.length > 0 && !isSafe)) throw error;
    io.err(`${error.message}\n`);
    return results;
  }
  return results.map((result) => isPutOff(result) ? undefined : result);
}

function isPutOff(result: RecipientResult | undefined): boolean {
  return result?.kind === "lost" || (result?.kind === "refused" && result.reply.code < 500);
}

/** The size limit of serve-out; while it is not running, that of its configuration. */
async function largestMessage(server: Server): Promise<number> {
  try {
    return await talk(server, (client) => Promise.resolve(client.capabilities.size || server.maxMessageSize));
  } catch (error) {
    if (error instanceof NotServingError) return server.maxMessageSize;
    throw error;
  }
}

function read(
  options: SendmailOptions,
  { input, user }: { readonly input: Uint8Array; readonly user: string },
): Message {
  const { notify, dsn } = options;
  const sender = options.sender === undefined ? user : parseAddressList(options.sender)[0] ?? "";
  const bytes = options.fullName === undefined
    ? input
    : withAuthor(input, { address: sender === "" ? "MAILER-DAEMON" : sender, name: options.fullName });
  const named = options.recipients.flatMap(parseAddressList);
  const recipients = [...new Set([...named, ...options.fromHeader ? namedRecipients(input) : []])];
  if (recipients.length === 0) {
    const hint = options.fromHeader
      ? "To, Cc and Bcc have no address"
      : "name them, or use -t to take them from the message";
    throw new CommandError(`sendmail: no recipients: ${hint}`, EXIT.usage);
  }
  return { sender, recipients, bytes, ...(notify && { notify }), ...(dsn && { dsn }) };
}

function handedOver({ bytes, ...message }: Message): HandedOver {
  return {
    ...message,
    size: bytes.length,
    eightBit: bytes.some((byte) => byte > 127),
    chunks: async function* () {
      yield bytes;
    },
  };
}

/** Says what serve-out refused. */
function report(
  { recipients }: Message,
  { results, io }: { readonly results: readonly (RecipientResult | undefined)[]; readonly io: Io },
): ExitCode {
  let code: ExitCode = EXIT.ok;
  for (const [index, result] of results.entries()) {
    // Said already: it could not be left in the maildrop.
    if (result?.kind === "lost" && code === EXIT.ok) code = EXIT.tryAgain;
    if (result?.kind !== "refused") continue;
    const { code: number, lines } = result.reply;
    io.err(`sendmail: ${printable(recipients[index] ?? "")}: ${number} ${printable(lines.join(" / "))}\n`);
    // A mixed outcome must not make the caller send it all again.
    if (number >= 500) code = EXIT.unavailable;
    else if (code === EXIT.ok) code = EXIT.tryAgain;
  }
  const someSafe = results.some((result) => result === undefined || result.kind === "relayed");
  return code === EXIT.tryAgain && someSafe ? EXIT.unavailable : code;
}

function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, "?");
}

/** The account's name, as its own programs know it. */
function userName({ env }: Io): string {
  const uid = Deno.uid();
  try {
    for (const line of Deno.readTextFileSync("/etc/passwd").split("\n")) {
      const [name, , id] = line.split(":");
      if (name && id === String(uid)) return name;
    }
  } catch {
    // Fall back to the environment.
  }
  return env.get("LOGNAME") || env.get("USER") || "nobody";
}

/** `-bs`: the caller speaks SMTP itself. */
async function passThrough(conn: Deno.Conn, { stdin, stdout }: SendmailIo): Promise<ExitCode> {
  const up = (async () => {
    const buffer = new Uint8Array(16 * 1024);
    for (let count = await stdin.read(buffer); count !== null; count = await stdin.read(buffer)) {
      await writeAll(conn, buffer.subarray(0, count));
    }
    await conn.closeWrite();
  })();
  // The answers are what counts: the server may end the dialogue while the caller still types.
  up.catch(() => {});
  try {
    const buffer = new Uint8Array(16 * 1024);
    for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
      await writeAll(stdout, buffer.subarray(0, count));
    }
  } finally {
    conn.close();
  }
  return EXIT.ok;
}
