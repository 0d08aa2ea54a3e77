/**
 * Proves a certificate and key by using them: node:tls takes much without a word that no client can use.
 *
 * @module
 */
import type { SecureContext } from "node:tls";
import type { Transport } from "../net/transport.ts";
import { clientUpgrade } from "./client_upgrade.ts";
import { serverUpgrade } from "./server_upgrade.ts";

/**
 * Makes one handshake in memory.
 * @throws {TlsError} when server and client do not come together
 */
export async function trialHandshake(secureContext: SecureContext): Promise<void> {
  const [near, far] = memoryPair();
  const results = await Promise.allSettled([
    serverUpgrade({ certificates: { secureContext } })(near),
    clientUpgrade(far, { servername: "trial.invalid", verify: false }),
  ]);
  for (const result of results) if (result.status === "fulfilled") result.value.transport.close();
  for (const result of results) if (result.status === "rejected") throw result.reason;
}

/** Two ends of a connection that exists only here; for a few kilobytes, as nothing slows the writer. */
function memoryPair(): [Transport, Transport] {
  const [left, right] = [new Pipe(), new Pipe()];
  return [transport(left, right), transport(right, left)];
}

function transport(incoming: Pipe, outgoing: Pipe): Transport {
  const nowhere = { address: "127.0.0.1", port: 0 };
  return {
    remote: nowhere,
    local: nowhere,
    deadline: Infinity,
    read: (buffer) => incoming.read(buffer),
    write: (data) => Promise.resolve(outgoing.write(data)),
    close() {
      incoming.end();
      outgoing.end();
    },
  };
}

class Pipe {
  #waiting: Uint8Array[] = [];
  #ended = false;
  #wake: (() => void) | undefined;

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#waiting.length === 0) {
      if (this.#ended) return null;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const chunk = this.#waiting.shift() ?? new Uint8Array();
    const size = Math.min(chunk.length, buffer.length);
    buffer.set(chunk.subarray(0, size));
    if (size < chunk.length) this.#waiting.unshift(chunk.subarray(size));
    return size;
  }

  write(data: Uint8Array): void {
    if (this.#ended || data.length === 0) return;
    this.#waiting.push(data.slice());
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }
}
