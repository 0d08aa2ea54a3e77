/**
 * `mailapp sendmail`: hands a message of a local program to serve-out, as /usr/sbin/sendmail does. Needs no rights:
 * where the configuration cannot be read, serve-out is looked for at its default address.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Command } from "commander";
import type { Config } from "../../config/config.ts";
import { ConfigError, ConfigFileError } from "../../config/errors.ts";
import { loadConfig } from "../../config/load.ts";
import { isAscii } from "../../smtp/address.ts";
import { DialogueError, type RecipientResult } from "../../smtp/send_result.ts";
import { SmtpClient } from "../../smtp/client.ts";
import { systemClock } from "../../base/clock.ts";
import { ConnTransport } from "../../net/conn_transport.ts";
import type { RemoteReply } from "../../smtp/reply_reader.ts";
import { inTransactions, RECIPIENTS_EVERYWHERE } from "../../smtp/transactions.ts";
import { parseAddressList } from "../../message/address_list.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { parseSendmailOptions, type SendmailOptions } from "./options.ts";
import { examples, type Registrar } from "../command_line/subcommand.ts";
import { namedRecipients, withAuthor } from "../../message/submission.ts";
import { writeAll } from "../../base/write_all.ts";

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
    .option("-N <when>", "when a notice is wanted: never, or of success,failure,delay")
    .option("-R <what>", "what a failure notice returns: full or hdrs")
    .option("-V <id>", "the envelope id, repeated in notices")
    .option("-C <file>", "the configuration file (also --config); needed only if serve-out is not on port 25")
    .option("-b <mode>", "s: speak SMTP on standard input and output; m: take a message (as without -b)")
    .argument("[recipients...]")
    .addHelpText(
      "after",
      examples("mailapp sendmail -t < message.eml", "ln -s /usr/bin/mailapp /usr/sbin/sendmail"),
    )
    .action(action((recipients: string[]) => sendmail(["--", ...recipients], { ...io, ...standardStreams })));
}

/** The process's own streams. */
export const standardStreams = {
  stdin: { read: (buffer: Uint8Array): Promise<number | null> => Deno.stdin.read(buffer) },
  stdout: { write: (bytes: Uint8Array): Promise<number> => Deno.stdout.write(bytes) },
};

// RFC 5321 §4.5.3.2; serve-out is on this machine, but its disk may be busy.
const TIMEOUTS = { command: 300_000, data: 180_000, dataEnd: 600_000 };
const DEFAULT_MAX_SIZE = 50 * 1024 * 1024;

/**
 * Runs sendmail with these arguments.
 * @throws {CommandError} with the exit code of sysexits.h that fits: 75 when serve-out is not there or says 4xx
 */
export async function sendmail(args: readonly string[], io: SendmailIo): Promise<ExitCode> {
  const options = parseSendmailOptions(args);
  if (options.mode === "nothing") return EXIT.ok;
  if (options.mode === "queue") {
    throw new CommandError("sendmail: to see the queue, run: mailapp queue list", EXIT.unavailable);
  }
  const server = await findServer(options, io);
  if (options.mode === "smtp") return await passThrough(await connect(server), io);
  const max = await talk(server, (client) => Promise.resolve(client.capabilities.size || DEFAULT_MAX_SIZE));
  // Without a connection: a program may write for hours, as cron's jobs do, and serve-out waits for minutes only.
  const input = await readInput(io.stdin, { ignoreDots: options.ignoreDots, max });
  return await talk(
    server,
    async (client) => report(await submit(client, { options, input, user: userName(io) }), io),
  );
}

/** Says hello, does what is to be done, and takes leave. */
async function talk<T>(server: Server, work: (client: SmtpClient) => Promise<T>): Promise<T> {
  const client = new SmtpClient(new ConnTransport(await connect(server), { clock: systemClock }), {
    hostname: server.hostname,
    clock: systemClock,
    timeouts: TIMEOUTS,
  });
  try {
    await expectOk(client.greeting());
    await expectOk(client.hello());
    const result = await work(client);
    await client.quit();
    return result;
  } catch (error) {
    if (!(error instanceof DialogueError)) throw error;
    throw new CommandError(`sendmail: serve-out: ${error.message}`, EXIT.tryAgain, { cause: error });
  } finally {
    client.close();
  }
}

interface Server {
  readonly addresses: readonly string[];
  readonly port: number;
  readonly hostname: string;
}

const DEFAULT_SERVER: Server = { addresses: ["127.0.0.1", "::1"], port: 25, hostname: "localhost" };

async function findServer({ config: file }: SendmailOptions, io: Io): Promise<Server> {
  let config: Config;
  try {
    config = await loadConfig(file, { env: io.env });
  } catch (error) {
    // Not everybody may read it, and not every machine has a name that a mail server could use.
    const unreadable = error instanceof ConfigFileError && error.reason === "forbidden" && file === undefined;
    if (unreadable || (error instanceof ConfigError && error.file === undefined)) return DEFAULT_SERVER;
    throw error;
  }
  return { addresses: config.serveOut.listen, port: config.serveOut.port, hostname: config.hostname };
}

async function connect({ addresses, port }: Server): Promise<Deno.Conn> {
  let failure: unknown;
  for (const hostname of addresses) {
    try {
      return await Deno.connect({ hostname, port });
    } catch (error) {
      failure ??= error;
    }
  }
  const where = addresses.map((address) => `${address} port ${port}`).join(" and ");
  throw new CommandError(
    `sendmail: serve-out is not there (${where}); try again later, or start it: mailapp serve-out`,
    EXIT.tryAgain,
    { cause: failure },
  );
}

