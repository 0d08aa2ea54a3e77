/**
 * A client that says exactly what it is told, well-behaved or not.
 *
 * @module
 */
import { systemClock } from "../base/clock.ts";
import { latin1, latin1Bytes } from "../base/latin1.ts";
import { createDial } from "../net/dial.ts";
import type { Transport } from "../net/transport.ts";
import { type ClientTlsInfo, clientUpgrade } from "../tls/client_upgrade.ts";

/** What {@linkcode Wire.hear} gives when nothing came in time. */
export const SILENCE = "(no answer)";
/** What it gives when the server has closed the connection. */
export const CLOSED = "(connection closed)";

/** For an answer, in milliseconds: the machine may be busy. */
const PATIENCE = 20_000;

/** Whether a reply to EHLO announces an extension. */
export function announces(ehlo: string, extension: string): boolean {
  return ehlo.split("\r\n").some((line) => {
    const word = line.slice(4).split(" ", 1)[0];
    return line.startsWith("250") && word === extension;
  });
}

/** Where to, and from which address of this machine. */
export interface WireOptions {
  readonly port: number;
  /** An IPv4 address of loopback; the system's choice if absent. */
  readonly from?: string;
}

/** A connection of the client's. Text is one character an octet. */
export class Wire implements Disposable {
  /** What the handshake told, once there was one. */
  tls: ClientTlsInfo | undefined;
  #transport: Transport;
  #heard = "";
  #end: string | undefined;

  private constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Connects; the greeting is not read. */
  static async connect({ port, from }: WireOptions): Promise<Wire> {
    const dial = createDial({
      clock: systemClock,
      timeout: PATIENCE,
      ...(from !== undefined && { sourceIpv4: from }),
    });
    return new Wire(await dial({ address: "127.0.0.1", port }));
  }

  /** Connects, and reads the greeting and the reply to EHLO; gives the latter. */
  static async open(
    options: WireOptions & { readonly helo?: string },
  ): Promise<{ wire: Wire; ehlo: string }> {
    const wire = await Wire.connect(options);
    const greeting = await wire.hear();
    if (!greeting.startsWith("220")) return { wire, ehlo: greeting };
    return { wire, ehlo: await wire.say(`EHLO ${options.helo ?? "client.selftest.test"}`) };
  }

  /** Sends, in one write. A connection that is closed by then is told by the next {@linkcode Wire.hear}. */
  async send(text: string): Promise<void> {
    this.#transport.deadline = systemClock.monotonic() + PATIENCE;
    try {
      await this.#transport.write(latin1Bytes(text));
    } catch {
      this.#end ??= CLOSED;
    }
  }

  /** Reads one reply, without its last CRLF; {@linkcode SILENCE} or {@linkcode CLOSED} if none came. */
  async hear(patience = PATIENCE): Promise<string> {
    for (;;) {
      const reply = /^(?:\d{3}-[^\n]*\r\n)*\d{3}(?: [^\n]*)?\r\n/.exec(this.#heard)?.[0];
      if (reply !== undefined) {
        this.#heard = this.#heard.slice(reply.length);
        return reply.slice(0, -2);
      }
      if (this.#end !== undefined) return this.#end;
      await this.#read(patience);
    }
  }

  /** Sends a line and reads the reply. */
  async say(line: string): Promise<string> {
    await this.send(`${line}\r\n`);
    return await this.hear();
  }

  /** The replies to these lines, one after the other; ends where the connection does. */
  async sayAll(lines: readonly string[]): Promise<string[]> {
    const replies: string[] = [];
    for (const line of lines) {
      replies.push(await this.say(line));
      if (this.#end !== undefined) break;
    }
    return replies;
  }

  /** Waits until the server closes the connection; the last line that it sent, or {@linkcode SILENCE}. */
  async ended(patience = PATIENCE): Promise<string> {
    const until = systemClock.monotonic() + patience;
    while (this.#end === undefined) {
      await this.#read(Math.max(0, until - systemClock.monotonic()));
    }
    if (this.#end === SILENCE) return SILENCE;
    return this.#heard.trimEnd().split("\r\n").at(-1) || CLOSED;
  }

  /** Does the handshake, whatever certificate comes. @throws what fails in it */
  async startTls(servername: string): Promise<ClientTlsInfo> {
    this.#transport.deadline = systemClock.monotonic() + PATIENCE;
    const { transport, tls } = await clientUpgrade(this.#transport, { servername, verify: false });
    this.#transport = transport;
    this.tls = tls;
    return tls;
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.#transport.close();
  }

  async #read(patience: number): Promise<void> {
    const buffer = new Uint8Array(16_384);
    const over = systemClock.monotonic() + patience;
    this.#transport.deadline = over;
    try {
      const size = await this.#transport.read(buffer);
      if (size === null) this.#end = CLOSED;
      else this.#heard += latin1(buffer.subarray(0, size));
    } catch {
      this.#end = systemClock.monotonic() >= over ? SILENCE : CLOSED;
    }
  }
}
