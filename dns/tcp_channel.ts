/**
 * Questions to one DNS server over TCP (RFC 7766): those that are asked at the same time share a connection, and are
 * answered in any order.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { concat } from "../base/concat.ts";
import { errorText } from "../base/error_text.ts";
import { Watchdog } from "../base/watchdog.ts";
import { writeAll } from "../base/write_all.ts";
import type { DecodedPacket } from "./dns_packet.d.ts";
import { randomId } from "./query_message.ts";

/** A question as it goes out, and how its answer is known. */
export interface TcpQuestion {
  /** The message with this id, without the length before it. */
  encode(id: number): Uint8Array;
  /** The answer in these bytes; `undefined` where it is one to something else. */
  decode(bytes: Uint8Array, id: number): DecodedPacket | undefined;
  /** Milliseconds. */
  readonly timeout: number;
}

/** What the channel depends on. */
export interface TcpChannelOptions {
  /** An IP address. */
  readonly address: string;
  readonly port: number;
  /** Measures the timeout. */
  readonly clock: Clock;
  /** How long a connection is held after its last answer, in milliseconds; 0 if absent. */
  readonly linger?: number;
}

interface Pending {
  readonly question: TcpQuestion;
  /** In the clock's monotonic milliseconds. */
  readonly deadline: number;
  readonly answered: (packet: DecodedPacket) => void;
  readonly failed: (error: Error) => void;
}

/** On one connection at a time; ids have 65,536 values. */
const MAX_PENDING = 1000;
/** On all connections of a channel. */
const MAX_QUESTIONS = 5000;
/** Octets; a longer answer, of 64 KiB at most, gets its own. */
const BUFFER = 4096;

/** The connection is over, for whatever reason. */
class Closed extends Error {}
/** The response is malformed. */
class Foreign extends Error {}

/** Asks one server. Between questions no connection is held for longer than it may linger. */
export class TcpChannel {
  readonly #options: TcpChannelOptions;
  #connection: Connection | undefined;
  #questions = 0;

  /** Connects at the first query. */
  constructor(options: TcpChannelOptions) {
    this.#options = options;
  }

