/**
 * An SMTP dialogue that is recorded line by line.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { type RemoteReply, ReplyReader, replyText } from "../smtp/reply_reader.ts";
import type { Transport } from "../net/transport.ts";
import { type ClientTlsInfo, clientUpgrade } from "../tls/client_upgrade.ts";
import { errorText } from "../base/error_text.ts";

const encoder = new TextEncoder();

/** One SMTP connection, from the client's side. */
export class Dialogue implements Disposable {
  /** What was said: `S: 220 …`, `C: EHLO …`. */
  readonly lines: string[] = [];
  readonly #clock: Clock;
  readonly #timeout: number;
  #transport: Transport;
  #reader: ReplyReader;

  /** Takes the transport over; each reply may take `timeout` milliseconds. */
  constructor(
    transport: Transport,
    { clock, timeout }: { readonly clock: Clock; readonly timeout: number },
  ) {
    this.#clock = clock;
    this.#timeout = timeout;
    this.#transport = transport;
    this.#reader = new ReplyReader(transport);
  }

  /** Reads a reply. @throws what the transport and the reader throw */
  async listen(): Promise<RemoteReply> {
    this.#transport.deadline = this.#clock.monotonic() + this.#timeout;
    try {
      const reply = await this.#reader.read();
      for (const line of replyText(reply).split("\n")) this.lines.push(`S: ${line}`);
      return reply;
    } catch (error) {
      this.lines.push(`   (${errorText(error)})`);
      throw error;
    }
  }

  /**
   * Sends a line, and reads the reply.
   * @param options `shown`: what is recorded instead, if it contains a secret
   * @throws what the transport and the reader throw
   */
  async say(line: string, { shown = line }: { readonly shown?: string } = {}): Promise<RemoteReply> {
    this.lines.push(`C: ${shown}`);
    this.#transport.deadline = this.#clock.monotonic() + this.#timeout;
    await this.#transport.write(encoder.encode(`${line}\r\n`));
    return await this.listen();
  }

  /** Makes the TLS handshake, after 220 or at once; accepts any certificate. @throws what the handshake throws */
  async startTls(servername: string): Promise<ClientTlsInfo> {
    this.#transport.deadline = this.#clock.monotonic() + this.#timeout;
    try {
      const { transport, tls } = await clientUpgrade(this.#transport, { servername, verify: false });
      this.#transport = transport;
      this.#reader = new ReplyReader(transport);
      this.lines.push(`   (${tls.protocol}, ${tls.cipher})`);
      return tls;
    } catch (error) {
      this.lines.push(`   (${errorText(error)})`);
      throw error;
    }
  }

  /** Sends QUIT and closes; ignores errors. */
  async end(): Promise<void> {
    await this.say("QUIT").catch(() => {});
    this.#transport.close();
  }

  /** Closes at once. */
  [Symbol.dispose](): void {
    this.#transport.close();
  }
}
