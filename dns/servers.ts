/**
 * Which DNS servers to ask.
 *
 * @module
 */
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import type { Clock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { DnsServer } from "./wire_client.ts";

/**
 * Reads `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`, without a zone; `undefined` for anything
 * else.
 */
export function parseDnsServer(text: string): DnsServer | undefined {
  if (isIP(text) !== 0) return text.includes("%") ? undefined : { address: text, port: 53 };
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::(\d{1,5}))?$/.exec(text);
  const address = match?.[1] ?? match?.[2] ?? "";
  const port = Number(match?.[3] ?? 53);
  const family = match?.[1] === undefined ? 4 : 6;
  return isIP(address) === family && port > 0 && port <= 65_535 ? { address, port } : undefined;
}

/** The content of a resolv.conf. */
export interface ServerList {
  /** At most three (resolv.conf(5)). None where it names some and none can be used: no other may stand in for them. */
  readonly servers: readonly DnsServer[];
  /** What is wrong with it, one sentence each, for people. */
  readonly problems: readonly string[];
}

/** The index of an interface by its name, for the zone of a link-local address; `undefined` where it has none. */
export type ScopeOf = (interfaceName: string) => number | undefined;

const THIS_MACHINE: DnsServer = { address: "127.0.0.1", port: 53 };
const MAX_SERVERS = 3;
const MAX_PROBLEMS = 10;

/** Reads a resolv.conf; without any `nameserver` it means the server on this machine. */
export function parseResolvConf(text: string, scopeOf: ScopeOf = interfaceScope): ServerList {
  const servers: DnsServer[] = [];
  const problems: string[] = [];
  for (const line of text.split("\n")) {
    const [keyword, value = ""] = line.trim().split(/[ \t]+/, 2);
    if (keyword !== "nameserver") continue;
    const server = nameserver(value, scopeOf);
    if (typeof server === "string") problems.push(`nameserver ${value.slice(0, 100)} is not used: ${server}`);
    else servers.push(server);
  }
  if (servers.length === 0 && problems.length === 0) {
    servers.push(THIS_MACHINE);
    problems.push(`it names no nameserver, so ${THIS_MACHINE.address} is asked`);
  }
  return { servers: servers.slice(0, MAX_SERVERS), problems: problems.slice(0, MAX_PROBLEMS) };
}

/** The server, or why it cannot be one. */
function nameserver(value: string, scopeOf: ScopeOf): DnsServer | string {
  const [address = "", zone, ...more] = value.split("%");
  const server = isIP(address) === 0 || more.length > 0 ? undefined : parseDnsServer(address);
  if (server === undefined) return "not an IP address";
  // Only a link-local address needs its zone (RFC 4007 §6); at any other it says nothing new.
  if (!/^fe[89ab]/i.test(address)) return server;
  if (zone === undefined || zone === "") return "a link-local address needs a zone, such as %eth0";
  const scope = /^\d{1,9}$/.test(zone) ? Number(zone) : scopeOf(zone);
  return scope === undefined
    ? `there is no interface ${zone} with a link-local address`
    : { address: `${address}%${scope}`, port: server.port };
}

function interfaceScope(name: string): number | undefined {
  try {
    const found = networkInterfaces()[name]?.find(({ family, address }) =>
      family === "IPv6" && /^fe[89ab]/i.test(address)
    );
    return found?.family === "IPv6" ? found.scopeid : undefined;
  } catch {
    // No permission to look.
    return undefined;
  }
}

// Milliseconds. A laptop's or a container's servers change under a running process.
const REREAD = 30_000;

/**
 * The servers of a resolv.conf as it stands; it is read again every 30 seconds.
 * @param options `onProblems`: called with what is wrong with it, each time that changes; `mayAsk`: whether this process
 * has the permission to ask a server
 */
export function resolvConfServers(
  path: string,
  { clock, onProblems, scopeOf = interfaceScope, mayAsk }: {
    readonly clock: Clock;
    readonly onProblems?: (problems: readonly string[]) => void;
    readonly scopeOf?: ScopeOf;
    readonly mayAsk?: (server: DnsServer) => boolean;
  },
): () => Promise<ServerList> {
  let list: ServerList | undefined;
  let readAt = 0;
  return async () => {
    if (list !== undefined && clock.monotonic() - readAt < REREAD) return list;
    const before = list?.problems.join("\n") ?? "";
    try {
      const read = parseResolvConf(await Deno.readTextFile(path), scopeOf);
      list = mayAsk === undefined ? read : onlyPermitted(read, { mayAsk, before: list?.servers ?? [] });
    } catch (error) {
      // It may be missing while it is replaced: the previous servers stay.
      list ??= error instanceof Deno.errors.NotFound
        ? { servers: [THIS_MACHINE], problems: [`it is missing, so ${THIS_MACHINE.address} is asked`] }
        : { servers: [], problems: [`it cannot be read: ${errorText(error)}`] };
    }
    readAt = clock.monotonic();
    if (list.problems.length > 0 && list.problems.join("\n") !== before) onProblems?.(list.problems);
    return list;
  };
}

/** The servers that may be asked; those from before where none of the new ones may. */
function onlyPermitted(
  { servers, problems }: ServerList,
  { mayAsk, before }: {
    readonly mayAsk: (server: DnsServer) => boolean;
    readonly before: readonly DnsServer[];
  },
): ServerList {
  const permitted = servers.filter(mayAsk);
  const others = servers.filter((server) => !mayAsk(server)).map(({ address }) =>
    `nameserver ${address} is not used yet: it was not there when the server started. One whose listen is "auto" or ` +
    "an interface uses it in a few seconds; any other needs a restart"
  );
  return { servers: permitted.length > 0 ? permitted : before, problems: [...problems, ...others] };
}
