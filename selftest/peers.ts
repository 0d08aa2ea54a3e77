/**
 * Receiving servers on loopback, well-behaved or not: an address for each, all on one port.
 *
 * @module
 */
import { createSecureContext, type SecureContext } from "node:tls";
import { systemClock } from "../base/clock.ts";
import { latin1, latin1Bytes } from "../base/latin1.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import type { Transport } from "../net/transport.ts";
import { serverUpgrade } from "../tls/server_upgrade.ts";
import type { FaultMoment } from "./cases/sending_faults.ts";

/** How a server is. */
export interface PeerOptions {
  /** What it says, or does (`drop`, `stall`), at a step; as a good server would if absent. */
  readonly script?: Partial<Record<FaultMoment, string>>;
  /** Its certificate and key, PEM; without them there is no STARTTLS. */
  readonly certificate?: { readonly cert: string; readonly key: string };
  /** Whether STARTTLS is announced without a certificate, for a script that refuses it. */
  readonly offersTls?: boolean;
  /** Whether clients may log in; any password will do. */
  readonly auth?: boolean;
}

/** A message that one of them took. */
export interface TakenMessage {
  /** The address of the server. */
  readonly address: string;
  readonly from: string;
  readonly to: readonly string[];
  /** One character an octet, dots unstuffed. */
  readonly data: string;
  readonly tls: boolean;
  /** What the client called itself. */
  readonly helo: string;
}

/** Octets of a message that are taken. */
const MAX_DATA = 16 * 1024 * 1024;

/** The servers. Disposed, they are gone. */
export class Peers implements AsyncDisposable {
  /** The port that all of them have. */
  readonly port: number;
  /** What they took, in order. */
  readonly messages: TakenMessage[] = [];
  /** Logins that clients tried, by the address of the server; without the password. */
  readonly logins: { readonly address: string; readonly tls: boolean }[] = [];
  readonly #listeners: Deno.TcpListener[] = [];
  readonly #conns = new Set<{ close(): void }>();
  #next = 10;

  readonly #taken: (message: TakenMessage) => void;

  private constructor(port: number, taken: ((message: TakenMessage) => void) | undefined) {
    this.port = port;
    this.#taken = taken ?? ((message) => void this.messages.push(message));
  }

  /** Chooses a port. @param options `taken`: gets each message, which is not kept then */
  static start({ taken }: { readonly taken?: (message: TakenMessage) => void } = {}): Peers {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    return new Peers(listener.addr.port, taken);
  }

  /** A message that one of them took. */
  take(message: TakenMessage): void {
    this.#taken(message);
  }

  /** Adds a server; its address. */
  add(options: PeerOptions = {}): string {
    const number = this.#next++;
    return this.addOn(`127.0.${23 + Math.floor(number / 250)}.${number % 250}`, options);
  }

  /** Adds a server on an address. */
  addOn(address: string, options: PeerOptions = {}): string {
    const listener = Deno.listen({ hostname: address, port: this.port });
    this.#listeners.push(listener);
    const { certificate } = options;
    const context = certificate && createSecureContext({ cert: certificate.cert, key: certificate.key });
    void this.#serve(listener, { ...options, address, context });
    return address;
  }

  /** The connections and listeners end. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    for (const conn of this.#conns) conn.close();
    await Promise.resolve();
  }

  async #serve(listener: Deno.TcpListener, options: ServedPeer): Promise<void> {
    for await (const conn of listener) {
      const transport = new ConnTransport(conn, { clock: systemClock });
      this.#conns.add(transport);
      const dialogue = new PeerDialogue(transport, options, this);
      void dialogue.run().catch(() => {}).finally(() => {
        transport.close();
        this.#conns.delete(transport);
      });
    }
  }
}

type ServedPeer = PeerOptions & { readonly address: string; readonly context: SecureContext | undefined };

/** One connection of a client's. */
class PeerDialogue {
  readonly #options: ServedPeer;
  readonly #peers: Pick<Peers, "take" | "logins">;
  #transport: Transport;
  #input = "";
  #tls = false;
  #helo = "";
  #from = "";
  #to: string[] = [];

  constructor(transport: Transport, options: ServedPeer, peers: Pick<Peers, "take" | "logins">) {
    this.#transport = transport;
    this.#options = options;
    this.#peers = peers;
  }

