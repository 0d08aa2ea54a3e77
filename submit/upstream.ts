/**
 * Connections to the server that relays, kept between messages.
 *
 * What it says when it fails: that server's reply, or 451 4.3.2 where there is none.
 *
 * @module
 */
import type { Clock, Timer } from "../base/clock.ts";
import { type Capabilities, parseCapabilities } from "../smtp/capabilities.ts";
import { ChunkWriter } from "../smtp/chunk_writer.ts";
import { ClientDialogue, type ClientTimeouts } from "../smtp/client_dialogue.ts";
import { DataWriter } from "../smtp/data_writer.ts";
import type { RemoteReply } from "../smtp/reply_reader.ts";
import { replyText } from "../smtp/reply_reader.ts";
import { type Reply, reply, SmtpError } from "../smtp/reply.ts";
import { DialogueError, type Stage } from "../smtp/send_result.ts";
import type { Transport } from "../net/transport.ts";
import { passedOn } from "./passed_on.ts";

/** What the connections depend on. */
export interface UpstreamOptions {
  /** Connects to the server, or rejects in a bounded time. */
  readonly connect: () => Promise<Transport>;
  /** What EHLO says. */
  readonly hostname: string;
  readonly clock: Clock;
  readonly timeouts: ClientTimeouts;
  /** At a time, at least 1; as many more may wait for one, no longer than for the reply to a command. */
  readonly maxConnections: number;
  /** How long an unused connection is kept, in milliseconds; below the server's own timeout. */
  readonly keep: number;
  /** The most unused connections that are kept. */
  readonly maxKept: number;
}

/** Why a message cannot be handed on now; the cause is for the log. */
function unavailable(cause: unknown): SmtpError {
  return new SmtpError(reply(451, "4.3.2", "Mail cannot be sent at this moment; try again later"), { cause });
}

const BUSY = reply(451, "4.3.2", "Too many messages at this moment; try again later");

/** A connection past EHLO. */
class Connection {
  readonly dialogue: ClientDialogue;
  readonly capabilities: Capabilities;
  /** Ends it after a while in no use. */
  timer: Timer | undefined;
  readonly #clock: Clock;
  readonly #timeout: number;
  #lines: DataWriter | undefined;
  #chunks: ChunkWriter | undefined;

  constructor(
    dialogue: ClientDialogue,
    capabilities: Capabilities,
    { clock, timeouts }: Pick<UpstreamOptions, "clock" | "timeouts">,
  ) {
    this.dialogue = dialogue;
    this.capabilities = capabilities;
    this.#clock = clock;
    this.#timeout = timeouts.data;
  }

  /** Writes mail data after DATA; each block has its own time. */
  get lines(): DataWriter {
    return this.#lines ??= new DataWriter((block) => this.#write(block));
  }

  /** Writes mail data by BDAT; each chunk has its own time, and so has its reply. */
  get chunks(): ChunkWriter {
    return this.#chunks ??= new ChunkWriter({
      write: (chunk) => {
        this.dialogue.requireStep("data");
        return this.#write(chunk);
      },
      readReply: async () => {
        const answer = await this.dialogue.read({ stage: "data", timeout: this.#timeout });
        if (answer.code === 421) throw new Error(replyText(answer));
        if (answer.code >= 300) throw new SmtpError(passedOn(answer));
      },
    });
  }

  async #write(block: Uint8Array): Promise<void> {
    const { transport } = this.dialogue;
    transport.deadline = this.#clock.monotonic() + this.#timeout;
    await transport.write(block);
  }
}

/** The way to the server that relays. Disposed, it closes the connections that are in no use. */
export class Upstream implements Disposable {
  readonly #options: UpstreamOptions;
  readonly #all = new Set<Connection>();
  /** In no use, the one used last at the end. */
  readonly #kept: Connection[] = [];
  #open = 0;
  /** Who waits for a connection, or for the place of one. */
  readonly #waiting: ((connection?: Connection) => void)[] = [];
  #disposed = false;

  /** Does not connect yet. */
  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  /** Connections at this moment. */
  get open(): number {
    return this.#open;
  }

