/**
 * Clients that keep their connections open and send nothing, in a program of their own:
 * `deno run -A bench/idle_clients.ts PORT CONNECTIONS plain|tls`. It prints a line when all are connected, and ends
 * with its standard input.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

/** Which clients. */
export interface IdleOptions {
  /** On 127.0.0.1. */
  readonly port: number;
  readonly connections: number;
  /** Whether the port begins with a handshake. */
  readonly tls: boolean;
}

/** Clients that are connected. Disposed, they are gone. */
export type IdleClients = AsyncDisposable;

/** Starts the program, and waits until all are connected. */
export async function stayIdle({ port, connections, tls }: IdleOptions): Promise<IdleClients> {
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--frozen",
      "--no-check",
      "--unsafely-ignore-certificate-errors=127.0.0.1",
      fileURLToPath(import.meta.url),
      `${port}`,
      `${connections}`,
      tls ? "tls" : "plain",
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = process.stdout.getReader();
  const { done } = await reader.read();
  if (done) throw new Error("the idle clients have failed");
  return {
    async [Symbol.asyncDispose]() {
      await process.stdin.close();
      await process.status;
      await reader.cancel();
    },
  };
}

// So that the queue of the listener does not run over.
const CONNECTING_AT_ONCE = 50;

async function connect(port: number, tls: boolean): Promise<Deno.Conn> {
  const to = { hostname: "127.0.0.1", port };
  return tls ? await Deno.connectTls(to) : await Deno.connect(to);
}

/** Reads up to the last line of a reply (RFC 5321 §4.2.1). */
async function hear(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(1024);
  const decoder = new TextDecoder();
  for (let text = ""; !/^\d{3} .*\r\n/m.test(text);) {
    const size = await conn.read(buffer);
    if (size === null) throw new Error("the server has closed a connection");
    text += decoder.decode(buffer.subarray(0, size));
  }
}

async function main([port, connections, tls]: readonly string[]): Promise<void> {
  const conns: Deno.Conn[] = [];
  let begun = 0;
  await Promise.all(Array.from({ length: CONNECTING_AT_ONCE }, async () => {
    while (begun < Number(connections)) {
      const saysHello = begun++ % 2 === 0;
      const conn = await connect(Number(port), tls === "tls");
      await hear(conn);
      if (saysHello) {
        await conn.write(new TextEncoder().encode("EHLO idle.test\r\n"));
        await hear(conn);
      }
      conns.push(conn);
    }
  }));
  console.log("connected");
  await Deno.stdin.read(new Uint8Array(1));
  for (const conn of conns) conn.close();
}

if (import.meta.main) await main(Deno.args);
