/**
 * Sends messages over many connections and measures each from the connection's start to the reply to the final dot.
 * A program of its own, so that its work does not delay whoever measures the server; it takes
 * {@linkcode LoadOptions} and prints a {@linkcode LoadReport}, both as JSON.
 *
 * @module
 */
import { Dialogue } from "../tests/support/peers/raw_smtp.ts";

/** What the client measured. */
export interface LoadReport {
  readonly messages: number;
  /** From the first connection to the last reply. */
  readonly seconds: number;
  /** From connecting to the reply to the dot, milliseconds, ascending. */
  readonly latencies: readonly number[];
}

/** What the client does. */
export interface LoadOptions {
  readonly host: string;
  readonly port: number;
  /** Connections at the same time. */
  readonly sessions: number;
  /** Messages in all, one a connection. */
  readonly messages: number;
  /** Octets a message. */
  readonly size: number;
  readonly recipient: string;
  /** PEM of who issued the server's certificate, and the name in it; absent: no STARTTLS. */
  readonly tls?: { readonly authority: string; readonly name: string };
}

/** Sends the messages. @throws {Error} when one is refused */
export async function load(options: LoadOptions): Promise<LoadReport> {
  const data = message(options.size);
  const latencies: number[] = [];
  let next = 0;
  const begin = performance.now();
  const session = async () => {
    while (next++ < options.messages) {
      const start = performance.now();
      const finish = await sendOne(options, data);
      latencies.push(performance.now() - start);
      await finish();
    }
  };
  await Promise.all(Array.from({ length: options.sessions }, session));
  const seconds = (performance.now() - begin) / 1000;
  return { messages: options.messages, seconds, latencies: latencies.sort((a, b) => a - b) };
}

/** Sends a message; what is returned says QUIT and closes. */
async function sendOne(options: LoadOptions, data: Uint8Array): Promise<() => Promise<void>> {
  const { host, port, tls, recipient } = options;
  const plain = await Deno.connect({ hostname: host, port });
  // Else small writes wait for the server's delayed acknowledgements, and that is what would be measured.
  plain.setNoDelay();
  let connection: Deno.Conn = plain;
  try {
    let dialogue = new Dialogue(connection);
    await dialogue.expect(220);
    await dialogue.say("EHLO bench.test", 250);
    if (tls) {
      await dialogue.say("STARTTLS", 220);
      const secure = await Deno.startTls(plain, {
        hostname: tls.name,
        caCerts: [tls.authority],
      });
      connection = secure;
      dialogue = new Dialogue(connection);
      await dialogue.say("EHLO bench.test", 250);
    }
    await dialogue.say("MAIL FROM:<sender@bench.test>", 250);
    await dialogue.say(`RCPT TO:<${recipient}>`, 250);
    await dialogue.say("DATA", 354);
    await dialogue.send(data);
    await dialogue.expect(250);
    return async () => {
      await dialogue.say("QUIT", 221);
      connection.close();
    };
  } catch (error) {
    try {
      connection.close();
    } catch {
      // It is closed already.
    }
    throw error;
  }
}

function message(size: number): Uint8Array {
  const header = "From: <sender@bench.test>\r\nTo: <alice@bench.test>\r\nSubject: bench\r\n\r\n";
  const line = `${"x".repeat(78)}\r\n`;
  const body = line.repeat(Math.max(1, Math.ceil((size - header.length) / line.length)));
  return new TextEncoder().encode(`${header}${body}.\r\n`);
}

if (import.meta.main) {
  const report = await load(JSON.parse(Deno.args[0] ?? ""));
  console.log(JSON.stringify(report));
}
