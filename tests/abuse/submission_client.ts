/**
 * Clients of serve-submit, in a separate program: `guess` tries wrong passwords from many addresses at once, `send`
 * sends messages on one session until standard input ends, and tells apart what came before and
 * after its first line, `login` logs in once. Prints the outcome as JSON.
 *
 * @module
 */
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

/** Where the server is. */
interface Target {
  readonly host: string;
  readonly port: number;
}

/** A session over TLS from a certain address, past EHLO. */
class Client implements Disposable {
  readonly #socket: Socket;
  #text = "";
  #over = false;
  #wake = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text: unknown) => {
      this.#text += text;
      this.#wake();
    });
    const end = () => {
      this.#over = true;
      this.#wake();
    };
    socket.on("error", end);
    socket.on("close", end);
    socket.on("end", end);
  }

  static async open({ host, port }: Target, localAddress: string): Promise<Client> {
    const tcp = connect({ host, port, localAddress });
    tcp.on("error", () => {});
    const client = new Client(connectTls({ socket: tcp, rejectUnauthorized: false }));
    tcp.on("close", () => {
      client.#over = true;
      client.#wake();
    });
    await client.hear();
    await client.say("EHLO client.test");
    return client;
  }

  /** The next whole reply; empty when the session is over. */
  async hear(): Promise<string> {
    for (;;) {
      const found = /^(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n/.exec(this.#text);
      if (found !== null) {
        this.#text = this.#text.slice(found[0].length);
        return found[0];
      }
      if (this.#over) return "";
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  async say(line: string): Promise<string> {
    if (this.#over) return "";
    this.#socket.write(`${line}\r\n`);
    return await this.hear();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

const plain = (login: string, password: string) => `AUTH PLAIN ${btoa(`\0${login}\0${password}`)}`;

/** This many guesses from one address, over as many sessions as it takes; how many got which reply. */
async function guess(
  target: Target,
  { address, login, guesses, replies }: {
    readonly address: string;
    readonly login: string;
    readonly guesses: number;
    readonly replies: Record<string, number>;
  },
): Promise<void> {
  let done = 0;
  while (done < guesses) {
    using client = await Client.open(target, address);
    while (done < guesses) {
      const code = (await client.say(plain(login, `guess ${address} ${done}`))).slice(0, 3);
      // The session has ended: a new one, and the guess again.
      if (code === "421" || code === "") break;
      replies[code] = (replies[code] ?? 0) + 1;
      done++;
    }
  }
}

async function send(target: Target, { address, login, password }: Login): Promise<number[][]> {
  using client = await Client.open(target, address);
  const expect = async (line: string, code: string) => {
    const reply = await client.say(line);
    if (!reply.startsWith(code)) throw new Error(`${line}: ${JSON.stringify(reply)}`);
  };
  await expect(plain(login, password), "235");
  const phases: number[][] = [[]];
  let over = false;
  (async () => {
    const buffer = new Uint8Array(1);
    while (await Deno.stdin.read(buffer) !== null) phases.push([]);
    over = true;
  })();
  while (!over) {
    const startedAt = performance.now();
    await expect(`MAIL FROM:<${login}>`, "250");
    await expect(`RCPT TO:<${login}>`, "250");
    await expect("DATA", "354");
    await expect(
      `From: ${login}\r\nSubject: x\r\n\r\n${"x".repeat(2000).replace(/.{70}/g, "$&\r\n")}\r\n.`,
      "250",
    );
    phases.at(-1)?.push(performance.now() - startedAt);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await client.say("QUIT");
  return phases.map((latencies) => latencies.sort((a, b) => a - b));
}

interface Login {
  readonly address: string;
  readonly login: string;
  readonly password: string;
}

const [what, host = "", port = "", options = "{}"] = Deno.args;
const target = { host, port: Number(port) };
const given = JSON.parse(options);
if (what === "guess") {
  const replies: Record<string, number> = {};
  const startedAt = performance.now();
  await Promise.all(
    given.addresses.map(async (address: string, n: number) => {
      // Attackers are not in step.
      await new Promise((resolve) => setTimeout(resolve, n * 25));
      await guess(target, { ...given, address, replies });
    }),
  );
  console.log(JSON.stringify({ replies, seconds: (performance.now() - startedAt) / 1000 }));
} else if (what === "send") {
  console.log(JSON.stringify(await send(target, given)));
} else {
  const startedAt = performance.now();
  using client = await Client.open(target, given.address);
  const reply = await client.say(plain(given.login, given.password));
  console.log(JSON.stringify({ reply: reply.slice(0, 3), ms: performance.now() - startedAt }));
}
Deno.exit(0);
