/**
 * Sends messages over many connections and measures each from the connection's start to the reply to the final dot.
 * A separate program, so that its work does not delay whoever measures the server; it takes
 * {@linkcode LoadOptions} and prints a {@linkcode LoadReport}, both as JSON.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { runOk } from "../tests/support/peers/process.ts";
import { Dialogue } from "../tests/support/peers/raw_smtp.ts";

/** What the client measured. */
export interface LoadReport {
  readonly messages: number;
  /** From the first connection to the last reply. */
  readonly seconds: number;
  /** From connecting, or from MAIL on a kept connection, to the reply to the dot; milliseconds, ascending. */
  readonly latencies: readonly number[];
}

/** What the client does. */
export interface LoadOptions {
  readonly host: string;
  readonly port: number;
  /** Connections at the same time. */
  readonly sessions: number;
  /** Messages in all. */
  readonly messages: number;
  /** Octets a message. */
  readonly size: number;
  /** Where `{n}` stands the number of the message, from 1, counted again after `domains`. */
  readonly recipient: string;
  readonly domains?: number;
  /** Each session sends all its messages over one connection. */
  readonly keep: boolean;
  /** PEM of who issued the server's certificate, and the name in it; `implicit`: TLS at once. Absent: no TLS. */
  readonly tls?: { readonly authority: string; readonly name: string; readonly implicit?: boolean };
  /** Logs in by PLAIN. */
  readonly login?: { readonly user: string; readonly password: string };
  /** sender@bench.test if absent. */
  readonly sender?: string;
}

/** Sends the messages. @throws {Error} when one is refused */
export async function load(options: LoadOptions): Promise<LoadReport> {
  const { sender = SENDER } = options;
  const data = message(options.size, sender);
  const latencies: number[] = [];
  let next = 0;
  const begin = performance.now();
  const session = async () => {
    let kept: Client | undefined;
    for (let number = ++next; number <= options.messages; number = ++next) {
      const start = performance.now();
      const client = kept ?? await Client.connect(options);
      await client.send(recipientOf(options, number), { data, sender });
      latencies.push(performance.now() - start);
      if (options.keep) kept = client;
      else await client.quit();
    }
    await kept?.quit();
  };
  await Promise.all(Array.from({ length: options.sessions }, session));
  const seconds = (performance.now() - begin) / 1000;
  return { messages: options.messages, seconds, latencies: latencies.sort((a, b) => a - b) };
}

/** The recipient of the message of this number. */
function recipientOf({ recipient, domains = 1 }: LoadOptions, number: number): string {
  return recipient.replace("{n}", String((number - 1) % domains + 1));
}

/** One connection. */
class Client {
  readonly #connection: Deno.Conn;
  readonly #dialogue: Dialogue;

  private constructor(connection: Deno.Conn, dialogue: Dialogue) {
    this.#connection = connection;
    this.#dialogue = dialogue;
  }

  static async connect(
    { host, port, tls, login }: Pick<LoadOptions, "host" | "port" | "tls" | "login">,
  ): Promise<Client> {
    const plain = await Deno.connect({ hostname: host, port });
    // Else small writes wait for the server's delayed acknowledgements, and that is what would be measured.
    plain.setNoDelay();
    if (tls?.implicit) {
      const secure = await Deno.startTls(plain, { hostname: tls.name, caCerts: [tls.authority] });
      const dialogue = new Dialogue(secure);
      await dialogue.expect(220);
      await dialogue.say("EHLO bench.test", 250);
      if (login) await dialogue.say(`AUTH PLAIN ${btoa(`\0${login.user}\0${login.password}`)}`, 235);
      return new Client(secure, dialogue);
    }
    const dialogue = new Dialogue(plain);
    await dialogue.expect(220);
    await dialogue.say("EHLO bench.test", 250);
    if (!tls) return new Client(plain, dialogue);
    await dialogue.say("STARTTLS", 220);
    const secure = await Deno.startTls(plain, { hostname: tls.name, caCerts: [tls.authority] });
    const secureDialogue = new Dialogue(secure);
    await secureDialogue.say("EHLO bench.test", 250);
    return new Client(secure, secureDialogue);
  }

  async send(
    recipient: string,
    { data, sender }: { readonly data: Uint8Array; readonly sender: string },
  ): Promise<void> {
    await this.#dialogue.say(`MAIL FROM:<${sender}>`, 250);
    await this.#dialogue.say(`RCPT TO:<${recipient}>`, 250);
    await this.#dialogue.say("DATA", 354);
    await this.#dialogue.send(data);
    await this.#dialogue.expect(250);
  }

  async quit(): Promise<void> {
    await this.#dialogue.say("QUIT", 221);
    this.#connection.close();
  }
}

/** Sends one message in this process. @returns when its 250 came, by `performance.now()` */
export async function sendOne(options: Omit<LoadOptions, "sessions" | "messages" | "keep">): Promise<number> {
  const client = await Client.connect(options);
  const { sender = SENDER } = options;
  await client.send(options.recipient, { data: message(options.size, sender), sender });
  const accepted = performance.now();
  await client.quit();
  return accepted;
}

/** Runs {@linkcode load} in its own process. */
export async function runLoadClient(options: LoadOptions): Promise<LoadReport> {
  const client = fileURLToPath(import.meta.url);
  return JSON.parse(
    await runOk(Deno.execPath(), {
      args: ["run", "-A", "--frozen", client, JSON.stringify(options)],
      within: 600_000,
    }),
  );
}

const SENDER = "sender@bench.test";

function message(size: number, sender: string): Uint8Array {
  const header = `From: <${sender}>\r\nTo: <alice@bench.test>\r\nSubject: bench\r\n\r\n`;
  const line = `${"x".repeat(78)}\r\n`;
  const body = line.repeat(Math.max(1, Math.ceil((size - header.length) / line.length)));
  return new TextEncoder().encode(`${header}${body}.\r\n`);
}

if (import.meta.main) {
  const report = await load(JSON.parse(Deno.args[0] ?? ""));
  console.log(JSON.stringify(report));
}
