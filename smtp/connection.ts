/**
 * One dialogue: read a line, run its command, reply. One flow of execution from the greeting to the end.
 *
 * Longer than other files: commands, mail data, TLS, deadlines and the last reply share the state of that one flow,
 * and the reader must see in one place which of them may write, and when.
 *
 * @module
 */
import { counters } from "../base/counters.ts";
import type { LogFields } from "../base/log.ts";
import {
  type CommandContext,
  envelopeFields,
  type Outcome,
  resetTransaction,
} from "./commands/command_context.ts";
import { completeMessage } from "./commands/data.ts";
import { commands } from "./commands/mod.ts";
import { parseCommand } from "./command.ts";
import type { ConnectionOptions } from "./connection_options.ts";
import { describeLine, oneLine, UNREADABLE } from "./line_description.ts";
import { type Line, LineReader } from "./line_reader.ts";
import { probeOf } from "./own_probe.ts";
import * as replies from "./replies.ts";
import { describeError, formatReply, type Reply, reply } from "./reply.ts";
import { looksLikeData, RefusedData, type Verdict } from "./refused_data.ts";
import type { Session, Transaction } from "./session.ts";
import { SpareBuffers } from "../base/spare_buffers.ts";
import { linger } from "../net/linger.ts";
import { DeadlineError, type Transport } from "../net/transport.ts";
import { Turns } from "../base/turns.ts";
import { Watchdog } from "../base/watchdog.ts";

const refusals = counters("mailapp_smtp_refused_commands_total", {
  help: "Commands that were refused, by verb and by enhanced status code or, without one, reply code",
  labels: ["command", "code"],
});
const sessions = counters("mailapp_smtp_sessions_total", {
  help: "Sessions that have ended, by how",
  labels: ["end"],
});

// Replies wait for one write while more commands are at hand (RFC 2920 §3.1), up to this many characters.
const MAX_WAITING_REPLIES = 16 * 1024;
// Beyond the server's own deadlines, for what it writes when they have passed.
const GRACE = 5_000;
// A buffered command costs as much time as this many octets of mail data, or more.
const COST_OF_A_LINE = 16 * 1024;
// Octets still read after the server has closed its side, so that a reset does not lose the last reply.
const MAX_LINGER_OCTETS = 256 * 1024;
const MAX_LINGER_TIME = 2_000;
// The largest refused chunk that is read and dropped.
const MAX_DROPPED_CHUNK = 1024 ** 3;

// A browser, or a script that makes one talk to us (behind a proxy, or from a page: cross-protocol scripting).
const HTTP_VERBS: ReadonlySet<string> = new Set([
  "GET",
  "POST",
  "PUT",
  "HEAD",
  "OPTIONS",
  "DELETE",
  "CONNECT",
  "PATCH",
]);

// Refusals of a session that are logged one by one; of the others there is the number.
const MAX_LOGGED_REFUSALS = 100;

const ERROR_CODES: ReadonlySet<number> = new Set([500, 501, 502, 503, 504, 530, 535, 538, 555]);

// A line of an exchange of AUTH, in octets (RFC 4954 §4).
const MAX_ANSWER = 12_288;

const END: Line = { kind: "end" };

const encoder = new TextEncoder();
// Room for the replies of most turns.
const replyBuffers = new SpareBuffers(1024, 32);

/** Time spent waiting for mail data, in milliseconds, without the time of our own work. */
interface DataWait {
  waited: number;
}

