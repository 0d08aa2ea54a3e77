/**
 * An SMTP client over a transport (RFC 5321, with PIPELINING of RFC 2920, SIZE of RFC 1870, 8BITMIME of RFC 6152,
 * SMTPUTF8 of RFC 6531, DSN of RFC 3461, STARTTLS of RFC 3207, AUTH of RFC 4954).
 *
 * How it reports failure: a reply is a value, whatever its code; a {@linkcode DialogueError} means that there was no
 * reply or none that makes sense, and that the connection is closed.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { ClientDialogue, type DialogueOptions, LocalError } from "./client_dialogue.ts";
import { DataWriter } from "./data_writer.ts";
import { type Capabilities, NO_CAPABILITIES, parseCapabilities } from "./capabilities.ts";
import { type EnvelopeCommands, envelopeCommands, type OutgoingMessage } from "./outgoing_message.ts";
import { DialogueError, type RecipientResult, type SendResult, type Stage } from "./send_result.ts";
import { EndOfReplies, type RemoteReply, ReplyError, replyText } from "./reply_reader.ts";
import type { TlsInfo, Transport } from "../net/transport.ts";

/** What a client depends on. */
export interface SmtpClientOptions extends DialogueOptions {
  /** What it calls itself in EHLO: a domain or an address literal. */
  readonly hostname: string;
  /** Whether commands are sent in groups where the server announces PIPELINING; default: yes. */
  readonly pipelining?: boolean;
  /** Whether to try EHLO; otherwise it sends HELO at once. Default: yes. */
  readonly ehlo?: boolean;
}

/** The port of submission over TLS from the first octet on (RFC 8314 §7.3). */
export const SUBMISSIONS_PORT = 465;

// A server that does not read while it writes must still take a batch, so it stays below any socket buffer (RFC 2920
// §3.1).
const MAX_BATCH = 100;
// Milliseconds in which a server answers a group of commands that it has seen.
const SILENCE = 10_000;
const ANY: readonly number[] = [2, 3, 4, 5];

/**
 * A client on one connection. The order is the caller's: maybe {@linkcode secure}, {@linkcode greeting},
 * {@linkcode hello}, maybe {@linkcode startTls} and {@linkcode hello} again, maybe {@linkcode authenticate},
 * {@linkcode send} any number of times, {@linkcode quit}. One call at a time.
 */
export class SmtpClient {
  readonly #options: SmtpClientOptions;
  readonly #dialogue: ClientDialogue;
  #writer: DataWriter | undefined;
  #capabilities = NO_CAPABILITIES;
  /** The server may still hold a transaction of ours. */
  #dirty = false;
  /** Replies to several commands that were sent together are due. */
  #inGroup = false;
  /** When they were sent, monotonic. */
  #groupSentAt = 0;

  /** Takes ownership of the transport. */
  constructor(transport: Transport, options: SmtpClientOptions) {
    this.#dialogue = new ClientDialogue(transport, options);
    this.#options = options;
  }

  /** What the server announced in its latest reply to EHLO. */
  get capabilities(): Capabilities {
    return this.#capabilities;
  }

  /** Whether the connection is closed on this side. */
  get closed(): boolean {
    return this.#dialogue.closed;
  }

