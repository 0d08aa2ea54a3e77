/**
 * A scripted SMTP server in memory: a map from command to reaction, everything else as a good server would.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import type { SocketAddress } from "../../net/transport.ts";
import { DeadlineError, type Transport } from "../../net/transport.ts";
import { Watchdog } from "../../base/watchdog.ts";

/** What a server does at a command: sends this text (CRLF is added), ends the connection, or falls silent. */
export type Reaction = string | { readonly raw: string } | "drop" | "stall";

/**
 * Where a script can say something; `dot` is the end of the mail data, by DATA or BDAT, `BDAT` any other chunk, `tls` the
 * handshake.
 */
export type Moment =
  | "greeting"
  | "EHLO"
  | "HELO"
  | "STARTTLS"
  | "tls"
  | "AUTH"
  | "MAIL"
  | "RCPT"
  | "DATA"
  | "BDAT"
  | "dot"
  | "RSET"
  | "QUIT"
  | "other";

/** One reaction for always, or one for each time (the last one repeats), or one by the command's text. */
export type Script = Partial<
  Record<Moment, Reaction | readonly Reaction[] | ((line: string) => Reaction | undefined)>
>;

/** A message that the server took. */
export interface TakenMessage {
  readonly from: string;
  readonly to: readonly string[];
  /** Dot-unstuffed, one character a byte. */
  readonly data: string;
  readonly tls: boolean;
}

/** How the server is. */
export interface FakeServerOptions {
  readonly clock: Clock;
  readonly script?: Script;
  /** What EHLO announces; default: everything but AUTH. */
  readonly capabilities?: readonly string[];
  readonly address?: string;
}

const EVERYTHING = [
  "PIPELINING",
  "SIZE 1000000",
  "8BITMIME",
  "SMTPUTF8",
  "DSN",
  "ENHANCEDSTATUSCODES",
  "STARTTLS",
];

/** A server whose every connection follows the same script. */
export class FakeServer {
  /** The commands of all connections in order, each connection begun by `(connected)`, mail data left out. */
  readonly commands: string[] = [];
  /** What was answered with 2xx at the dot. */
  readonly messages: TakenMessage[] = [];
  /** Each write of the client, as text; shows what was sent in one go. */
  readonly writes: string[] = [];
  /** Connections made so far. */
  connections = 0;
  /** What it does; may be changed at any time. */
  script: Script;
  readonly #options: FakeServerOptions;
  readonly #times = new Map<Moment, number>();
  #latest: FakeConnection | undefined;

  /** Makes the server. */
  constructor(options: FakeServerOptions) {
    this.#options = options;
    this.script = options.script ?? {};
  }

  /** A new connection, the client's end of it. */
  connect(): Transport {
    this.connections++;
    this.commands.push("(connected)");
    this.#latest = new FakeConnection(this, this.#options);
    return this.#latest.transport;
  }

  /** Says this unasked on the latest connection. */
  say(text: string): void {
    this.#latest?.say(text);
  }

  /** What the script says at this moment. */
  react(moment: Moment, line: string, otherwise: string): Reaction {
    const said = this.script[moment];
    if (said === undefined) return otherwise;
    if (typeof said === "function") return said(line) ?? otherwise;
    if (typeof said === "string" || "raw" in said) return said;
    const times = this.#times.get(moment) ?? 0;
    this.#times.set(moment, times + 1);
    return said[Math.min(times, said.length - 1)] ?? otherwise;
  }

  /** The reply to EHLO. */
  ehlo(tls: boolean): string {
    const capabilities = (this.#options.capabilities ?? EVERYTHING).filter((line) =>
      !(tls && line === "STARTTLS")
    );
    return ["fake.test", ...capabilities].map((line, i, all) =>
      `250${i === all.length - 1 ? " " : "-"}${line}`
    ).join("\r\n");
  }
}

/**
 * The client's side of a handshake with a {@linkcode FakeServer}: no cryptography, but it takes the server's word.
 * `certificate` is what the server would show.
 */
