/**
 * Commands and replies on one connection, from the client's side: each step in its time, shown line by line, secrets
 * masked.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import { DeadlineError, type Transport } from "../net/transport.ts";
import { EndOfReplies, type RemoteReply, ReplyError, ReplyReader, replyText } from "./reply_reader.ts";
import { DialogueError, type DialogueFault, type Stage } from "./send_result.ts";

/** How long each step may take, in milliseconds (RFC 5321 §4.5.3.2). */
export interface ClientTimeouts {
  /** Greeting, EHLO, STARTTLS with its handshake, AUTH, MAIL, RCPT, RSET. */
  readonly command: number;
  /** DATA, and each block of the mail data. */
  readonly data: number;
  /** The reply to the final dot. */
  readonly dataEnd: number;
}

/** What a dialogue depends on. */
export interface DialogueOptions {
  /** The transport's clock. */
  readonly clock: Clock;
  /** How long each step may take. */
  readonly timeouts: ClientTimeouts;
  /** Sees each line sent (`C`) and received (`S`), without CRLF, secrets masked, mail data as its size. */
  readonly onLine?: (side: "C" | "S", line: string) => void;
}

/** One step of a dialogue. */
export interface Step {
  /** Which one. */
  readonly stage: Stage;
  /** The first digits that its reply may have; default: 2, 4, 5. */
  readonly classes?: readonly number[];
  /** Milliseconds; default: the time for a command. */
  readonly timeout?: number;
  /** What the dialogue shows in place of the command, where that holds a secret. */
  readonly shown?: string;
}

const FINAL: readonly number[] = [2, 4, 5];

/** Something on this side failed, not the connection. */
export class LocalError extends Error {}

const encoder = new TextEncoder();

/** The dialogue on one connection. Whatever fails closes it. */
export class ClientDialogue {
  readonly #options: DialogueOptions;
  #transport: Transport;
  #reader: ReplyReader;
  #closed = false;
  /** Text masked in replies, since servers tend to echo what they refuse. */
  secrets: readonly string[] = [];

  /** Takes ownership of the transport. */
  constructor(transport: Transport, options: DialogueOptions) {
    this.#transport = transport;
    this.#reader = new ReplyReader(transport);
    this.#options = options;
  }

  /** Whether the connection is closed on this side. */
  get closed(): boolean {
    return this.#closed;
  }

  /** The connection itself, for the mail data and for a handshake. */
  get transport(): Transport {
    return this.#transport;
  }

  /** Goes on over this transport; what had come over the old one and was not read is dropped. */
  continueOver(transport: Transport): void {
    this.#transport = transport;
    this.#reader = new ReplyReader(transport);
  }

  /** Ends the connection at once. */
  close(): void {
    this.#closed = true;
    this.#transport.close();
  }

  /**
   * Says a command, and reads the reply.
   * @throws {DialogueError}
   */
  async ask(step: Step, line: string): Promise<RemoteReply> {
    await this.write(step, [line]);
    return await this.read(step);
  }

  /**
   * Says commands, all in one write.
   * @throws {DialogueError}
   */
  async write(
    { stage, timeout = this.#options.timeouts.command, shown }: Step,
    lines: readonly string[],
  ): Promise<void> {
    this.requireStep(stage);
    for (const line of shown === undefined ? lines : [shown]) this.trace("C", line);
    this.#transport.deadline = this.#options.clock.monotonic() + timeout;
    try {
      await this.#transport.write(encoder.encode(`${lines.join("\r\n")}\r\n`));
    } catch (error) {
      throw this.fail(stage, error);
    }
  }

  /**
   * Closes a dialogue in which the server sent a reply that no command asked for.
   * @throws {DialogueError}
   */
  requireStep(stage: Stage): void {
    if (!this.#reader.isAhead) return;
    // Not all say 421 when they have waited too long; 451 is common, too.
    const isFarewell = /^[45]/.test(this.#reader.unfinished);
    throw this.#failWith(
      stage,
      isFarewell
        ? new EndOfReplies("the server ended the dialogue")
        : new ReplyError("a reply that nothing asked for"),
    );
  }

  /**
   * Reads a reply.
   * @throws {DialogueError}
   */
  async read(
    { stage, classes = FINAL, timeout = this.#options.timeouts.command }: Step,
  ): Promise<RemoteReply> {
    this.#transport.deadline = this.#options.clock.monotonic() + timeout;
    let reply: RemoteReply;
    try {
      reply = await this.#reader.read();
    } catch (error) {
      throw this.#failWith(stage, error);
    }
    if (this.secrets.length > 0) reply = { ...reply, lines: reply.lines.map((line) => this.#mask(line)) };
    const last = reply.lines.length - 1;
    reply.lines.forEach((line, i) => this.trace("S", `${reply.code}${i === last ? " " : "-"}${line}`));
    // Only the first digit decides (§4.3.2).
    if (!classes.includes(Math.floor(reply.code / 100))) {
      throw this.fail(stage, new ReplyError(`unexpected reply ${reply.code}`), replyText(reply));
    }
    return reply;
  }

  #mask(line: string): string {
    return this.secrets.reduce((text, secret) => text.replaceAll(secret, "***"), line);
  }

  /** Closes, and returns the error with what was read of the reply. */
  #failWith(stage: Stage, error: unknown): DialogueError {
    const said = this.#mask(this.#reader.unfinished);
    if (said !== "") { for (const line of said.split("\n")) this.trace("S", line); }
    return this.fail(stage, error, said);
  }

  /** Closes, and says why. */
  fail(stage: Stage, error: unknown, said = ""): DialogueError {
    this.close();
    const cause = error instanceof LocalError ? error.cause : error;
    const text = errorText(cause);
    let fault: DialogueFault = "closed";
    if (error instanceof LocalError) fault = "local";
    else if (error instanceof DeadlineError) fault = "timeout";
    else if (error instanceof ReplyError) fault = "malformed";
    return new DialogueError(text, { stage, fault, said, cause });
  }

  /** Shows a line. */
  trace(side: "C" | "S", line: string): void {
    this.#options.onLine?.(side, line);
  }
}