  /**
   * Begins a transaction.
   * @param mail MAIL with its parameters, as far as the server has announced them
   * @throws {SmtpError} with the reply for MAIL
   */
  async begin(mail: (capabilities: Capabilities) => string): Promise<UpstreamTransaction> {
    for (;;) {
      const kept = this.#takeKept() ?? await this.#takePlace();
      const connection = kept ?? await this.#connect();
      let answer: RemoteReply;
      try {
        answer = await connection.dialogue.ask({ stage: "mail" }, mail(connection.capabilities));
      } catch (error) {
        this.#drop(connection);
        // One that was kept may have ended meanwhile; nothing that counts was said over it.
        if (kept !== undefined && isEnd(error)) continue;
        throw unavailable(error);
      }
      if (answer.code === 421) {
        this.#drop(connection);
        if (kept !== undefined) continue;
        throw unavailable(replyText(answer));
      }
      if (answer.code >= 300) {
        this.#release(connection);
        throw new SmtpError(passedOn(answer));
      }
      return new UpstreamTransaction(connection, {
        timeouts: this.#options.timeouts,
        clock: this.#options.clock,
        release: () => this.#release(connection),
        drop: () => this.#drop(connection),
      });
    }
  }

  /** Closes what is in no use, and from now on what is done with. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const connection of this.#kept.splice(0)) this.#drop(connection);
  }

  /** Ends all connections at once: whoever waits for the server gets 451. */
  abort(): void {
    this.#disposed = true;
    for (const { dialogue } of this.#all) dialogue.close();
  }

  #takeKept(): Connection | undefined {
    const connection = this.#kept.pop();
    connection?.timer?.cancel();
    return connection;
  }

  async #connect(): Promise<Connection> {
    const { connect, hostname, clock, timeouts } = this.#options;
    let dialogue: ClientDialogue | undefined;
    try {
      dialogue = new ClientDialogue(await connect(), { clock, timeouts });
      const greeting = await dialogue.read({ stage: "greeting" });
      if (greeting.code >= 300) throw new Error(replyText(greeting));
      const ehlo = await dialogue.ask({ stage: "hello" }, `EHLO ${hostname}`);
      if (ehlo.code >= 300) throw new Error(replyText(ehlo));
      const connection = new Connection(dialogue, parseCapabilities(ehlo.lines), this.#options);
      this.#all.add(connection);
      return connection;
    } catch (error) {
      dialogue?.close();
      this.#givePlace();
      throw unavailable(error);
    }
  }

  /** Waits for a place, which is for a new connection where none comes with it. */
  async #takePlace(): Promise<Connection | undefined> {
    const { maxConnections, clock, timeouts } = this.#options;
    if (this.#open < maxConnections) {
      this.#open++;
      return undefined;
    }
    if (this.#waiting.length >= maxConnections) throw new SmtpError(BUSY);
    const { promise, resolve, reject } = Promise.withResolvers<Connection | undefined>();
    this.#waiting.push(resolve);
    const timer = clock.after(timeouts.command, () => {
      const at = this.#waiting.indexOf(resolve);
      if (at >= 0) this.#waiting.splice(at, 1);
      reject(new SmtpError(BUSY));
    });
    try {
      return await promise;
    } finally {
      timer.cancel();
    }
  }

  /** It goes to the next in line, if any. */
  #givePlace(): void {
    const next = this.#waiting.shift();
    if (next !== undefined) next();
    else this.#open--;
  }

  #drop(connection: Connection): void {
    this.#all.delete(connection);
    connection.dialogue.close();
    this.#givePlace();
  }

  #release(connection: Connection): void {
    const { clock, keep, maxKept } = this.#options;
    if (connection.dialogue.closed || this.#disposed) return this.#drop(connection);
    const next = this.#waiting.shift();
    if (next !== undefined) return next(connection);
    if (this.#kept.length >= maxKept) return this.#drop(connection);
    connection.dialogue.transport.deadline = Infinity;
    connection.timer = clock.after(keep, () => {
      const at = this.#kept.indexOf(connection);
      if (at < 0) return;
      this.#kept.splice(at, 1);
      this.#drop(connection);
    });
    this.#kept.push(connection);
  }
}

/** Whether the connection is at its end, and not merely silent. */
function isEnd(error: unknown): boolean {
  return error instanceof DialogueError && error.fault === "closed";
}

