/**
 * One dialogue from the other side: an SMTP client over a transport (RFC 5321, with PIPELINING of RFC 2920, SIZE of
 * RFC 1870, 8BITMIME of RFC 6152, SMTPUTF8 of RFC 6531, DSN of RFC 3461, STARTTLS of RFC 3207, AUTH of RFC 4954).
 *
 * What it says when it fails: a reply is a value, whatever its code; a {@linkcode DialogueError} means that there was no
 * reply or none that makes sense, and that the connection is closed.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Clock } from "../base/clock.ts";
import { DataWriter } from "./data_writer.ts";
import { type Capabilities, NO_CAPABILITIES, parseCapabilities } from "./capabilities.ts";
import { type EnvelopeCommands, envelopeCommands, type OutgoingMessage } from "./outgoing_message.ts";
import {
  DialogueError,
  type DialogueFault,
  type RecipientResult,
  type SendResult,
  type Stage,
} from "./send_result.ts";
import { EndOfReplies, type RemoteReply, ReplyError, ReplyReader, replyText } from "./reply_reader.ts";
import type { TlsInfo } from "../net/transport.ts";
import { DeadlineError, type Transport } from "../net/transport.ts";
import { errorText } from "../base/error_text.ts";

/** How long each step may take, in milliseconds (RFC 5321 §4.5.3.2). */
export interface ClientTimeouts {
  /** Greeting, EHLO, STARTTLS with its handshake, AUTH, MAIL, RCPT, RSET. */
  readonly command: number;
  /** DATA, and each block of the mail data. */
  readonly data: number;
  /** The reply to the final dot. */
  readonly dataEnd: number;
}

/** What a client depends on. */
export interface SmtpClientOptions {
  /** What it calls itself in EHLO: a domain or an address literal. */
  readonly hostname: string;
  /** The transport's clock. */
  readonly clock: Clock;
  /** How long each step may take. */
  readonly timeouts: ClientTimeouts;
  /** Sees each line sent (`C`) and received (`S`), without CRLF, secrets masked, mail data as its size. */
  readonly onLine?: (side: "C" | "S", line: string) => void;
  /** Whether commands are sent in groups where the server announces PIPELINING; default: yes. */
  readonly pipelining?: boolean;
  /** Whether EHLO is said at all, or HELO at once; default: yes. */
  readonly ehlo?: boolean;
}

/** The port of submission over TLS from the first octet on (RFC 8314 §7.3). */
export const SUBMISSIONS_PORT = 465;

// A server that does not read while it writes must still take a batch, so it stays below any socket buffer (RFC 2920 §3.1).
const MAX_BATCH = 100;

const encoder = new TextEncoder();

/**
 * A client on one connection. The order is the caller's: maybe {@linkcode secure}, {@linkcode greeting},
 * {@linkcode hello}, maybe {@linkcode startTls} and {@linkcode hello} again, maybe {@linkcode authenticate},
 * {@linkcode send} any number of times, {@linkcode quit}. One call at a time.
 */
export class SmtpClient {
  readonly #options: SmtpClientOptions;
  #transport: Transport;
  #reader: ReplyReader;
  #writer: DataWriter | undefined;
  #capabilities = NO_CAPABILITIES;
  #closed = false;
  /** The server may still hold a transaction of ours. */
  #dirty = false;
  /** Replies to several commands that were sent together are due. */
  #inGroup = false;
  /** What no reply may show on, since servers like to repeat what they refuse. */
  #secrets: readonly string[] = [];

  /** Speaks over this transport, which it owns from now on. */
  constructor(transport: Transport, options: SmtpClientOptions) {
    this.#transport = transport;
    this.#reader = new ReplyReader(transport);
    this.#options = options;
  }

  /** What the server announced in its latest reply to EHLO. */
  get capabilities(): Capabilities {
    return this.#capabilities;
  }

  /** Whether the connection is closed on this side. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Waits for the greeting.
   * @throws {DialogueError}
   */
  greeting(): Promise<RemoteReply> {
    return this.#read("greeting", [2, 4, 5]);
  }

  /**
   * Says EHLO, or HELO where EHLO is refused with 5xx (§3.2) or not wanted, and learns what the server can do.
   * @returns the reply to the last of them
   * @throws {DialogueError}
   */
  async hello(): Promise<RemoteReply> {
    const { hostname, ehlo: useEhlo = true } = this.#options;
    this.#capabilities = NO_CAPABILITIES;
    if (useEhlo) {
      const ehlo = await this.#ask("hello", `EHLO ${hostname}`, [2, 4, 5]);
      if (ehlo.code < 300) this.#capabilities = parseCapabilities(ehlo.lines);
      if (ehlo.code < 500) return ehlo;
    }
    return await this.#ask("hello", `HELO ${hostname}`, [2, 4, 5]);
  }

