/**
 * How many connections to our listeners are open, as Linux tells in `/proc/net/tcp` and `/proc/net/tcp6` (proc(5)).
 *
 * @module
 */
import { ipBytes, unmappedAddress } from "./ip_address.ts";

/** A port of a server. */
export interface ListeningPlace {
  readonly server: string;
  /** An address of this machine, or `0.0.0.0` or `::` for all. */
  readonly address: string;
  readonly port: number;
}

/** `TCP_ESTABLISHED` in the kernel's `tcp_states.h`. */
const ESTABLISHED = "01";
const WILDCARDS = ["0.0.0.0", "::"];

/**
 * Counts established connections by server.
 * @param tables the text of `/proc/net/tcp` and of `/proc/net/tcp6`, as far as they can be read
 */
export function countConnections(
  places: readonly ListeningPlace[],
  tables: readonly string[],
): Map<string, number> {
  const counts = new Map(places.map(({ server }) => [server, 0]));
  const servers = new Map(places.map(({ server, address, port }) => [placeKey(address, port), server]));
  for (const table of tables) {
    for (const line of table.split("\n")) {
      const [, local = "", , state] = line.trim().split(/\s+/, 4);
      if (state !== ESTABLISHED) continue;
      const [address = "", hexPort = ""] = local.split(":");
      const port = parseInt(hexPort, 16);
      const server = servers.get(`${address} ${port}`) ??
        // An IPv4 client of a socket for both families.
        servers.get(`${address.slice(-8)} ${port}`) ??
        servers.get(`* ${port}`);
      if (server !== undefined) counts.set(server, (counts.get(server) ?? 0) + 1);
    }
  }
  return counts;
}

function placeKey(address: string, port: number): string {
  if (WILDCARDS.includes(address)) return `* ${port}`;
  return `${kernelForm(ipBytes(unmappedAddress(address)) ?? new Uint8Array())} ${port}`;
}

/** The address as the table has it: words of 32 bits in the byte order of the machine, in hexadecimal digits. */
function kernelForm(bytes: Uint8Array): string {
  const isLittle = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
  let text = "";
  for (let at = 0; at < bytes.length; at += 4) {
    const word = Array.from(bytes.subarray(at, at + 4));
    for (const byte of isLittle ? word.reverse() : word) {
      text += byte.toString(16).padStart(2, "0").toUpperCase();
    }
  }
  return text;
}
