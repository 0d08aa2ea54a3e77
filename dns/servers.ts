/**
 * Which DNS servers to ask.
 *
 * @module
 */
import { isIP } from "node:net";
import type { Clock } from "../base/clock.ts";
import type { DnsServer } from "./wire_client.ts";

/**
 * Reads `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`; `undefined` for anything else.
 */
export function parseDnsServer(text: string): DnsServer | undefined {
  if (isIP(text) !== 0) return text.includes("%") ? undefined : { address: text, port: 53 };
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::(\d{1,5}))?$/.exec(text);
  const address = match?.[1] ?? match?.[2] ?? "";
  const port = Number(match?.[3] ?? 53);
  const family = match?.[1] === undefined ? 4 : 6;
  return isIP(address) === family && port > 0 && port <= 65_535 ? { address, port } : undefined;
}

/** The servers that a resolv.conf names, at most three (resolv.conf(5)); none = the one on this machine. */
export function parseResolvConf(text: string): DnsServer[] {
  const servers: DnsServer[] = [];
  for (const [, address = ""] of text.matchAll(/^[ \t]*nameserver[ \t]+(\S+)/gm)) {
    const server = isIP(address) === 0 ? undefined : parseDnsServer(address);
    if (server !== undefined) servers.push(server);
  }
  return servers.length === 0 ? [{ address: "127.0.0.1", port: 53 }] : servers.slice(0, 3);
}

// Milliseconds. A laptop's or a container's servers change under a running process.
const REREAD = 30_000;

/** The servers of a resolv.conf as it stands; it is read again every 30 seconds. */
export function resolvConfServers(path: string, clock: Clock): () => Promise<readonly DnsServer[]> {
  let servers: readonly DnsServer[] | undefined;
  let readAt = 0;
  return async () => {
    if (servers !== undefined && clock.monotonic() - readAt < REREAD) return servers;
    let text = "";
    try {
      text = await Deno.readTextFile(path);
    } catch (error) {
      // In mid-replacement it may be missing: what was known stays.
      if (servers !== undefined) return servers;
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    readAt = clock.monotonic();
    servers = parseResolvConf(text);
    return servers;
  };
}