  /**
   * Says STARTTLS and, after 2xx, makes the handshake by `upgrade`. What was announced before is forgotten, and so is
   * what came behind the reply in plaintext (CVE-2011-0411): say {@linkcode hello} again.
   * @returns the reply, and what was negotiated if it was 2xx
   * @throws {DialogueError}
   * @throws what `upgrade` throws; the connection is closed then
   */
  async startTls<T extends TlsInfo>(
    upgrade: (plain: Transport) => Promise<{ transport: Transport; tls: T }>,
  ): Promise<{ reply: RemoteReply; tls?: T }> {
    const reply = await this.#ask("starttls", "STARTTLS", [2, 4, 5]);
    if (reply.code >= 300) return { reply };
    return { reply, tls: await this.secure(upgrade) };
  }

  /**
   * Makes the handshake by `upgrade` at once: before the greeting, on a port where TLS comes first (RFC 8314).
   * @returns what was negotiated
   * @throws what `upgrade` throws; the connection is closed then
   */
  async secure<T extends TlsInfo>(
    upgrade: (plain: Transport) => Promise<{ transport: Transport; tls: T }>,
  ): Promise<T> {
    this.#capabilities = NO_CAPABILITIES;
    try {
      this.#transport.deadline = this.#options.clock.monotonic() + this.#options.timeouts.command;
      const { transport, tls } = await upgrade(this.#transport);
      this.#transport = transport;
      // With the old one goes what it had read beyond the 220.
      this.#reader = new ReplyReader(transport);
      return tls;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Logs in by PLAIN (RFC 4616) or LOGIN, whichever is announced. Only to be called over verified TLS.
   * @returns the last reply, 2xx for success; `undefined` if neither is announced
   * @throws {DialogueError}
   */
  async authenticate(credentials: { user: string; password: string }): Promise<RemoteReply | undefined> {
    const user = base64(credentials.user);
    const password = base64(credentials.password);
    const plain = base64(`\0${credentials.user}\0${credentials.password}`);
    const { auth } = this.#capabilities;
    this.#secrets = [plain, password, credentials.password];
    try {
      if (auth.includes("PLAIN")) {
        return await this.#ask("auth", `AUTH PLAIN ${plain}`, [2, 4, 5], "AUTH PLAIN ***");
      }
      if (!auth.includes("LOGIN")) return undefined;
      let reply = await this.#ask("auth", "AUTH LOGIN", [2, 3, 4, 5]);
      if (isIntermediate(reply)) reply = await this.#ask("auth", user, [2, 3, 4, 5], "***");
      if (isIntermediate(reply)) reply = await this.#ask("auth", password, [2, 4, 5], "***");
      return reply;
    } finally {
      this.#secrets = [];
    }
  }

  /**
   * Sends a message in one transaction. Parameters that the server did not announce are left out; whether the message
   * may go without them is for the caller to know.
   * @throws {RangeError} when an address holds control bytes; nothing was sent then
   */
  async send(message: OutgoingMessage): Promise<SendResult> {
    const commands = envelopeCommands(message, this.#capabilities);
    const results = new Array<RecipientResult | undefined>(message.recipients.length);
    const settle = (result: RecipientResult) => {
      for (let i = 0; i < results.length; i++) results[i] ??= result;
    };
    let groupLost = false;
    this.#inGroup = false;
    try {
      if (this.#dirty) await this.reset();
      this.#dirty = true;
      const end = await this.#transact(message, commands, results);
      if (end !== undefined) settle(end);
    } catch (error) {
      if (!(error instanceof DialogueError)) throw error;
      const { stage, fault, said, message: text } = error;
      groupLost = this.#inGroup;
      // Where one reply made no sense, those before it may have been for other recipients.
      if (fault === "malformed") results.fill(undefined);
      settle({
        kind: "lost",
        stage,
        fault,
        error: text,
        afterDot: stage === "dot",
        ...(said !== "" && { said }),
      });
    }
    for (const result of results) if (result?.kind === "refused" && result.reply.code === 421) this.close();
    return {
      recipients: results.filter((result) => result !== undefined),
      usable: !this.#closed,
      groupLost,
    };
  }

  /**
   * Ends the transaction, if any (RSET).
   * @throws {DialogueError} also when it is refused: what the server still holds must not mix with what comes next
   */
  async reset(): Promise<void> {
    const reply = await this.#ask("rset", "RSET", [2, 4, 5]);
    if (reply.code >= 300) {
      throw this.#fail("rset", new EndOfReplies(`${reply.code} ${reply.lines.join(" ")}`));
    }
    this.#dirty = false;
  }

  /** Says QUIT, waits for the reply at most that long (milliseconds), and closes. Never throws. */
  async quit(patience = 5_000): Promise<void> {
    if (this.#closed) return;
    try {
      await this.#write("quit", "QUIT", Math.min(patience, this.#options.timeouts.command));
      await this.#read("quit", [2, 4, 5], Math.min(patience, this.#options.timeouts.command));
    } catch {
      // Nothing depends on it (§4.1.1.10).
    }
    this.close();
  }

  /** Ends the connection at once. */
  close(): void {
    this.#closed = true;
    this.#transport.close();
  }

  /** Fills in what RCPT decides; returns what holds for all the others. */
  async #transact(
    message: OutgoingMessage,
    { mail, rcpts }: EnvelopeCommands,
    results: (RecipientResult | undefined)[],
  ): Promise<RecipientResult | undefined> {
    const pipelining = this.#capabilities.pipelining && this.#options.pipelining !== false;
    const accepted: number[] = [];
    const batch = pipelining ? MAX_BATCH : 1;
    let mailReply: RemoteReply | undefined;
    let dataSent = false;
    let sloppy = false;
    if (!pipelining) {
      mailReply = await this.#ask("mail", mail, [2, 4, 5]);
      if (mailReply.code >= 400) return { kind: "refused", stage: "mail", reply: mailReply };
    }
    for (let first = 0; first < rcpts.length; first += batch) {
      const commands = rcpts.slice(first, first + batch);
      const last = first + batch >= rcpts.length;
      const lines = [...(mailReply === undefined ? [mail] : []), ...commands];
      // DATA ends a batch (RFC 2920 §3.1); it may go along only where all before it is answered in this batch or was good.
      dataSent = pipelining && last;
      this.#inGroup = lines.length > 1 || dataSent;
      await this.#write(mailReply === undefined ? "mail" : "rcpt", dataSent ? [...lines, "DATA"] : lines);
      mailReply ??= await this.#read("mail", [2, 4, 5]);
      if (mailReply.code === 421) return { kind: "refused", stage: "mail", reply: mailReply };
      for (let i = first; i < first + commands.length; i++) {
        const reply = await this.#readBehind(mailReply);
        if (mailReply.code >= 400) {
          // A server that takes recipients without a sender would take an empty message for them, too.
          sloppy ||= reply.code < 300;
          continue;
        }
        if (reply.code < 300) accepted.push(i);
        else results[i] = { kind: "refused", stage: "rcpt", reply };
        if (reply.code === 421) return { kind: "refused", stage: "rcpt", reply };
      }
      if (this.#closed || (mailReply.code >= 400 && !last)) {
        return { kind: "refused", stage: "mail", reply: mailReply };
      }
    }
    if (dataSent || accepted.length > 0) {
      const reply = dataSent
        ? await this.#read("data", [2, 3, 4, 5], this.#options.timeouts.data)
        : await this.#ask("data", "DATA", [2, 3, 4, 5], undefined, this.#options.timeouts.data);
      this.#inGroup = false;
      if (accepted.length === 0) {
        // The server wants data for nobody: an empty message gets both sides in step again (RFC 2920 §3.1).
        if (sloppy) this.close();
        else if (isIntermediate(reply)) {
          await this.#ask("data", ".", [2, 4, 5], undefined, this.#options.timeouts.data);
        }
      } else if (isIntermediate(reply)) {
        return await this.#sendData(message, accepted);
      } else if (reply.code >= 400) {
        return { kind: "refused", stage: "data", reply };
      } else {
        throw this.#fail("data", new ReplyError(`unexpected reply ${reply.code}`), replyText(reply));
      }
    }
    return mailReply !== undefined && mailReply.code >= 400
      ? { kind: "refused", stage: "mail", reply: mailReply }
      : undefined;
  }

  /** The reply to RCPT; where MAIL was refused, that refusal stays the word that counts, whatever comes behind it. */
  async #readBehind(mailReply: RemoteReply): Promise<RemoteReply> {
    try {
      return await this.#read("rcpt", [2, 4, 5]);
    } catch (error) {
      if (mailReply.code < 400) throw error;
      return mailReply;
    }
  }

  async #sendData(message: OutgoingMessage, accepted: readonly number[]): Promise<RecipientResult> {
    this.#requireStep("data");
    const { timeouts, clock } = this.#options;
    const journal = message.beforeDot?.(accepted) ?? Promise.resolve();
    // It is awaited before the dot; until then its failure is nobody's surprise.
    journal.catch(() => {});
    let size = 0;
    let stage: Stage = "data";
    this.#writer ??= new DataWriter(async (block) => {
      this.#transport.deadline = this.#options.clock.monotonic() + this.#options.timeouts.data;
      await this.#transport.write(block);
    });
    this.#writer.begin();
    const chunks = message.chunks()[Symbol.asyncIterator]();
    try {
      for (;;) {
        const { done, value } = await local(chunks.next());
        if (done) break;
        size += value.length;
        await this.#writer.write(value);
      }
      await local(journal);
      // The last block holds the dot; once it may have left, the message may have arrived.
      stage = "dot";
      await this.#writer.finish();
    } catch (error) {
      await chunks.return?.();
      if (error instanceof LocalError) throw this.#fail(stage, error);
      if (stage === "data") {
        const reply = await this.#partingWords();
        if (reply !== undefined) return { kind: "refused", stage, reply };
      }
      throw this.#fail(stage, error);
    }
    this.#trace("C", `(${size} octets of mail data)`);
    this.#trace("C", ".");
    this.#transport.deadline = clock.monotonic() + timeouts.dataEnd;
    const reply = await this.#read("dot", [2, 4, 5], timeouts.dataEnd);
    this.#dirty = false;
    return reply.code < 300 ? { kind: "relayed", reply } : { kind: "refused", stage: "dot", reply };
  }

  /** What a server said before it broke off in mid-data, if it still can be read. */
  async #partingWords(): Promise<RemoteReply | undefined> {
    try {
      const reply = await this.#read("data", [4, 5], 1_000);
      this.close();
      return reply;
    } catch {
      return undefined;
    }
  }

