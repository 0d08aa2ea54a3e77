/**
 * The end of a connection after our last word.
 *
 * @module
 */
import type { Transport } from "./transport.ts";

const BUFFER = 4096;

/**
 * Reads on until the peer closes, has sent this many octets, or the deadline of the transport passes: closing with
 * unread input would reset the connection, and our last word could be lost. Never rejects.
 */
export async function linger(transport: Pick<Transport, "read">, mostOctets: number): Promise<void> {
  const buffer = new Uint8Array(BUFFER);
  try {
    for (let octets = 0; octets < mostOctets;) {
      const read = await transport.read(buffer);
      if (read === null) return;
      octets += read;
    }
  } catch {
    // It stays, or has broken off: all has been said.
  }
}
