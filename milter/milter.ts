/**
 * The client of the milter protocol, version 6: shows one message to a filter over its own connection.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Clock } from "../base/clock.ts";
import { Watchdog } from "../base/watchdog.ts";
import { writeAll } from "../base/write_all.ts";
import { fieldValue, type HeaderField } from "../message/header_section.ts";
import {
  ACTION,
  CHUNK,
  COMMAND,
  encodePacket,
  MilterError,
  numbers,
  type Packet,
  PacketReader,
  readTexts,
  REPLY,
  STEP,
  texts,
} from "./packet.ts";

/** Where a filter listens. */
export type MilterAddress = { readonly path: string } | { readonly host: string; readonly port: number };

/** The envelope as a filter sees it. */
export interface MilterEnvelope {
  /** This server's name. */
  readonly hostname: string;
  /** Joins what filter and server log about a message. */
  readonly id: string;
  /** The client's IP address, and its port. */
  readonly client: { readonly address: string; readonly port: number };
  /** The client's name as far as it leads back to the address. */
  readonly clientName?: string;
  /** What it said in HELO or EHLO. */
  readonly helo: string;
  /** The reverse-path without angle brackets. */
  readonly from: string;
  /** The forward-paths without angle brackets. */
  readonly to: readonly string[];
}

/** A change of the message, in the order in which the filter asked for them. */
export type MilterChange =
  /** A field to add; where does not matter to most readers, and it goes on top. */
  | { readonly kind: "add"; readonly name: string; readonly value: string }
  /** The `index`-th field of that name, counted from 1, gets another value; none where that is empty. */
  | { readonly kind: "change"; readonly name: string; readonly index: number; readonly value: string };

/** What a filter says of a message. */
export interface MilterVerdict {
  /** `discard`: the filter wants it to vanish. */
  readonly action: "accept" | "reject" | "defer" | "discard";
  /** The reply that it wants, as it gave it: code, enhanced code if it has one, text. */
  readonly reply?: string;
  /** Why it wants the message held apart. */
  readonly quarantine?: string;
  /** Only of a message that is accepted. */
  readonly changes: readonly MilterChange[];
}

/** How to talk to a filter. */
export interface MilterOptions {
  /** Where it is. */
  readonly address: MilterAddress;
  /** Measures the waits. */
  readonly clock: Clock;
  /** For each answer of the filter; also for the connection. */
  readonly timeoutMs: number;
  /** The system's if absent. */
  readonly connect?: (address: MilterAddress) => Promise<Deno.Conn>;
}

const VERSION = 6;
const ACTIONS = ACTION.addHeaders | ACTION.changeHeaders | ACTION.quarantine;
const STEPS = Object.values(STEP).reduce((all, bit) => all | bit, 0);
/** A filter that works on a message says so; it may do that for as many timeouts. */
const MAX_PROGRESS = 10;
/** Changes of one message. */
const MAX_CHANGES = 1000;
/** Octets of names and values in them. */
const MAX_CHANGED = 1024 * 1024;
/** Octets of a field's name and of its value as a filter is shown them: libmilter hangs up at a packet of 64 KiB. */
const MAX_NAME = 500;
const MAX_SHOWN = 65_000;

/**
 * One message at one filter. The methods are called in the order of the protocol; once the filter has decided, the later
 * ones do nothing. Any failure rejects, and ends the connection.
 */
export class MilterSession implements Disposable {
  readonly #conn: Deno.Conn;
  readonly #options: MilterOptions;
  readonly #watchdog: Watchdog;
  readonly #reader = new PacketReader();
  readonly #buffer = new Uint8Array(64 * 1024);
  #steps = 0;
  /** Macros that have not gone out. */
  #waiting: Buffer = Buffer.alloc(0);
  #decided: MilterVerdict | undefined;
  #skipsBody = false;
  #closed: "no" | "yes" | "late" = "no";

  private constructor(conn: Deno.Conn, options: MilterOptions) {
    this.#conn = conn;
    this.#options = options;
    this.#watchdog = new Watchdog(options.clock, () => this.#close("late"));
  }

  /**
   * Connects and agrees on what each side can do.
   * @throws {Error} when that fails
   */
  static async open(options: MilterOptions): Promise<MilterSession> {
    const { connect = connectTo, address } = options;
    const session = new MilterSession(await within(options, connect(address)), options);
    try {
      await session.#negotiate();
      return session;
    } catch (error) {
      session[Symbol.dispose]();
      throw error;
    }
  }

  /** What the filter decided before the end; `undefined` while it wants to see more. */
  get decided(): MilterVerdict | undefined {
    return this.#decided;
  }