  /**
   * Waits for the greeting.
   * @throws {DialogueError}
   */
  greeting(): Promise<RemoteReply> {
    return this.#dialogue.read({ stage: "greeting" });
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
      const ehlo = await this.#dialogue.ask({ stage: "hello" }, `EHLO ${hostname}`);
      if (ehlo.code < 300) this.#capabilities = parseCapabilities(ehlo.lines);
      if (ehlo.code < 500) return ehlo;
    }
    return await this.#dialogue.ask({ stage: "hello" }, `HELO ${hostname}`);
  }

  /**
   * Says STARTTLS and, after 2xx, makes the handshake by `upgrade`. What was announced before is forgotten, and so is
   * what came after the reply in plaintext (CVE-2011-0411): say {@linkcode hello} again.
   * @returns the reply, and what was negotiated if it was 2xx
   * @throws {DialogueError}
   * @throws what `upgrade` throws; the connection is closed then
   */
  async startTls<T extends TlsInfo>(
    upgrade: (plain: Transport) => Promise<{ transport: Transport; tls: T }>,
  ): Promise<{ reply: RemoteReply; tls?: T }> {
    const reply = await this.#dialogue.ask({ stage: "starttls" }, "STARTTLS");
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
      this.#dialogue.transport.deadline = this.#options.clock.monotonic() + this.#options.timeouts.command;
      const { transport, tls } = await upgrade(this.#dialogue.transport);
      // The old reader goes, and with it what it had read after the 220.
      this.#dialogue.continueOver(transport);
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
    this.#dialogue.secrets = [plain, password, credentials.password];
    try {
      if (auth.includes("PLAIN")) {
        return await this.#dialogue.ask({ stage: "auth", shown: "AUTH PLAIN ***" }, `AUTH PLAIN ${plain}`);
      }
      if (!auth.includes("LOGIN")) return undefined;
      let reply = await this.#dialogue.ask({ stage: "auth", classes: ANY }, "AUTH LOGIN");
      if (isIntermediate(reply)) {
        reply = await this.#dialogue.ask({ stage: "auth", classes: ANY, shown: "***" }, user);
      }
      if (isIntermediate(reply)) reply = await this.#dialogue.ask({ stage: "auth", shown: "***" }, password);
      return reply;
    } finally {
      this.#dialogue.secrets = [];
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
      groupLost = this.#fellSilent(end);
      if (end !== undefined) settle(end);
    } catch (error) {
      if (!(error instanceof DialogueError)) throw error;
      const { stage, fault, said, message: text } = error;
      groupLost = this.#inGroup;
      // Where one reply made no sense, those before it may have been for other recipients.
      if (fault === "malformed") results.fill(undefined);
      // Of a group that was lost in part, what came for RCPT may have been for DATA.
      if (groupLost) forgetMisplaced(results);
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
      usable: !this.#dialogue.closed,
      groupLost,
    };
  }

  /**
   * Ends the transaction, if any (RSET).
   * @throws {DialogueError} also when it is refused: what the server still holds must not mix with what comes next
   */
  async reset(): Promise<void> {
    const reply = await this.#dialogue.ask({ stage: "rset" }, "RSET");
    if (reply.code >= 300) {
      throw this.#dialogue.fail("rset", new EndOfReplies("RSET was refused"), replyText(reply));
    }
    this.#dirty = false;
  }

  /** Sends QUIT, waits for the reply up to `timeout` milliseconds, and closes. Never throws. */
  async quit(timeout = 5_000): Promise<void> {
    if (this.#dialogue.closed) return;
    try {
      const step = { stage: "quit", timeout: Math.min(timeout, this.#options.timeouts.command) } as const;
      await this.#dialogue.ask(step, "QUIT");
    } catch {
      // Nothing depends on it (§4.1.1.10).
    }
    this.close();
  }

  /** Ends the connection at once. */
  close(): void {
    this.#dialogue.close();
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
      mailReply = await this.#dialogue.ask({ stage: "mail" }, mail);
      if (mailReply.code >= 400) return { kind: "refused", stage: "mail", reply: mailReply };
    }
    for (let first = 0; first < rcpts.length; first += batch) {
      const commands = rcpts.slice(first, first + batch);
      const last = first + batch >= rcpts.length;
      const lines = [...(mailReply === undefined ? [mail] : []), ...commands];
      // DATA ends a batch (RFC 2920 §3.1); it may go along only where all before it is answered in this batch or was
      // good.
      dataSent = pipelining && last;
      this.#inGroup = lines.length > 1 || dataSent;
      this.#groupSentAt = this.#options.clock.monotonic();
      const stage = mailReply === undefined ? "mail" : "rcpt";
      await this.#dialogue.write({ stage }, dataSent ? [...lines, "DATA"] : lines);
      mailReply ??= await this.#dialogue.read({ stage: "mail" });
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
      if (this.#dialogue.closed || (mailReply.code >= 400 && !last)) {
        return { kind: "refused", stage: "mail", reply: mailReply };
      }
    }
    if (dataSent || accepted.length > 0) {
      const data = { stage: "data", classes: ANY, timeout: this.#options.timeouts.data } as const;
      const reply = dataSent ? await this.#dialogue.read(data) : await this.#dialogue.ask(data, "DATA");
      this.#inGroup &&= reply.code === 421;
      if (accepted.length === 0) {
        // The server expects data without recipients: an empty message gets both sides back in sync (RFC 2920 §3.1).
        if (sloppy) this.close();
        else if (isIntermediate(reply)) {
          await this.#dialogue.ask({ stage: "data", timeout: this.#options.timeouts.data }, ".");
        }
      } else if (isIntermediate(reply)) {
        return await this.#sendData(message, accepted);
      } else if (reply.code >= 400) {
        return { kind: "refused", stage: "data", reply };
      } else {
        throw this.#dialogue.fail("data", new ReplyError(`unexpected reply ${reply.code}`), replyText(reply));
      }
    }
    return mailReply !== undefined && mailReply.code >= 400
      ? { kind: "refused", stage: "mail", reply: mailReply }
      : undefined;
  }

  /** Whether a 421 came in place of a reply in a group, after a time in which servers give up waiting. */
  #fellSilent(end: RecipientResult | undefined): boolean {
    return this.#inGroup && end?.kind === "refused" && end.reply.code === 421 && end.stage !== "mail" &&
      this.#options.clock.monotonic() - this.#groupSentAt >= SILENCE;
  }

  /**
   * The reply to RCPT; where MAIL was refused, that refusal stays the word that counts, whatever comes after it. But a
   * server that says "bad sequence" and ends the connection may mean that commands came in a group.
   */
  async #readBehind(mailReply: RemoteReply): Promise<RemoteReply> {
    try {
      return await this.#dialogue.read({ stage: "rcpt" });
    } catch (error) {
      if (mailReply.code < 400 || (this.#inGroup && isMisplaced(mailReply))) throw error;
      return mailReply;
    }
  }

  async #sendData(message: OutgoingMessage, accepted: readonly number[]): Promise<RecipientResult> {
    this.#dialogue.requireStep("data");
    const { timeouts, clock } = this.#options;
    const journal = message.beforeDot?.(accepted) ?? Promise.resolve();
    // It is awaited before the dot; until then its rejection counts as handled.
    journal.catch(() => {});
    let size = 0;
    let stage: Stage = "data";
    this.#writer ??= new DataWriter(async (block) => {
      this.#dialogue.transport.deadline = this.#options.clock.monotonic() + this.#options.timeouts.data;
      await this.#dialogue.transport.write(block);
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
      if (error instanceof LocalError) throw this.#dialogue.fail(stage, error);
      if (stage === "data") {
        const reply = await this.#lastReply();
        if (reply !== undefined) return { kind: "refused", stage, reply };
      }
      throw this.#dialogue.fail(stage, error);
    }
    this.#dialogue.trace("C", `(${size} octets of mail data)`);
    this.#dialogue.trace("C", ".");
    this.#dialogue.transport.deadline = clock.monotonic() + timeouts.dataEnd;
    const reply = await this.#dialogue.read({ stage: "dot", timeout: timeouts.dataEnd });
    this.#dirty = false;
    return reply.code < 300 ? { kind: "relayed", reply } : { kind: "refused", stage: "dot", reply };
  }

  /** What a server sent before it closed in the middle of the data, if that can still be read. */
  async #lastReply(): Promise<RemoteReply | undefined> {
    try {
      const reply = await this.#dialogue.read({ stage: "data", classes: [4, 5], timeout: 1_000 });
      this.close();
      return reply;
    } catch {
      return undefined;
    }
  }
}

/** Takes out refusals for a bad sequence or syntax (500 to 504). */
function forgetMisplaced(results: (RecipientResult | undefined)[]): void {
  for (const [i, result] of results.entries()) {
    if (result?.kind === "refused" && isMisplaced(result.reply)) results[i] = undefined;
  }
}

/** Whether a reply speaks of commands, their syntax and sequence, and not of an address. */
function isMisplaced({ code }: RemoteReply): boolean {
  return code >= 500 && code <= 504;
}

/** 3xx: the server waits for more (§4.2.1). */
function isIntermediate({ code }: RemoteReply): boolean {
  return code >= 300 && code < 400;
}

function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64");
}

async function local<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (cause) {
    throw new LocalError("local failure", { cause });
  }
}