  async #ask(
    stage: Stage,
    line: string,
    classes: readonly number[],
    shown?: string,
    patience = this.#options.timeouts.command,
  ): Promise<RemoteReply> {
    await this.#write(stage, line, patience, shown);
    return await this.#read(stage, classes, patience);
  }

  async #write(
    stage: Stage,
    lines: string | readonly string[],
    patience = this.#options.timeouts.command,
    shown: string | readonly string[] = lines,
  ): Promise<void> {
    this.#requireStep(stage);
    for (const line of [shown].flat()) this.#trace("C", line);
    this.#transport.deadline = this.#options.clock.monotonic() + patience;
    try {
      await this.#transport.write(encoder.encode(`${[lines].flat().join("\r\n")}\r\n`));
    } catch (error) {
      throw this.#fail(stage, error);
    }
  }

  /**
   * Says nothing more to a server that has answered what it was not asked.
   * @throws {DialogueError}
   */
  #requireStep(stage: Stage): void {
    if (!this.#reader.isAhead) return;
    // Not all say 421 when they have waited too long; 451 is common, too.
    const isFarewell = /^[45]/.test(this.#reader.unfinished);
    throw this.#failSaying(
      stage,
      isFarewell
        ? new EndOfReplies("the server ended the dialogue")
        : new ReplyError("a reply that nothing asked for"),
    );
  }

  async #read(
    stage: Stage,
    classes: readonly number[],
    patience = this.#options.timeouts.command,
  ): Promise<RemoteReply> {
    this.#transport.deadline = this.#options.clock.monotonic() + patience;
    let reply: RemoteReply;
    try {
      reply = await this.#reader.read();
    } catch (error) {
      throw this.#failSaying(stage, error);
    }
    if (this.#secrets.length > 0) reply = { ...reply, lines: reply.lines.map((line) => this.#mask(line)) };
    const last = reply.lines.length - 1;
    reply.lines.forEach((line, i) => this.#trace("S", `${reply.code}${i === last ? " " : "-"}${line}`));
    // Only the first digit decides (§4.3.2).
    if (!classes.includes(Math.floor(reply.code / 100))) {
      throw this.#fail(stage, new ReplyError(`unexpected reply ${reply.code}`), replyText(reply));
    }
    return reply;
  }

  #mask(line: string): string {
    return this.#secrets.reduce((text, secret) => text.replaceAll(secret, "***"), line);
  }

  /** Closes, and says why and what came of a reply. */
  #failSaying(stage: Stage, error: unknown): DialogueError {
    const said = this.#mask(this.#reader.unfinished);
    if (said !== "") { for (const line of said.split("\n")) this.#trace("S", line); }
    return this.#fail(stage, error, said);
  }

  /** Closes, and says why. */
  #fail(stage: Stage, error: unknown, said = ""): DialogueError {
    this.close();
    const cause = error instanceof LocalError ? error.cause : error;
    const text = errorText(cause);
    let fault: DialogueFault = "closed";
    if (error instanceof LocalError) fault = "local";
    else if (error instanceof DeadlineError) fault = "timeout";
    else if (error instanceof ReplyError) fault = "malformed";
    return new DialogueError(text, { stage, fault, said, cause });
  }

  #trace(side: "C" | "S", line: string): void {
    this.#options.onLine?.(side, line);
  }
}

/** 3xx: the server waits for more (§4.2.1). */
function isIntermediate({ code }: RemoteReply): boolean {
  return code >= 300 && code < 400;
}

/** Something on this side failed, not the connection. */
class LocalError extends Error {}

async function local<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (cause) {
    throw new LocalError("local failure", { cause });
  }
}

function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64");
}