  /** Tells the envelope. */
  async envelope(envelope: MilterEnvelope): Promise<void> {
    const { hostname, id, client, clientName = `[${client.address}]` } = envelope;
    const helo = utf8Octets(envelope.helo);
    const from = utf8Octets(envelope.from);
    const family = client.address.includes(":") ? "6" : "4";
    const port = Buffer.alloc(2);
    port.writeUInt16BE(client.port & 0xffff);
    this.#macros(COMMAND.connect, {
      j: hostname,
      _: `${helo} [${client.address}]`,
      "{daemon_name}": "mailapp",
      "{client_addr}": client.address,
      "{client_name}": clientName,
    });
    const address = [texts(clientName), Buffer.from(family), port, texts(client.address)];
    await this.#step(COMMAND.connect, [STEP.noConnect, STEP.connectUnanswered], ...address);
    await this.#step(COMMAND.hello, [STEP.noHello, STEP.helloUnanswered], texts(helo));
    this.#macros(COMMAND.mail, { i: id, "{mail_addr}": from });
    await this.#step(COMMAND.mail, [STEP.noMail, STEP.mailUnanswered], texts(`<${from}>`));
    if (this.#decided === undefined) await this.#recipients(envelope.to.map(utf8Octets));
    this.#macros(COMMAND.data, { i: id });
    await this.#step(COMMAND.data, [STEP.noData, STEP.dataUnanswered]);
  }

  /** A recipient who is refused here has been accepted long ago; only where all are is the message refused. */
  async #recipients(to: readonly string[]): Promise<void> {
    let refused: MilterVerdict | undefined;
    let accepted = 0;
    for (const recipient of to) {
      this.#macros(COMMAND.recipient, { "{rcpt_addr}": recipient });
      await this.#step(
        COMMAND.recipient,
        [STEP.noRecipients, STEP.recipientsUnanswered],
        texts(`<${recipient}>`),
      );
      if (this.#decided !== undefined && this.#decided.action !== "accept") {
        refused = this.#decided;
        this.#decided = undefined;
      } else accepted++;
      if (this.#decided !== undefined) return;
    }
    if (accepted === 0) this.#decided = refused;
  }

  /** Shows the header section. */
  async header(fields: readonly HeaderField[]): Promise<void> {
    for (const field of fields) {
      if (this.#decided !== undefined) return;
      const name = field.text.slice(0, field.name.length);
      // What is not a field has no name to be shown by, and no program looks for one as long.
      if (name === "" || name.length > MAX_NAME) continue;
      // What is left out of a long value would keep the filter from seeing the message at all.
      const value = fieldValue(field).slice(0, MAX_SHOWN).replaceAll("\r\n", "\n");
      await this.#step(
        COMMAND.header,
        [STEP.noHeaders, STEP.headersUnanswered],
        texts(name, (this.#steps & STEP.leadingSpace) === 0 ? value.replace(/^[ \t]/, "") : value),
      );
    }
    await this.#step(COMMAND.endOfHeader, [STEP.noEndOfHeader, STEP.endOfHeaderUnanswered]);
  }

  /** Shows a part of the body. */
  async body(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length && !this.#skipsBody; at += CHUNK) {
      const part = chunk.subarray(at, at + CHUNK);
      await this.#step(COMMAND.body, [STEP.noBody, STEP.bodyUnanswered], part);
    }
  }

  /** Ends the message: what happens to it. */
  async finish(): Promise<MilterVerdict> {
    if (this.#decided !== undefined) return this.#decided;
    await this.#write(COMMAND.endOfBody);
    const changes: MilterChange[] = [];
    let octets = 0;
    let quarantine: string | undefined;
    for (let progress = 0;;) {
      const packet = await this.#read();
      if (packet.letter === REPLY.progress && ++progress <= MAX_PROGRESS) continue;
      const change = readChange(packet);
      if (change !== undefined) {
        changes.push(change);
        if (changes.length > MAX_CHANGES) throw new MilterError(`more than ${MAX_CHANGES} changes`);
        octets += change.name.length + change.value.length;
        if (octets > MAX_CHANGED) throw new MilterError(`changes of more than ${MAX_CHANGED} octets`);
      } else if (packet.letter === REPLY.quarantine) [quarantine = ""] = readTexts(packet.data, 1);
      else {
        const verdict = readVerdict(packet) ?? { action: "accept", changes };
        return {
          ...verdict,
          ...(verdict.action === "accept" && { changes, ...(quarantine !== undefined && { quarantine }) }),
        };
      }
    }
  }

  /** Ends the connection. */
  [Symbol.dispose](): void {
    this.#close("yes");
  }

  #close(why: "yes" | "late"): void {
    if (this.#closed !== "no") return;
    this.#closed = why;
    this.#watchdog.cancel();
    this.#conn.close();
  }

  async #negotiate(): Promise<void> {
    await this.#write(COMMAND.negotiate, numbers(VERSION, ACTIONS, STEPS));
    const { letter, data } = await this.#read();
    if (letter !== COMMAND.negotiate || data.length < 12) throw new MilterError("no negotiation");
    const [version, steps] = [data.readUInt32BE(0), data.readUInt32BE(8)];
    if (version < 2 || version > VERSION) throw new MilterError(`version ${version} of the protocol`);
    // Rspamd names more actions than it was offered. Only if it asks for one of them it fails.
    this.#steps = steps & STEPS;
  }

  /** One step of the protocol, unless the filter wants it left out; `bits`: left out, unanswered. */
  async #step(
    letter: string,
    [leaveOut, unanswered]: readonly [number, number],
    ...data: readonly Uint8Array[]
  ): Promise<void> {
    if (this.#decided !== undefined || (this.#steps & leaveOut) !== 0) return;
    await this.#write(letter, ...data);
    if ((this.#steps & unanswered) !== 0) return;
    for (let progress = 0;;) {
      const packet = await this.#read();
      if (packet.letter === REPLY.progress && ++progress <= MAX_PROGRESS) continue;
      if (packet.letter === REPLY.skip && letter === COMMAND.body) this.#skipsBody = true;
      else this.#decided = readVerdict(packet);
      return;
    }
  }

  /** What filters may want to know at a stage; goes out with the next packet. */
  #macros(stage: string, macros: Readonly<Record<string, string>>): void {
    const packet = encodePacket(COMMAND.macros, Buffer.from(stage), texts(...Object.entries(macros).flat()));
    this.#waiting = Buffer.concat([this.#waiting, packet]);
  }

  async #write(letter: string, ...data: readonly Uint8Array[]): Promise<void> {
    const bytes = Buffer.concat([this.#waiting, encodePacket(letter, ...data)]);
    this.#waiting = Buffer.alloc(0);
    await this.#inTime(() => writeAll(this.#conn, bytes));
  }

  /** An answer; all of it has to come in time, not only its next octet. */
  #read(): Promise<Packet> {
    return this.#inTime(async () => {
      for (;;) {
        const packet = this.#reader.next();
        if (packet !== undefined) return packet;
        const length = await this.#conn.read(this.#buffer);
        if (length === null) throw new MilterError("the filter closed the connection");
        this.#reader.push(this.#buffer.subarray(0, length));
      }
    });
  }

  async #inTime<T>(call: () => Promise<T>): Promise<T> {
    const { clock, timeoutMs } = this.#options;
    if (this.#closed === "no") this.#watchdog.deadline = clock.monotonic() + timeoutMs;
    try {
      return await call();
    } catch (cause) {
      if (this.#closed === "late") throw new MilterError("no answer in time", { cause });
      throw cause;
    } finally {
      // What others take their time for is not the filter's fault.
      this.#watchdog.deadline = Infinity;
    }
  }
}