async function expectOk(answer: Promise<RemoteReply>): Promise<void> {
  const { code, lines } = await answer;
  if (code < 300) return;
  throw new CommandError(`sendmail: serve-out says ${code} ${lines.join(" ")}`, EXIT.tryAgain);
}

/** Reads until the end, or until a line with only a dot. */
async function readInput(
  stdin: SendmailIo["stdin"],
  { ignoreDots, max }: { readonly ignoreDots: boolean; readonly max: number },
): Promise<Uint8Array> {
  const buffer = new Uint8Array(64 * 1024);
  const pieces: Uint8Array[] = [];
  let size = 0;
  const dots = new DotFinder();
  for (let count = await stdin.read(buffer); count !== null; count = await stdin.read(buffer)) {
    const piece = buffer.slice(0, count);
    pieces.push(piece);
    size += count;
    if (size > max) {
      throw new CommandError(
        `sendmail: the message is larger than ${max} octets, which serve-out takes`,
        EXIT.data,
      );
    }
    const end = ignoreDots ? undefined : dots.find(piece);
    if (end !== undefined) return Buffer.concat(pieces, size - count + end);
  }
  return Buffer.concat(pieces, ignoreDots ? size : size - dots.pending);
}

const LF = 10;
const CR = 13;
const DOT = 46;

/** Finds a line with only a dot in a text that comes in pieces. */
class DotFinder {
  #state: "start" | "dot" | "dot-cr" | "line" = "start";

  /** How much of a line with only a dot, so far without its end, stands at the end. */
  get pending(): number {
    return this.#state === "dot" ? 1 : this.#state === "dot-cr" ? 2 : 0;
  }

  /** Where the line begins in this piece; may be negative. */
  find(piece: Uint8Array): number | undefined {
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at];
      if (byte === LF) {
        const length = this.pending;
        this.#state = "start";
        if (length > 0) return at - length;
      } else if (this.#state === "start" && byte === DOT) this.#state = "dot";
      else if (this.#state === "dot" && byte === CR) this.#state = "dot-cr";
      else this.#state = "line";
    }
    return undefined;
  }
}

async function submit(
  client: SmtpClient,
  { options, input, user }: { options: SendmailOptions; input: Uint8Array; user: string },
): Promise<{ recipients: readonly string[]; results: readonly RecipientResult[] }> {
  const sender = options.sender === undefined ? user : parseAddressList(options.sender)[0] ?? "";
  const message = options.fullName === undefined
    ? input
    : withAuthor(input, { address: sender === "" ? "MAILER-DAEMON" : sender, name: options.fullName });
  const named = options.recipients.flatMap(parseAddressList);
  const recipients = [...new Set([...named, ...options.fromHeader ? namedRecipients(input) : []])];
  if (recipients.length === 0) {
    const hint = options.fromHeader
      ? "To, Cc and Bcc name nobody"
      : "name them, or say -t to take them from the message";
    throw new CommandError(`sendmail: no recipients: ${hint}`, EXIT.usage);
  }
  const results = new Map<number, RecipientResult>();
  try {
    await inTransactions([...recipients.keys()], {
      limit: client.capabilities.recipientsMax || RECIPIENTS_EVERYWHERE,
      usable: () => !client.closed,
      transact: async (batch) => {
        const addresses = batch.flatMap((index) => recipients[index] ?? []);
        const sent = await client.send({
          reversePath: sender,
          recipients: addresses.map((address) => ({
            address,
            ...(options.notify && { notify: options.notify }),
          })),
          ...(options.dsn && { dsn: options.dsn }),
          size: message.length,
          eightBit: message.some((byte) => byte > 127),
          smtputf8: ![sender, ...addresses].every(isAscii),
          chunks: async function* () {
            yield message;
          },
        });
        return sent.recipients;
      },
      settled: (recipient, { result }) => results.set(recipient, result),
    });
  } catch (error) {
    if (error instanceof RangeError) {
      throw new CommandError(`sendmail: ${error.message}`, EXIT.data, { cause: error });
    }
    throw error;
  }
  return { recipients, results: recipients.map((_, index) => results.get(index) ?? NO_TURN) };
}

const NO_TURN: RecipientResult = {
  kind: "lost",
  stage: "mail",
  fault: "closed",
  error: "the connection to serve-out ended before this recipient's turn",
  afterDot: false,
};

function report(
  { recipients, results }: { recipients: readonly string[]; results: readonly RecipientResult[] },
  io: Io,
): ExitCode {
  let code: ExitCode = EXIT.ok;
  for (const [index, result] of results.entries()) {
    if (result.kind === "relayed") continue;
    const words = result.kind === "lost"
      ? result.error
      : `${result.reply.code} ${result.reply.lines.join(" / ")}`;
    io.err(`sendmail: ${printable(recipients[index] ?? "")}: ${printable(words)}\n`);
    const lasting = result.kind === "refused" && result.reply.code >= 500;
    // A mixed outcome must not make the caller send it all again.
    if (lasting) code = EXIT.unavailable;
    else if (code === EXIT.ok) code = EXIT.tryAgain;
  }
  return code === EXIT.tryAgain && results.some(({ kind }) => kind === "relayed") ? EXIT.unavailable : code;
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
    // Then the environment must do.
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