  /** To the end of the connection. */
  async run(): Promise<void> {
    if (!await this.#say("greeting", "220 peer.selftest.test ESMTP")) return;
    for (let line = await this.#line(); line !== undefined; line = await this.#line()) {
      if (!await this.#command(line)) return;
    }
  }

  async #command(line: string): Promise<boolean> {
    const path = /<([^<>]*)>/.exec(line)?.[1] ?? "";
    switch (line.split(" ", 1)[0]?.toUpperCase()) {
      case "EHLO":
        this.#helo = line.slice(5);
        return await this.#say("EHLO", this.#capabilities());
      case "HELO":
        this.#helo = line.slice(5);
        return await this.#write("250 peer.selftest.test");
      case "STARTTLS":
        return await this.#startTls();
      case "AUTH":
        this.#peers.logins.push({ address: this.#options.address, tls: this.#tls });
        if (line.split(" ").length < 3) {
          await this.#write("334 ");
          await this.#line();
        }
        return await this.#write("235 2.7.0 welcome");
      case "MAIL":
        this.#from = path;
        this.#to = [];
        return await this.#say("MAIL", "250 2.1.0 sender ok");
      case "RCPT":
        return await this.#say("RCPT", "250 2.1.5 recipient ok", () => this.#to.push(path));
      case "DATA":
        return await this.#data();
      case "RSET":
        return await this.#write("250 2.0.0 reset");
      case "QUIT":
        await this.#say("QUIT", "221 2.0.0 bye");
        return false;
      default:
        return await this.#write("500 5.5.2 what?");
    }
  }

  #capabilities(): string {
    const { context, auth, offersTls } = this.#options;
    const lines = [
      "peer.selftest.test",
      "PIPELINING",
      "8BITMIME",
      "SMTPUTF8",
      `SIZE ${MAX_DATA}`,
      ...((context !== undefined || offersTls) && !this.#tls ? ["STARTTLS"] : []),
      ...(auth && (this.#tls || context === undefined) ? ["AUTH PLAIN LOGIN"] : []),
    ];
    return lines.map((line, at) => `250${at === lines.length - 1 ? " " : "-"}${line}`).join("\r\n");
  }

  async #startTls(): Promise<boolean> {
    const { context, script } = this.#options;
    if (script?.STARTTLS !== undefined || context === undefined) {
      return await this.#say("STARTTLS", "502 5.5.1 no TLS here");
    }
    await this.#write("220 2.0.0 go ahead");
    this.#input = "";
    const { transport } = await serverUpgrade({ certificates: { secureContext: context } })(this.#transport);
    this.#transport = transport;
    this.#tls = true;
    return true;
  }

  async #data(): Promise<boolean> {
    let begun = false;
    if (
      !await this.#say(
        "DATA",
        this.#to.length > 0 ? "354 go on" : "503 5.5.1 no recipients",
        () => begun = true,
      )
    ) {
      return false;
    }
    if (!begun || this.#to.length === 0) return true;
    let end: number;
    while ((end = this.#input.startsWith(".\r\n") ? 0 : this.#input.indexOf("\r\n.\r\n") + 2) === 1) {
      if (this.#input.length > MAX_DATA || !await this.#read()) return false;
    }
    const data = this.#input.slice(0, end).replaceAll(/(^|\r\n)\./g, "$1");
    this.#input = this.#input.slice(end + 3);
    const { address } = this.#options;
    const message = { address, from: this.#from, to: this.#to, data, tls: this.#tls, helo: this.#helo };
    return await this.#say("dot", "250 2.0.0 taken", () => this.#peers.take(message));
  }

  /** Does what the script says at this step; `good` is called where it says nothing bad. Whether to go on. */
  async #say(moment: FaultMoment, otherwise: string, good?: () => void): Promise<boolean> {
    const reaction = this.#options.script?.[moment] ?? otherwise;
    if (reaction === "drop") return false;
    if (reaction === "stall") {
      while (await this.#read());
      return false;
    }
    if (/^[23]/.test(reaction)) good?.();
    await this.#write(reaction);
    return !reaction.startsWith("421");
  }

  async #write(text: string): Promise<boolean> {
    await this.#transport.write(latin1Bytes(`${text}\r\n`));
    return true;
  }

  async #line(): Promise<string | undefined> {
    let end: number;
    while ((end = this.#input.indexOf("\r\n")) === -1) {
      if (!await this.#read()) return undefined;
    }
    const line = this.#input.slice(0, end);
    this.#input = this.#input.slice(end + 2);
    return line;
  }

  async #read(): Promise<boolean> {
    const buffer = new Uint8Array(64 * 1024);
    const size = await this.#transport.read(buffer);
    if (size === null) return false;
    this.#input += latin1(buffer.subarray(0, size));
    return true;
  }
}