/** A text as its octets in UTF-8, one character each. */
function utf8Octets(text: string): string {
  return Buffer.from(text).toString("latin1");
}

/** What ends the look at a message; `undefined`: it goes on. */
function readVerdict({ letter, data }: Packet): MilterVerdict | undefined {
  switch (letter) {
    case REPLY.continue:
      return undefined;
    case REPLY.accept:
      return { action: "accept", changes: [] };
    case REPLY.discard:
      return { action: "discard", changes: [] };
    case REPLY.reject:
      return { action: "reject", changes: [] };
    case REPLY.temporaryFailure:
    case REPLY.shutdown:
    case REPLY.connectionFailure:
      return { action: "defer", changes: [] };
    case REPLY.replyCode: {
      const [reply = ""] = readTexts(data, 1);
      if (!/^[45]\d\d(?:[ -]|$)/.test(reply)) throw new MilterError("a reply that is neither 4xx nor 5xx");
      return { action: reply.startsWith("4") ? "defer" : "reject", reply, changes: [] };
    }
  }
  throw new MilterError(`an answer ${JSON.stringify(letter)} that was not offered`);
}

function readChange({ letter, data }: Packet): MilterChange | undefined {
  switch (letter) {
    case REPLY.addHeader: {
      const [name = "", value = ""] = readTexts(data, 2);
      return { kind: "add", name: fieldName(name), value };
    }
    case REPLY.insertHeader: {
      const [name = "", value = ""] = readTexts(data.subarray(4), 2);
      return { kind: "add", name: fieldName(name), value };
    }
    case REPLY.changeHeader: {
      if (data.length < 4) throw new MilterError("a change without its place");
      const [name = "", value = ""] = readTexts(data.subarray(4), 2);
      return { kind: "change", name: fieldName(name), index: data.readUInt32BE(), value };
    }
  }
  return undefined;
}

function fieldName(name: string): string {
  if (!/^[!-9;-~]{1,200}$/.test(name)) throw new MilterError("a field without a name");
  return name;
}

async function connectTo(address: MilterAddress): Promise<Deno.Conn> {
  if ("path" in address) return await Deno.connect({ transport: "unix", path: address.path });
  const conn = await Deno.connect({ hostname: address.host, port: address.port });
  // Each step waits for its answer.
  conn.setNoDelay(true);
  return conn;
}

/** The connection, or an error when it takes too long; one that comes later is closed. */
async function within(
  { clock, timeoutMs }: MilterOptions,
  connecting: Promise<Deno.Conn>,
): Promise<Deno.Conn> {
  const late = Promise.withResolvers<never>();
  const timer = clock.after(timeoutMs, () => {
    late.reject(new MilterError("no connection in time"));
    connecting.then((conn) => conn.close(), () => {});
  });
  try {
    return await Promise.race([connecting, late.promise]);
  } finally {
    timer.cancel();
  }
}