export function fakeUpgrade(
  certificate: {
    readonly authorized: boolean;
    readonly authorizationError?: string;
    readonly peerCertificate?: Uint8Array;
  },
) {
  return async (plain: Transport, { verify }: { readonly verify: boolean }) => {
    await plain.write(new TextEncoder().encode("(client hello)\r\n"));
    const buffer = new Uint8Array(100);
    const size = await plain.read(buffer);
    const said = size === null ? "connection closed by the peer" : text(buffer.subarray(0, size));
    if (said !== "(server hello)\r\n") {
      plain.close();
      throw new Error(`TLS handshake failed: ${said.trim()}`);
    }
    if (verify && !certificate.authorized) {
      plain.close();
      throw new Error(`certificate not accepted: ${certificate.authorizationError}`);
    }
    return {
      transport: plain,
      tls: { protocol: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", ...certificate },
    };
  };
}

interface Chunk {
  readonly octets: number;
  readonly last: boolean;
  readonly line: string;
}

class FakeConnection {
  readonly transport: Transport;
  readonly #server: FakeServer;
  readonly #toClient: Uint8Array[] = [];
  #wake: (() => void) | undefined;
  #input = "";
  #silent = false;
  #ended = false;
  #broken: Error | undefined;
  #tls = false;
  #inMail = false;
  #from = "";
  #to: string[] = [];
  #data: string | undefined;
  /** The chunk that is to come. */
  #chunk: Chunk | undefined;
  /** What chunks have brought. */
  #chunks = "";

  constructor(server: FakeServer, { clock, address = "192.0.2.1" }: FakeServerOptions) {
    this.#server = server;
    const fail = (error: Error) => {
      this.#broken ??= error;
      watchdog.cancel();
      this.#wake?.();
    };
    const watchdog = new Watchdog(clock, () => fail(new DeadlineError()));
    const remote: SocketAddress = { address, port: 25 };
    const local: SocketAddress = { address: "192.0.2.200", port: 40_000 };
    this.transport = {
      remote,
      local,
      get deadline() {
        return watchdog.deadline;
      },
      set deadline(deadline) {
        watchdog.deadline = deadline;
      },
      read: (buffer) => this.#read(buffer),
      write: (data) => this.#write(data),
      close: () => fail(new Error("connection closed")),
    };
    this.#say("greeting", "", "220 fake.test ESMTP");
  }

  async #read(buffer: Uint8Array): Promise<number | null> {
    for (;;) {
      if (this.#broken !== undefined) throw this.#broken;
      const first = this.#toClient[0];
      if (first !== undefined) {
        const size = Math.min(first.length, buffer.length);
        buffer.set(first.subarray(0, size));
        if (size === first.length) this.#toClient.shift();
        else this.#toClient[0] = first.subarray(size);
        return size;
      }
      if (this.#ended) return null;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  async #write(data: Uint8Array): Promise<void> {
    await Promise.resolve();
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#ended) throw new Error("connection reset");
    this.#server.writes.push(text(data));
    this.#input += text(data);
    while (!this.#silent && !this.#ended && this.#step());
  }

  /** Sends a line of its own accord. */
  say(line: string): void {
    this.#toClient.push(new TextEncoder().encode(`${line}\r\n`));
    this.#wake?.();
  }

  /** Takes one command, or the mail data; false when there is not enough. */
  #step(): boolean {
    if (this.#data !== undefined) {
      const end = this.#input.startsWith(".\r\n") ? 0 : this.#input.indexOf("\r\n.\r\n");
      if (end === -1) return false;
      const size = end === 0 ? 0 : end + 2;
      this.#data = this.#input.slice(0, size).replaceAll(/(^|\r\n)\./g, "$1");
      this.#input = this.#input.slice(size + 3);
      const message = { from: this.#from, to: this.#to, data: this.#data, tls: this.#tls };
      this.#data = undefined;
      this.#endMessage(message);
      return true;
    }
    if (this.#chunk !== undefined) return this.#takeChunk(this.#chunk);
    const end = this.#input.indexOf("\r\n");
    if (end === -1) return false;
    const line = this.#input.slice(0, end);
    this.#input = this.#input.slice(end + 2);
    if (line === "(client hello)") {
      this.#tls = this.#say("tls", line, "(server hello)");
      return true;
    }
    this.#server.commands.push(line);
    this.#run(line);
    return true;
  }

  #takeChunk({ octets, last, line }: Chunk): boolean {
    if (this.#input.length < octets) return false;
    this.#chunks += this.#input.slice(0, octets);
    this.#input = this.#input.slice(octets);
    this.#chunk = undefined;
    const message = { from: this.#from, to: this.#to, data: this.#chunks, tls: this.#tls };
    if (last) this.#endMessage(message);
    else this.#say("BDAT", line, `250 2.0.0 ${octets} octets`);
    return true;
  }

  #endMessage(message: TakenMessage): void {
    if (this.#say("dot", ".", "250 2.0.0 taken")) this.#server.messages.push(message);
    this.#inMail = false;
    this.#to = [];
    this.#chunks = "";
  }

  #run(line: string): void {
    const path = /<(.*)>/.exec(line)?.[1] ?? "";
    switch (line.split(" ")[0]) {
      case "EHLO":
        this.#say("EHLO", line, this.#server.ehlo(this.#tls));
        break;
      case "HELO":
        this.#say("HELO", line, "250 fake.test");
        break;
      case "STARTTLS":
        this.#say("STARTTLS", line, "220 2.0.0 go ahead");
        break;
      case "AUTH":
        this.#say("AUTH", line, "235 2.7.0 welcome");
        break;
      case "MAIL":
        this.#inMail = this.#say("MAIL", line, "250 2.1.0 sender ok");
        this.#from = path;
        break;
      case "RCPT":
        if (this.#say("RCPT", line, this.#inMail ? "250 2.1.5 recipient ok" : "503 5.5.1 MAIL first")) {
          this.#to.push(path);
        }
        break;
      case "DATA":
        if (this.#say("DATA", line, this.#to.length > 0 ? "354 go on" : "503 5.5.1 no recipients")) {
          this.#data = "";
        }
        break;
      case "BDAT": {
        const [, octets = "", last] = /^BDAT (\d+)( LAST)?$/.exec(line) ?? [];
        this.#chunk = { octets: Number(octets), last: last !== undefined, line };
        break;
      }
      case "RSET":
        this.#inMail = false;
        this.#to = [];
        this.#chunks = "";
        this.#say("RSET", line, "250 2.0.0 reset");
        break;
      case "QUIT":
        if (this.#say("QUIT", line, "221 2.0.0 bye")) this.#end();
        break;
      default:
        this.#say("other", line, "500 5.5.2 what?");
    }
  }

  /** Reacts; true when it was a good reply. */
  #say(moment: Moment, line: string, otherwise: string): boolean {
    const reaction = this.#server.react(moment, line, otherwise);
    if (reaction === "drop") {
      this.#end();
      return false;
    }
    if (reaction === "stall") {
      this.#silent = true;
      return false;
    }
    const raw = typeof reaction === "string" ? `${reaction}\r\n` : reaction.raw;
    this.#toClient.push(Uint8Array.from(raw, (character) => character.charCodeAt(0)));
    if (raw.startsWith("421")) this.#ended = true;
    this.#wake?.();
    return /^[(23]/.test(raw);
  }

  #end(): void {
    this.#ended = true;
    this.#wake?.();
  }
}

/** One character a byte. */
function text(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}
