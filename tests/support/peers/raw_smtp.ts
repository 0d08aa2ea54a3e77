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
  /** Behind MAIL FROM, such as `BODY=8BITMIME SMTPUTF8`. */
  readonly mailParameters?: string;
}

/** Sends a message. @returns the reply to the final dot @throws {Error} when anything is refused */
export async function sendRaw(message: RawMessage): Promise<string> {
  using connection = await Deno.connect({ hostname: message.host ?? "127.0.0.1", port: message.port });
  const reply = replies(connection);
  const say = async (bytes: string | Uint8Array, expected: number) => {
    await writeAll(connection, typeof bytes === "string" ? new TextEncoder().encode(`${bytes}\r\n`) : bytes);
    const said = await reply();
    if (!said.startsWith(String(expected))) {
      throw new Error(`${typeof bytes === "string" ? bytes : "the data"} answered ${said}`);
    }
    return said;
  };
  await reply();
  await say("EHLO raw.test", 250);
  await say(`MAIL FROM:<${message.from}>${message.mailParameters ? ` ${message.mailParameters}` : ""}`, 250);
  for (const recipient of message.to) await say(`RCPT TO:<${recipient}>`, 250);
  await say("DATA", 354);
  const said = await say(stuffed(message.data), 250);
  await say("QUIT", 221);
  return said;
}

/** Turns every line end into CRLF. */
export function withCrlf(bytes: Uint8Array): Uint8Array {
  return convert(bytes, (byte, previous) => byte === LF && previous !== CR ? [CR, LF] : [byte]);
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
  const lines = convert(
    data,
    (byte, previous) => byte === DOT && (previous === LF || previous === undefined) ? [DOT, DOT] : [byte],
  );
  const end = data.at(-1) === LF ? ".\r\n" : "\r\n.\r\n";
  const out = new Uint8Array(lines.length + end.length);
  out.set(lines);
  out.set(new TextEncoder().encode(end), lines.length);
  return out;
}

function convert(
  bytes: Uint8Array,
  replace: (byte: number, previous: number | undefined) => readonly number[],
): Uint8Array {
  const out = new Uint8Array(bytes.length * 2);
  let length = 0;
  let previous: number | undefined;
  for (const byte of bytes) {
    for (const replacement of replace(byte, previous)) out[length++] = replacement;
    previous = byte;
  }
  return out.slice(0, length);
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

function replies(connection: Deno.Conn): () => Promise<string> {
  const buffer = new Uint8Array(4096);
  let pending = "";
  return async () => {
    let reply = "";
    while (true) {
      const end = pending.indexOf("\r\n");
      if (end === -1) {
        const length = await connection.read(buffer);
        if (length === null) throw new Error(`the server closed the connection after "${reply}${pending}"`);
        pending += new TextDecoder().decode(buffer.subarray(0, length));
        continue;
      }
      const line = pending.slice(0, end);
      pending = pending.slice(end + 2);
      reply += `${line}\n`;
      if (line[3] !== "-") return reply;
    }
  };
}
