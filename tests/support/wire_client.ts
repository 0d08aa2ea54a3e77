/**
 * A client on a real socket that says exactly what it is told.
 *
 * @module
 */
import { bytesOf, textOf } from "./bytes.ts";

/** A connection of the client's. Text is one character a byte. */
export class WireClient implements Disposable {
  #conn: Deno.TcpConn | Deno.TlsConn;
  #heard = "";
  #closed = false;

  /** Takes the connection over. */
  constructor(conn: Deno.TcpConn | Deno.TlsConn) {
    this.#conn = conn;
  }

  /** Connects; the greeting is not read. */
  static async connect(port: number, hostname = "127.0.0.1"): Promise<WireClient> {
    return new WireClient(await Deno.connect({ hostname, port }));
  }

  /** Sends, in one write. */
  async send(text: string): Promise<void> {
    const bytes = bytesOf(text);
    for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
  }

  /** Reads one reply, however many lines it has; `""` at the end of the stream. */
  async hear(): Promise<string> {
    for (;;) {
      const reply = /^(?:\d{3}-[^\n]*\r\n)*\d{3} [^\n]*\r\n/.exec(this.#heard)?.[0];
      if (reply !== undefined) {
        this.#heard = this.#heard.slice(reply.length);
        return reply;
      }
      if (!await this.#read()) return "";
    }
  }

  /** Sends a line and reads the reply. */
  async say(line: string): Promise<string> {
    await this.send(`${line}\r\n`);
    return await this.hear();
  }

  /** Reads to the end of the stream; a reset ends it, too. */
  async rest(): Promise<string> {
    while (await this.#read());
    const rest = this.#heard;
    this.#heard = "";
    return rest;
  }

  /** Says that no more is sent. */
  async end(): Promise<void> {
    await this.#conn.closeWrite();
  }

  /** Does the handshake. */
  async startTls(options: { readonly hostname: string; readonly caCerts: string[] }): Promise<void> {
    this.#conn = await Deno.startTls(this.#conn as Deno.TcpConn, options);
    await this.#conn.handshake();
  }

  /** Closes the connection; with unread input, by a reset. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#conn.close();
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.close();
  }

  async #read(): Promise<boolean> {
    const buffer = new Uint8Array(4096);
    try {
      const size = await this.#conn.read(buffer);
      if (size === null) return false;
      this.#heard += textOf(buffer.subarray(0, size));
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.UnexpectedEof) {
        return false;
      }
      throw error;
    }
  }
}