/** One connection of a server. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #context: CommandContext;
  readonly #session: Session;
  readonly #reader: LineReader;
  readonly #watchdog: Watchdog;
  readonly #startedAt: number;
  readonly #turns: Turns;
  #transport: Transport;
  /** Replies that are not written yet. */
  #waiting = "";
  /** Whether we wait for a command. */
  #awaitsCommand = false;
  /** Whether the connection waits for a command outside of a transaction, and may be ended at once. */
  #idle = false;
  #draining = false;
  #aborted = false;
  /** Whether a message has come whole and is being stored. */
  #storing = false;
  /** The last reply, written beside the one flow of execution, which does nothing more then. */
  #lastWritten: Promise<void> | undefined;
  readonly #refusedData = new RefusedData((verb) => commands.has(verb));
  /** When the last replies had been written; `undefined` where the line had come before that. */
  #repliedAt: number | undefined;
  /** Commands and messages that were refused. */
  #refusals = 0;
  /** Why the session ended, for the log. */
  #end = "";
  /** Whether what is not a command may be a secret: where logins are taken, or were tried. */
  #mayBeSecret: boolean;

  /** Takes the transport over. */
  constructor(transport: Transport, options: ConnectionOptions) {
    this.#options = options;
    const { hostname, delivery, policy, inspecting, limits, clock, logger, upgradeToTls, authenticator } =
      options;
    this.#context = {
      hostname,
      delivery,
      policy,
      inspecting,
      limits,
      clock,
      logger,
      tlsAvailable: upgradeToTls !== undefined,
      authenticator,
    };
    this.#mayBeSecret = authenticator !== undefined;
    this.#transport = transport;
    this.#reader = new LineReader(options.limits.maxCommandLine);
    this.#watchdog = new Watchdog(options.clock, () => this.#expire());
    this.#turns = new Turns(options.clock);
    this.#startedAt = options.clock.monotonic();
    // With every property it will ever have: V8 is slow with objects whose shape changes.
    this.#session = {
      id: options.sessionId,
      remote: transport.remote,
      local: transport.local,
      hello: undefined,
      tls: undefined,
      login: undefined,
      transaction: undefined,
      errorCount: 0,
      refusedRecipientCount: 0,
      messageCount: 0,
    };
  }

  /** Runs the dialogue to its end. Never throws: errors are logged. */
  async run(): Promise<void> {
    const { logger } = this.#options;
    logger.debug("session.opened", { local: `${this.#session.local.address}:${this.#session.local.port}` });
    try {
      await this.#dialogue();
      if (this.#lastWritten) {
        await this.#lastWritten;
      } else {
        await this.#flush(this.#aborted ? GRACE : undefined);
        await this.#linger();
      }
    } catch (error) {
      this.#noteFailure(error);
    } finally {
      this.#watchdog.cancel();
      this.#turns[Symbol.dispose]();
      const unfinished = this.#session.transaction;
      try {
        await resetTransaction(this.#session);
      } catch (error) {
        logger.error("message.cleanup_failed", { error: describeError(error) });
      }
      this.#reader.release();
      this.#transport.close();
      this.#logEnd(unfinished);
    }
  }

  /** Ends the session as soon as no message is in flight: at once while it is idle, else after the message. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    if (!this.#idle) return;
    this.#end ||= "shutdown";
    this.#sayLast(replies.shuttingDown(this.#options.hostname));
  }

  /**
   * Ends the session, whatever it is doing; a client that we wait for has five seconds to take the reply. A
   * message that is being stored is answered first: without the reply the client would send it again.
   */
  abort(): void {
    this.#end ||= "shutdown";
    this.#draining = this.#aborted = true;
    if (this.#storing) return;
    if (this.#awaitsCommand) this.#sayLast(replies.shuttingDown(this.#options.hostname));
    else this.#transport.close();
  }

  async #dialogue(): Promise<void> {
    const { hostname, implicitTls } = this.#options;
    if (implicitTls && !await this.#startTls()) return;
    this.#say(reply(220, undefined, `${hostname} ESMTP mailapp`));
    for (let first = true;; first = false) {
      const line = await this.#nextLine();
      if (line === undefined) return;
      let { reply: answer, then } = await this.#answer(line, first);
      while (typeof then === "object" && "ask" in then) {
        const outcome = await this.#ask(answer, then);
        if (outcome === undefined) return;
        ({ reply: answer, then } = outcome);
      }
      if (typeof then === "object" && "receive" in then) {
        if (then.receive === "data") this.#say(answer);
        const continues = then.receive === "data"
          ? await this.#receiveData()
          : await this.#receiveChunk(answer, then);
        if (!continues) return;
      } else {
        this.#say(answer);
        if (then === "close") {
          this.#end ||= answer.code === 221 ? "quit" : "refused";
          return;
        }
        if (then === "start-tls" && !await this.#startTls()) return;
      }
      const farewell = this.#farewell();
      if (farewell) {
        this.#say(farewell);
        return;
      }
    }
  }

  /** What ends a session between two commands. */
  #farewell(): Reply | undefined {
    const { limits, hostname, clock } = this.#options;
    const session = this.#session;
    if (session.errorCount > limits.maxErrors) {
      this.#end = "too many errors";
      return reply(421, "4.7.0", "Too many errors; goodbye");
    }
    if (session.refusedRecipientCount > limits.maxRefusedRecipients) {
      this.#end = "too many refused recipients";
      return reply(421, "4.7.0", "Too many unknown recipients; goodbye");
    }
    if (this.#refusals > Math.max(limits.maxRefusals, 10 * limits.maxRecipients)) {
      this.#end = "too many refusals";
      return reply(421, "4.7.0", "Too many refusals; goodbye");
    }
    if (this.#draining && !session.transaction) {
      this.#end = "shutdown";
      return replies.shuttingDown(hostname);
    }
    const allowed = session.transaction ? 2 * limits.sessionTimeout : limits.sessionTimeout;
    if (clock.monotonic() - this.#startedAt > allowed) {
      this.#end = "session too long";
      return reply(421, "4.4.2", "The session has lasted too long; connect again");
    }
    return undefined;
  }

  /** The next line, or `undefined` when the session is over. */
  async #nextLine(maxLine?: number): Promise<Line | undefined> {
    let line = this.#reader.takeLine(maxLine);
    if (line) {
      this.#repliedAt = undefined;
      const others = this.#turns.spend(COST_OF_A_LINE);
      if (others) await others;
      if (this.#waiting.length > MAX_WAITING_REPLIES) await this.#flush();
    } else {
      await this.#flush();
      this.#repliedAt = this.#allow(this.#options.limits.idleTimeout);
      this.#idle = this.#session.transaction === undefined;
      if (this.#idle && this.#draining) {
        // The shutdown came while a reply was being written, or a handshake done.
        this.#idle = false;
        this.#end = "shutdown";
        this.#say(replies.shuttingDown(this.#options.hostname));
        return undefined;
      }
      this.#awaitsCommand = true;
      do {
        if (!await this.#reader.fillForLine(this.#transport, maxLine)) line = END;
        else line = this.#reader.takeLine(maxLine);
      } while (line === undefined);
      this.#awaitsCommand = this.#idle = false;
      if (this.#lastWritten) return undefined;
      this.#suspendDeadlines();
    }
    if (line.kind !== "end") return line;
    this.#end ||= "closed by the peer";
    return undefined;
  }

  /** Reads one more line for a command; it is not a command itself, and may be a secret. */
  async #ask(
    challenge: Reply,
    { ask }: { readonly ask: (line: Line) => Outcome | Promise<Outcome> },
  ): Promise<Outcome | undefined> {
    this.#say(challenge);
    this.#reader.expectData();
    const line = await this.#nextLine(MAX_ANSWER);
    if (line === undefined) return undefined;
    this.#trace("C", "…");
    let outcome: Outcome;
    try {
      outcome = await ask(line);
    } catch (error) {
      outcome = this.#failed("AUTH", error);
    }
    if (outcome.reply.code >= 400) this.#noteRefusal("…", { verb: "AUTH", reply: outcome.reply });
    return outcome;
  }

  /** A command that failed. */
  #failed(verb: string, error: unknown): Outcome {
    const { reply, cause, log } = replies.failureOf(error);
    if (cause !== undefined && this.#refusals < MAX_LOGGED_REFUSALS) {
      this.#options.logger.error("command.failed", { verb, error: describeError(cause) });
    }
    return { reply, then: "continue", log };
  }

  /** Counts and logs a refused command. */
  #noteRefusal(
    command: string,
    { verb, reply, transaction, log }: {
      readonly verb: string;
      readonly reply: Reply;
      readonly transaction?: Transaction | undefined;
      readonly log?: LogFields | undefined;
    },
  ): void {
    const probe = probeOf(this.#session);
    if (probe === undefined) refusals.with(verb, reply.enhanced ?? String(reply.code)).add();
    if (ERROR_CODES.has(reply.code)) this.#session.errorCount++;
    if (++this.#refusals > MAX_LOGGED_REFUSALS) return;
    this.#options.logger.info("command.refused", {
      command: command.slice(0, 300),
      reply: oneLine(reply),
      ...(transaction ? { from: envelopeFields(transaction).from } : {}),
      ...(probe && { probe }),
      ...log,
    });
  }

  /** Runs one line. */
  async #answer(line: Line, first: boolean): Promise<Outcome> {
    const session = this.#session;
    const verdict = this.#refusedData.isOver ? "command" : this.#judge(line);
    if (verdict === "sent") {
      this.#end = "mail data after a refused DATA";
      return {
        reply: reply(421, "4.7.0", "Mail data came after a refused DATA; goodbye"),
        then: "close",
      };
    }
    if (this.#options.logger.enabled("trace")) this.#trace("C", this.#describe(line));
    const { transaction } = session;
    let outcome: Outcome;
    let known = "none";
    if (line.kind !== "line") {
      outcome = { reply: UNREADABLE[line.kind as keyof typeof UNREADABLE], then: "continue" };
    } else if (verdict === "typed" && looksLikeData(line.text)) {
      outcome = { reply: replies.noDataYet, then: "continue" };
    } else {
      const { verb, argument } = parseCommand(line.text);
      if (commands.has(verb)) known = verb;
      if (first && HTTP_VERBS.has(verb)) {
        this.#end = "not SMTP";
        outcome = { reply: reply(521, "5.5.1", "This is a mail server; it speaks SMTP"), then: "close" };
      } else {
        try {
          outcome = await commands.get(verb)?.(session, argument, this.#context) ?? UNKNOWN;
        } catch (error) {
          outcome = this.#failed(verb, error);
        }
      }
      if (verb === "DATA" && outcome.then === "continue") {
        this.#refusedData.begin({ moreAtHand: this.#reader.available.length > 0 });
      } else if (commands.has(verb)) {
        this.#refusedData.end(verb);
      }
    }
    if (outcome.reply.code >= 400) {
      const { reply, log } = outcome;
      this.#noteRefusal(this.#describe(line), { verb: known, reply, transaction, log });
    }
    return outcome;
  }

  /** A line for the log. Who logs in without looking at replies may send a password where a command is awaited. */
  #describe(line: Line): string {
    if (!("text" in line)) return describeLine(line);
    const { verb } = parseCommand(line.text);
    if (verb === "AUTH") this.#mayBeSecret = true;
    return this.#mayBeSecret && !commands.has(verb) ? "…" : describeLine(line);
  }

  #judge(line: Line): Verdict {
    const now = this.#options.clock.monotonic();
    return this.#refusedData.judge(line, {
      moreAtHand: this.#reader.available.length > 0,
      waited: now - (this.#repliedAt ?? now),
    });
  }

  /** Reads the data to its true end, whatever becomes of the message; `false` when the session is over. */
  async #receiveData(): Promise<boolean> {
    const message = this.#session.transaction?.message;
    if (!message) return false;
    await this.#flush();
    const reader = this.#reader;
    reader.expectData();
    const wait: DataWait = { waited: 0 };
    for (;;) {
      const { available } = reader;
      if (available.length > 0) reader.consume(await message.write(available));
      if (message.ended) break;
      if (!await this.#fillWithData(wait, message)) return false;
    }
    this.#storing = true;
    this.#sayOfMessage(await completeMessage(this.#session, this.#context));
    this.#storing = false;
    return true;
  }

  /** Answers the end of the data. */
  #sayOfMessage(answer: Reply): void {
    if (answer.code >= 400) this.#refusals++;
    this.#say(answer);
  }

  /** Reads one chunk, and answers it; a chunk whose command was refused is dropped. */
  async #receiveChunk(answer: Reply, chunk: { octets: number; last: boolean }): Promise<boolean> {
    const refused = answer.code >= 400;
    const { maxMessageSize } = this.#options.limits;
    const message = refused ? undefined : this.#session.transaction?.message;
    if (chunk.octets > MAX_DROPPED_CHUNK && chunk.octets > maxMessageSize) {
      this.#say(refused ? answer : replies.tooBig(maxMessageSize));
      this.#end = "chunk too big";
      return false;
    }
    if (message && message.octets + chunk.octets > maxMessageSize) {
      message.fail(replies.tooBig(maxMessageSize));
    }
    const reader = this.#reader;
    const wait: DataWait = { waited: 0 };
    let left = chunk.octets;
    while (left > 0) {
      const piece = reader.available.subarray(0, left);
      if (piece.length === 0) {
        // A chunk that is already buffered, as small ones mostly are, needs neither.
        await this.#flush();
        reader.expectData();
        if (!await this.#fillWithData(wait, message, chunk.octets - left)) return false;
        continue;
      }
      if (message) await message.write(piece);
      reader.consume(piece.length);
      left -= piece.length;
    }
    if (!message) {
      this.#say(answer);
      return true;
    }
    if (chunk.last) {
      this.#storing = true;
      await message.finish();
      this.#sayOfMessage(await completeMessage(this.#session, this.#context));
      this.#storing = false;
    } else if (message.failure) {
      this.#sayOfMessage(await completeMessage(this.#session, this.#context));
    } else {
      this.#say(reply(250, "2.0.0", `${chunk.octets} octets received`));
    }
    return true;
  }

  /** Reads more mail data within its deadlines; `false` when the session is over. */
  async #fillWithData(
    wait: DataWait,
    message: { readonly octets: number; readonly refusedForLineEndings: boolean } | undefined,
    dropped = 0,
  ): Promise<boolean> {
    const { clock, limits } = this.#options;
    const { waited } = wait;
    const octets = message?.octets ?? dropped;
    this.#allow(Math.min(
      message?.refusedForLineEndings ? limits.bareLineEndingTimeout : limits.idleTimeout,
      limits.idleTimeout + octets * 1000 / limits.minDataRate - waited,
      limits.sessionTimeout - waited,
    ));
    const before = clock.monotonic();
    const more = await this.#reader.fill(this.#transport);
    wait.waited += clock.monotonic() - before;
    if (this.#lastWritten) return false;
    this.#suspendDeadlines();
    if (more) return true;
    this.#end ||= "closed by the peer in mid-data";
    return false;
  }

  /** Does the handshake; `false` when it failed and the session is over. */
  async #startTls(): Promise<boolean> {
    const { upgradeToTls, clock, limits } = this.#options;
    if (!upgradeToTls) return false;
    await this.#flush();
    // What the client sent after STARTTLS came in plaintext, possibly from an attacker in between (CVE-2011-0411).
    const injected = this.#reader.discard();
    if (injected > 0) this.#options.logger.warn("tls.plaintext_discarded", { octets: injected });
    this.#transport.deadline = clock.monotonic() + limits.handshakeTimeout;
    const session = this.#session;
    try {
      const { transport, tls } = await upgradeToTls(this.#transport);
      this.#transport = transport;
      session.tls = tls;
    } catch (error) {
      this.#end = error instanceof DeadlineError ? "TLS handshake timed out" : "TLS handshake failed";
      this.#options.logger.info("tls.failed", { error: describeError(error) });
      this.#transport.close();
      return false;
    }
    // RFC 3207 §4.2: discard what the client said before.
    session.hello = undefined;
    await resetTransaction(session);
    this.#options.logger.debug("tls.started", { protocol: session.tls.protocol, cipher: session.tls.cipher });
    return true;
  }

  /** Sets the deadline of what comes next; the transport's own is the fallback. Returns the time. */
  #allow(milliseconds: number): number {
    const now = this.#options.clock.monotonic();
    const deadline = now + Math.max(milliseconds, 0);
    this.#watchdog.deadline = deadline;
    this.#transport.deadline = deadline + GRACE;
    return now;
  }

  /**
   * Our own work has no deadline: a message must not be stored after a 421, nor its 250 be lost. The last
   * reply keeps its deadline, whatever the client sends while it is being written.
   */
  #suspendDeadlines(): void {
    this.#watchdog.deadline = Infinity;
    this.#transport.deadline = Infinity;
  }

  /** The deadline passed while we waited for the peer. */
  #expire(): void {
    const message = this.#session.transaction?.message;
    this.#end ||= message ? "timeout in mid-data" : "timeout";
    const words = message?.refusedForLineEndings
      ? (message.failure?.reply ?? replies.localError)
      : reply(421, "4.4.2", "Timeout; goodbye");
    this.#sayLast(words);
  }

  /** Ends the session from beside the one flow of execution, which is waiting to read. */
  #sayLast(words: Reply): void {
    this.#lastWritten ??= this.#writeLast(words);
  }

  /** Writes, then closes, which ends the wait. */
  async #writeLast(words: Reply): Promise<void> {
    try {
      this.#say(words);
      await this.#flush(GRACE);
      this.#transport.deadline = this.#options.clock.monotonic() + GRACE;
      await this.#transport.closeWrite?.();
    } catch {
      // The client is gone; the log has the reason.
    } finally {
      this.#transport.close();
    }
  }

  #say(reply: Reply): void {
    this.#traceReply(reply);
    this.#waiting += formatReply(reply);
  }

  /** Writes the pending replies within `timeout` milliseconds. */
  #flush(timeout: number = this.#options.limits.idleTimeout): Promise<void> | void {
    if (this.#waiting === "") return;
    const text = this.#waiting;
    this.#waiting = "";
    const transport = this.#transport;
    transport.deadline = this.#options.clock.monotonic() + timeout;
    const buffer = replyBuffers.take();
    const { read, written } = encoder.encodeInto(text, buffer);
    return transport.write(read < text.length ? encoder.encode(text) : buffer.subarray(0, written)).then(
      () => {
        replyBuffers.give(buffer);
        // What comes next may be work of ours, such as the end of a message that came with its command.
        transport.deadline = Infinity;
      },
    );
  }

  /** Closes our side first and reads on a little, so that the reply is not lost. */
  async #linger(): Promise<void> {
    if (this.#end === "quit" || this.#end.startsWith("closed by")) return;
    if (!this.#transport.closeWrite) return;
    const { clock } = this.#options;
    this.#transport.deadline = clock.monotonic() + MAX_LINGER_TIME;
    await this.#transport.closeWrite();
    await linger(this.#transport, MAX_LINGER_OCTETS);
  }

  #noteFailure(error: unknown): void {
    if (this.#end !== "") return;
    if (error instanceof DeadlineError) {
      this.#end = "timeout";
      return;
    }
    const code = (error as { code?: unknown } | null)?.code;
    this.#end = typeof code === "string" ? `connection lost (${code})` : `error: ${describeError(error)}`;
  }

  #logEnd(unfinished: Transaction | undefined): void {
    const session = this.#session;
    const probe = probeOf(session);
    sessions.with(this.#end.replace(/^connection lost .*|^error: .*/s, "connection lost")).add();
    this.#options.logger.info("session.closed", {
      reason: this.#end,
      messages: session.messageCount,
      ...(session.hello ? { hello: session.hello.odd ?? session.hello.domain } : {}),
      ...(session.tls ? { tls: session.tls.protocol } : {}),
      ...(session.errorCount > 0 ? { errors: session.errorCount } : {}),
      ...(session.refusedRecipientCount > 0 ? { refused_recipients: session.refusedRecipientCount } : {}),
      ...(this.#refusals > MAX_LOGGED_REFUSALS ? { refusals: this.#refusals } : {}),
      ...(unfinished ? envelopeFields(unfinished) : {}),
      ...(probe && { probe }),
      seconds: Math.round(this.#options.clock.monotonic() - this.#startedAt) / 1000,
    });
  }

  #trace(side: "C" | "S", text: string): void {
    this.#options.logger.trace("dialogue", { line: `${side}: ${text}` });
  }

  #traceReply(reply: Reply): void {
    if (!this.#options.logger.enabled("trace")) return;
    for (const line of formatReply(reply).trimEnd().split("\r\n")) this.#trace("S", line);
  }
}

const UNKNOWN: Outcome = { reply: replies.unknownCommand, then: "continue" };
