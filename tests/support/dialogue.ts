/**
 * A dialogue line by line, for tests that want to stop in the middle of one.
 *
 * @module
 */

import { once } from "node:events";
import { connect } from "node:net";

/** A connection that speaks lines. Disposed, it is closed. */
export class Dialogue implements Disposable {
  readonly #conn: Pick<Deno.Conn, "read" | "write" | "close">;
  readonly #decoder = new TextDecoder();
  #text = "";

  /** @ignore Made by {@linkcode Dialogue.connect}. */
  private constructor(conn: Pick<Deno.Conn, "read" | "write" | "close">) {
    this.#conn = conn;
  }

  /** Connects to a server; the greeting is not read yet. */
  static async connect(port: number, hostname = "127.0.0.1"): Promise<Dialogue> {
    return new Dialogue(await Deno.connect({ hostname, port }));
  }

  /** Speaks over a connection that is there, such as one with TLS, which it owns from now on. */
  static over(conn: Pick<Deno.Conn, "read" | "write" | "close">): Dialogue {
    return new Dialogue(conn);
  }

  /** The same from another address of this machine, such as 127.0.0.2. */
  static async connectFrom(source: string, port: number, hostname = "127.0.0.1"): Promise<Dialogue> {
    const socket = connect({ host: hostname, port, localAddress: source });
    await once(socket, "connect");
    const chunks = socket.iterator({ destroyOnReturn: false });
    return new Dialogue({
      async read(buffer) {
        const { value, done } = await chunks.next();
        if (done) return null;
        buffer.set(value);
        return value.length;
      },
      write: (bytes) => new Promise((resolve) => socket.write(bytes, () => resolve(bytes.length))),
      close: () => void socket.destroy(),
    });
  }

  /** Sends a line and reads the reply: its last line, or all of them joined by LF. */
  async say(line: string): Promise<string> {
    await this.send(`${line}\r\n`);
    return await this.hear();
  }

  /** Sends text as it is. */
  async send(text: string): Promise<void> {
    let rest = new TextEncoder().encode(text);
    while (rest.length > 0) rest = rest.subarray(await this.#conn.write(rest));
  }

  /** Reads one reply; `""` when the server closed the connection. */
  async hear(): Promise<string> {
    const lines: string[] = [];
    for (;;) {
      const line = await this.#line();
      if (line === undefined) return lines.join("\n");
      lines.push(line);
      if (/^\d{3}(?: |$)/.test(line)) return lines.join("\n");
    }
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.#conn.close();
  }

  async #line(): Promise<string | undefined> {
    const buffer = new Uint8Array(4096);
    for (;;) {
      const end = this.#text.indexOf("\r\n");
      if (end !== -1) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 2);
        return line;
      }
      let length: number | null;
      try {
        length = await this.#conn.read(buffer);
      } catch (error) {
        if (error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.UnexpectedEof) {
          return undefined;
        }
        throw error;
      }
      if (length === null) return undefined;
      this.#text += this.#decoder.decode(buffer.subarray(0, length), { stream: true });
    }
  }
}