  /** @throws {Error} where there is no answer in time, or 5,000 questions wait already */
  async ask(question: TcpQuestion): Promise<DecodedPacket> {
    if (this.#questions >= MAX_QUESTIONS) throw new Error("too many questions at once");
    this.#questions++;
    try {
      return await this.#ask(question);
    } finally {
      this.#questions--;
    }
  }

  async #ask(question: TcpQuestion): Promise<DecodedPacket> {
    const shared = this.#connection?.takesMore ? this.#connection : undefined;
    const connection = shared ?? (this.#connection = new Connection(this.#options));
    try {
      return await connection.ask(question);
    } catch (error) {
      // A server may close after any answer (RFC 7766 §6.2.4), so what others have begun proves nothing.
      if (!(error instanceof Closed) || shared === undefined) throw error;
      return await new Connection(this.#options).ask(question);
    }
  }
}

class Connection {
  readonly #clock: Clock;
  readonly #pending = new Map<number, Pending>();
  readonly #opened: Promise<Deno.TcpConn>;
  readonly #giveUp = new AbortController();
  readonly #linger: number;
  /** Of all questions, and of the rest after them: a timer for each would cost more than the question. */
  readonly #watchdog: Watchdog;
  #unwritten: Uint8Array[] = [];
  #writing: Promise<void> = Promise.resolve();
  #over = false;

  constructor({ address, port, clock, linger = 0 }: TcpChannelOptions) {
    this.#clock = clock;
    this.#linger = linger;
    this.#watchdog = new Watchdog(clock, () => this.#look());
    this.#opened = Deno.connect({ hostname: address, port, signal: this.#giveUp.signal });
    this.#read().catch((error) => this.#end(error instanceof Foreign ? error : new Closed(errorText(error))));
  }

  /** Whether further questions may go over it. */
  get takesMore(): boolean {
    return !this.#over && this.#pending.size < MAX_PENDING;
  }

  async ask(question: TcpQuestion): Promise<DecodedPacket> {
    const { promise, resolve, reject } = Promise.withResolvers<DecodedPacket>();
    const deadline = this.#clock.monotonic() + question.timeout;
    if (this.#pending.size === 0 || deadline < this.#watchdog.deadline) this.#watchdog.deadline = deadline;
    let answered = false;
    let id = randomId();
    while (this.#pending.has(id)) id = (id + 1) & 0xffff;
    this.#pending.set(id, { question, deadline, answered: resolve, failed: reject });
    this.#unwritten.push(frame(question.encode(id)));
    if (this.#unwritten.length === 1) queueMicrotask(() => this.#flush());
    try {
      const packet = await promise;
      answered = true;
      return packet;
    } finally {
      this.#pending.delete(id);
      if (this.#pending.size === 0) this.#rest(answered ? this.#linger : 0);
    }
  }

  /** A deadline may have passed. */
  #look(): void {
    if (this.#pending.size === 0) return this.#end(new Closed());
    const now = this.#clock.monotonic();
    let next = Infinity;
    for (const { deadline, failed } of this.#pending.values()) {
      // As the watchdog takes it.
      if (deadline - now <= 1) failed(new Error("no answer over TCP"));
      else next = Math.min(next, deadline);
    }
    this.#watchdog.deadline = next;
  }

  /** Writes what has been asked meanwhile, in one piece. Who reads the answers learns of errors. */
  #flush(): void {
    this.#writing = this.#writing.then(async () => {
      const conn = await this.#opened;
      if (this.#unwritten.length > 0) await writeAll(conn, concat(...this.#unwritten.splice(0)));
    }).catch(() => {});
  }

  /** Nothing is asked any more, for now. */
  #rest(linger: number): void {
    if (linger === 0) this.#end(new Closed());
    else if (!this.#over) this.#watchdog.deadline = this.#clock.monotonic() + linger;
  }

  async #read(): Promise<void> {
    const conn = await this.#opened;
    if (this.#over) return conn.close();
    let buffer = new Uint8Array(BUFFER);
    let length = 0;
    for (;;) {
      const read = await conn.read(buffer.subarray(length));
      if (read === null) throw new Closed("connection closed over TCP");
      length += read;
      let at = 0;
      for (
        let size = frameSize(buffer, at, length);
        at + size <= length;
        size = frameSize(buffer, at, length)
      ) {
        this.#take(buffer.slice(at + 2, at + size));
        at += size;
      }
      const needed = frameSize(buffer, at, length);
      const rest = buffer.subarray(at, length);
      if (needed > buffer.length && needed !== Infinity) {
        buffer = new Uint8Array(needed);
        buffer.set(rest);
      } else buffer.copyWithin(0, at, length);
      length = rest.length;
    }
  }

  #take(bytes: Uint8Array): void {
    const id = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
    const pending = this.#pending.get(id);
    // What has been given up may still be answered.
    if (pending === undefined) return;
    const packet = pending.question.decode(bytes, id);
    if (packet === undefined) throw new Foreign("an answer to something else over TCP");
    pending.answered(packet);
  }

  #end(error: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#watchdog.cancel();
    this.#giveUp.abort();
    this.#opened.then((conn) => conn.close(), () => {}).catch(() => {});
    for (const { failed } of this.#pending.values()) failed(error);
  }
}

/** Octets of the message that begins there, with the two of its length; `Infinity` where those are not there yet. */
function frameSize(buffer: Uint8Array, at: number, length: number): number {
  return length - at < 2 ? Infinity : 2 + ((buffer[at] ?? 0) << 8 | (buffer[at + 1] ?? 0));
}

/** The message after its length. */
function frame(message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(2 + message.length);
  framed[0] = message.length >> 8;
  framed[1] = message.length & 0xff;
  framed.set(message, 2);
  return framed;
}
