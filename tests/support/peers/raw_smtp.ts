/**
 * A client that says exactly what it is told, byte for byte. It shares no code with the program under test.
 *
 * @module
 */

/** What is sent, and to whom. */
export interface RawMessage {
  readonly host?: string;
  readonly port: number;
  readonly from: string;
  readonly to: readonly string[];
  /** With CRLF line ends; dots are stuffed and the final dot is added here. */
  readonly data: Uint8Array;
  /** After MAIL FROM, such as `BODY=8BITMIME SMTPUTF8`. */
  readonly mailParameters?: string;
}

/** Sends a message. @returns the reply to the final dot @throws {Error} when anything is refused */
export async function sendRaw(message: RawMessage): Promise<string> {
  using connection = await Deno.connect({ hostname: message.host ?? "127.0.0.1", port: message.port });
  const dialogue = new Dialogue(connection);
  await dialogue.expect(220);
  await dialogue.say("EHLO raw.test", 250);
  const parameters = message.mailParameters ? ` ${message.mailParameters}` : "";
  await dialogue.say(`MAIL FROM:<${message.from}>${parameters}`, 250);
  for (const recipient of message.to) await dialogue.say(`RCPT TO:<${recipient}>`, 250);
  await dialogue.say("DATA", 354);
  await dialogue.send(stuffed(message.data));
  const said = await dialogue.expect(250);
  await dialogue.say("QUIT", 221);
  return said;
}

/** One dialogue over a connection, which stays the caller's to close. */
export class Dialogue {
  readonly #connection: Deno.Conn;
  readonly #buffer = new Uint8Array(4096);
  #pending = "";

  /** Says nothing yet. */
  constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  /** Sends bytes as they are. */
  async send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
  }

  /** Sends a command and returns the reply. @throws {Error} when its code is another */
  async say(command: string, code: number): Promise<string> {
    await this.send(encoder.encode(`${command}\r\n`));
    return await this.expect(code, command);
  }

  /** Reads a reply to its end, lines ending in LF. @throws {Error} when its code is another */
  async expect(code: number, to = "what was sent"): Promise<string> {
    const reply = await this.#reply();
    if (!reply.startsWith(String(code))) throw new Error(`${to} answered ${reply}`);
    return reply;
  }

  async #reply(): Promise<string> {
    let reply = "";
    while (true) {
      const end = this.#pending.indexOf("\r\n");
      if (end === -1) {
        const length = await this.#connection.read(this.#buffer);
        if (length === null) throw new Error(`the server closed after "${reply}${this.#pending}"`);
        this.#pending += decoder.decode(this.#buffer.subarray(0, length));
        continue;
      }
      const line = this.#pending.slice(0, end);
      this.#pending = this.#pending.slice(end + 2);
      reply += `${line}\n`;
      if (line[3] !== "-") return reply;
    }
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Turns every line end into CRLF. */
export function withCrlf(bytes: Uint8Array): Uint8Array {
  return inserting(bytes, CR, (byte, previous) => byte === LF && previous !== CR);
}

/** Turns every CRLF into LF. */
export function withLf(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length);
  let length = 0;
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] === CR && bytes[i + 1] === LF) continue;
    out[length++] = bytes[i] ?? 0;
  }
  return out.subarray(0, length);
}

const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;

/** The data as it goes over the wire after 354: dots stuffed (RFC 5321 §4.5.2), final dot added. */
export function stuffed(data: Uint8Array): Uint8Array {
  const isAtStart = (previous: number | undefined) => previous === LF || previous === undefined;
  const lines = inserting(data, DOT, (byte, previous) => byte === DOT && isAtStart(previous));
  const end = data.at(-1) === LF ? ".\r\n" : "\r\n.\r\n";
  const out = new Uint8Array(lines.length + end.length);
  out.set(lines);
  out.set(encoder.encode(end), lines.length);
  return out;
}

/** The bytes, with one put before each that asks for it. */
function inserting(
  bytes: Uint8Array,
  inserted: number,
  isWanted: (byte: number, previous: number | undefined) => boolean,
): Uint8Array {
  const out = new Uint8Array(bytes.length * 2);
  let length = 0;
  let previous: number | undefined;
  for (const byte of bytes) {
    if (isWanted(byte, previous)) out[length++] = inserted;
    out[length++] = byte;
    previous = byte;
  }
  return out.slice(0, length);
}
