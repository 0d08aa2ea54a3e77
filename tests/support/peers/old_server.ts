/**
 * A mail server from before ESMTP: no 8BITMIME, no SMTPUTF8, seven bits.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** A running server. */
export interface OldServer extends AsyncDisposable {
  /** On 127.0.0.1. */
  readonly port: number;
  /** The next message it takes, one character an octet. @throws {Error} when none comes within 30 seconds */
  message(): Promise<string>;
}

/** Starts one. */
export function startOldServer(): OldServer {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const taken: string[] = [];
  let arrived = Promise.withResolvers<void>();
  const open = new Set<Deno.Conn>();
  const serving = (async () => {
    for await (const connection of listener) {
      open.add(connection);
      serve(connection, (message) => {
        taken.push(message);
        arrived.resolve();
        arrived = Promise.withResolvers();
      }).catch(() => {}).finally(() => {
        open.delete(connection);
        connection.close();
      });
    }
  })();
  return {
    port: listener.addr.port,
    async message() {
      const signal = AbortSignal.timeout(30_000);
      while (taken.length === 0) {
        await Promise.race([
          arrived.promise,
          new Promise((_, reject) =>
            signal.addEventListener("abort", () => reject(new Error("no message came")))
          ),
        ]);
      }
      return taken.shift() ?? "";
    },
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const connection of open) connection.close();
      await serving;
    },
  };
}

async function serve(connection: Deno.Conn, take: (message: string) => void): Promise<void> {
  const say = (line: string) => connection.write(new TextEncoder().encode(`${line}\r\n`));
  const buffer = new Uint8Array(64 * 1024);
  let text = "";
  let data: string | undefined;
  await say("220 old.test");
  for (let count = await connection.read(buffer); count !== null; count = await connection.read(buffer)) {
    text += Buffer.from(buffer.subarray(0, count)).toString("latin1");
    for (let end = text.indexOf("\r\n"); end >= 0; end = text.indexOf("\r\n")) {
      const line = text.slice(0, end);
      text = text.slice(end + 2);
      if (data === undefined) {
        if (/^DATA/i.test(line)) data = "";
        await say(/^DATA/i.test(line) ? "354 go on" : /^EHLO/i.test(line) ? "502 what" : "250 ok");
      } else if (line === ".") {
        take(data);
        data = undefined;
        await say("250 ok");
      } else data += `${line.replace(/^\./, "")}\r\n`;
    }
  }
}