interface TransactionParts extends Pick<UpstreamOptions, "timeouts" | "clock"> {
  readonly release: () => void;
  readonly drop: () => void;
}

/** One transaction with the server that relays. Disposed before its end, it leaves no message there. */
export class UpstreamTransaction implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #parts: TransactionParts;
  #state: "envelope" | "data" | "over" = "envelope";
  #writer: DataWriter | ChunkWriter | undefined;

  /** After MAIL. */
  constructor(connection: Connection, parts: TransactionParts) {
    this.#connection = connection;
    this.#parts = parts;
  }

  /**
   * Names a recipient.
   * @param rcpt RCPT with its parameters, as far as the server has announced them
   * @returns the reply
   * @throws {SmtpError} when there is none
   */
  async recipient(rcpt: (capabilities: Capabilities) => string): Promise<Reply> {
    return passedOn(await this.#ask("rcpt", rcpt(this.#connection.capabilities)));
  }

  /**
   * Begins the message: with DATA, or without a word where the server takes chunks.
   * @throws {SmtpError} with the reply where the server does not want the message
   */
  async beginData(): Promise<void> {
    const { capabilities } = this.#connection;
    if (capabilities.chunking && this.#state === "envelope") {
      this.#writer = this.#connection.chunks;
    } else {
      const answer = await this.#ask("data", "DATA");
      if (answer.code >= 400) throw new SmtpError(passedOn(answer));
      this.#writer = this.#connection.lines;
    }
    this.#state = "data";
    this.#writer.begin();
  }

  /**
   * Writes mail data, cut anywhere.
   * @throws {SmtpError} when it cannot be written, or with the reply where the server does not want the message
   */
  async write(chunk: Uint8Array): Promise<void> {
    try {
      await this.#writerOfData().write(chunk);
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /**
   * Ends the mail data.
   * @returns the reply, 2xx: the server has the message
   * @throws {SmtpError} with its reply, or where there is none; it may have the message all the same then
   */
  async finish(): Promise<Reply> {
    const { dialogue } = this.#connection;
    const { timeouts, release } = this.#parts;
    let answer: RemoteReply;
    try {
      const writer = this.#writerOfData();
      if (writer === this.#connection.lines) dialogue.requireStep("data");
      await writer.finish();
      answer = await dialogue.read({ stage: "dot", timeout: timeouts.dataEnd });
    } catch (error) {
      throw this.#failed(error);
    }
    if (answer.code === 421) {
      this.#end();
    } else {
      this.#state = "over";
      release();
    }
    if (answer.code >= 300) throw new SmtpError(passedOn(answer));
    return passedOn(answer);
  }

  /** Ends the transaction; what was begun and not finished comes to nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === "over") return;
    // In mid-data only the end of the connection ends the message without a message.
    const inData = this.#state === "data" && !(this.#writer instanceof ChunkWriter && !this.#writer.began);
    if (inData) return this.#end();
    try {
      const answer = await this.#connection.dialogue.ask({ stage: "rset" }, "RSET");
      if (answer.code >= 300) return this.#end();
      this.#state = "over";
      this.#parts.release();
    } catch {
      this.#end();
    }
  }

  #writerOfData(): DataWriter | ChunkWriter {
    if (this.#state !== "data" || this.#writer === undefined) throw new Error("the connection has ended");
    return this.#writer;
  }

  /** Ends the connection, and returns what the client is told. */
  #failed(error: unknown): SmtpError {
    this.#end();
    return error instanceof SmtpError ? error : unavailable(error);
  }

  async #ask(stage: Stage, command: string): Promise<RemoteReply> {
    if (this.#state === "over") throw unavailable("the connection has ended");
    const { timeouts } = this.#parts;
    const isData = stage === "data";
    try {
      const answer = await this.#connection.dialogue.ask({
        stage,
        classes: isData ? [3, 4, 5] : [2, 4, 5],
        timeout: isData ? timeouts.data : timeouts.command,
      }, command);
      if (answer.code === 421) this.#end();
      return answer;
    } catch (error) {
      this.#end();
      throw unavailable(error);
    }
  }

  #end(): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#parts.drop();
  }
}
