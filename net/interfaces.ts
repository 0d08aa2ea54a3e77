/**
 * On which addresses to listen.
 *
 * The machine's routes and the state of its IPv6 addresses come from `/proc/net` (see proc(5)), which a process
 * must read before it drops its permissions.
 *
 * @module
 */
import { addressScope, isIpv4, isIpv6, sameAddress, unmappedAddress } from "./ip_address.ts";

/** An address of one of the machine's interfaces. */
export interface InterfaceAddress {
  /** The interface, such as `eth0`; an alias such as `eth0:1` for an address that has a label. */
  readonly name: string;
  /** Of the address. */
  readonly family: "IPv4" | "IPv6";
  /** Without zone and prefix length. */
  readonly address: string;
}

/** What is asked of the system. */
export interface NetworkIo {
  /** All interfaces' addresses. */
  interfaces(): readonly InterfaceAddress[];
  /** The text of a file under `/proc`; `undefined` when there is none. */
  read(path: string): string | undefined;
}

/** The system itself. */
export const systemNetwork: NetworkIo = {
  interfaces: Deno.networkInterfaces,
  read(path) {
    try {
      return Deno.readTextFileSync(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  },
};

/**
 * The addresses that a listener can be reached at: its own, or those of all interfaces where it is a wildcard. `::`
 * takes IPv4 connections as well.
 */
export function addressesBehind(
  address: string,
  io: Pick<NetworkIo, "interfaces"> = systemNetwork,
): string[] {
  if (address !== "0.0.0.0" && address !== "::") return [address];
  const all = io.interfaces().map((entry) => entry.address);
  return address === "::" ? all : all.filter((own) => !own.includes(":"));
}

/** Whether an interface has this address. All addresses of the loopback networks count as there. */
export function isOfThisMachine(
  address: string,
  io: Pick<NetworkIo, "interfaces"> = systemNetwork,
): boolean {
  return addressScope(address) === "loopback" ||
    io.interfaces().some((own) => sameAddress(own.address, address));
}

/** An address to bind. */
export interface ListenAddress {
  /** An IP address, in its usual form. */
  readonly address: string;
  /** The interface it was found on; absent when the address itself was asked for. */
  readonly interface?: string;
  /** It is still being checked for duplicates (RFC 4862 §5.4): binding fails for another second or two; try again. */
  readonly tentative: boolean;
}

/** There is nothing to listen on as asked. The message says what to write instead. */
export class ListenError extends Error {
  /** Whether it may still appear, as a network comes up late: a route, an address, an interface. */
  readonly mayAppear: boolean;

  /** `message` says what is missing, and what to write instead. */
  constructor(message: string, { mayAppear = false }: { readonly mayAppear?: boolean } = {}) {
    super(message);
    this.name = "ListenError";
    this.mayAppear = mayAppear;
  }
}

/**
 * Resolves `listen` of the configuration to addresses.
 *
 * - `auto`: the interface with the IPv4 default route gives its IPv4 addresses, that with the IPv6 default route its
 *   IPv6 ones; of several default routes that with the lowest metric. Loopback, link-local, temporary (RFC 8981),
 *   duplicate and expiring addresses are left out.
 * - `any`: every address there is, now and later: `::` alone, as Linux lets it take IPv4 too and then refuses
 *   `0.0.0.0` beside it; both where `net.ipv6.bindv6only` is set; `0.0.0.0` alone where IPv6 is off.
 * - the name of an interface: its addresses, chosen as with `auto`.
 * - a list: those addresses; one that a wildcard in the list covers is left out.
 *
 * @throws {ListenError} when nothing is left, or an address or interface does not exist in this form
 */
export function listenAddresses(
  listen: string | readonly string[],
  io: NetworkIo = systemNetwork,
): readonly ListenAddress[] {
  if (typeof listen !== "string") return explicitAddresses(listen, io);
  if (listen === "any") return wildcardAddresses(io);
  if (listen === "auto") return automaticAddresses(io);
  if (isIpv4(listen) || isIpv6(listen)) return explicitAddresses([listen], io);
  return namedAddresses(listen, io);
}

function automaticAddresses(io: NetworkIo): ListenAddress[] {
  const routes = {
    IPv4: defaultRoute(parseRoutes(io.read("/proc/net/route") ?? "")),
    IPv6: defaultRoute(parseIpv6Routes(io.read("/proc/net/ipv6_route") ?? "")),
  };
  if (routes.IPv4 === undefined && routes.IPv6 === undefined) {
    throw new ListenError(
      `listen = "auto" takes the interface with the default route, and this machine has no default route. ` +
        `Write the addresses: ${suggestion(io)}`,
      { mayAppear: true },
    );
  }
  const found = [
    ...(routes.IPv4 === undefined ? [] : ipv4Addresses(routes.IPv4, io)),
    ...(routes.IPv6 === undefined ? [] : ipv6Addresses(routes.IPv6, io)),
  ];
  if (found.length === 0) {
    const names = [...new Set([routes.IPv4, routes.IPv6])].filter((name) => name !== undefined).join(" and ");
    throw new ListenError(
      `listen = "auto": the default route goes through ${names}, which has no permanent address that others could ` +
        `reach. Write the addresses: ${suggestion(io)}`,
      { mayAppear: true },
    );
  }
  return found;
}

function namedAddresses(name: string, io: NetworkIo): ListenAddress[] {
  const names = [...new Set(io.interfaces().map((entry) => entry.name.replace(/:.*/s, "")))];
  if (!names.includes(name)) {
    throw new ListenError(
      `listen = ${JSON.stringify(name)}: no such interface, or it has no address. There are: ${
        names.join(", ")
      }. ` +
        `Addresses are written as a list: ${suggestion(io)}`,
      { mayAppear: true },
    );
  }
  const found = [...ipv4Addresses(name, io), ...ipv6Addresses(name, io)];
  if (found.length === 0) {
    throw new ListenError(
      `listen = ${JSON.stringify(name)}: that interface has no permanent address that others could reach. ` +
        `Write the addresses: ${suggestion(io)}`,
      { mayAppear: true },
    );
  }
  return found;
}

function wildcardAddresses(io: NetworkIo): ListenAddress[] {
  const addresses = io.read("/proc/net/if_inet6") === undefined
    ? ["0.0.0.0"]
    : isDualStack(io)
    ? ["::"]
    : ["0.0.0.0", "::"];
  return addresses.map((address) => ({ address, tentative: false }));
}

function explicitAddresses(listen: readonly string[], io: NetworkIo): ListenAddress[] {
  if (listen.length === 0) {
    throw new ListenError(`listen = []: nothing to listen on. Write ${suggestion(io)}`);
  }
  const addresses = [...new Set(listen.map(checkedAddress))];
  const all = addresses.includes("::") && isDualStack(io);
  const kept = addresses.filter((address) =>
    address === "::" ||
    !(all || (address.includes(":")
      ? addresses.includes("::")
      : address !== "0.0.0.0" && addresses.includes("0.0.0.0")))
  );
  const states = parseIpv6Addresses(io.read("/proc/net/if_inet6") ?? "");
  return kept.map((address) => ({
    address,
    tentative: states.some((state) => state.address === address && (state.flags & TENTATIVE) !== 0),
  }));
}

function checkedAddress(text: string): string {
  const shown = JSON.stringify(text);
  if (!isIpv4(text) && !isIpv6(text)) {
    throw new ListenError(
      `listen = [${shown}]: not an IP address. Allowed are addresses such as "192.0.2.1" or "2001:db8::1", without ` +
        `brackets, port or zone`,
    );
  }
  if (/^fe[89ab]/i.test(text)) {
    throw new ListenError(
      `listen = [${shown}]: a link-local address, which no mail from elsewhere can reach`,
    );
  }
  return isIpv6(text) ? unmappedAddress(new URL(`http://[${text}]`).hostname.slice(1, -1)) : text;
}

function ipv4Addresses(name: string, io: NetworkIo): ListenAddress[] {
  return io.interfaces()
    .filter((entry) => entry.family === "IPv4" && (entry.name === name || entry.name.startsWith(`${name}:`)))
    .filter(({ address }) => !/^(?:127|0|169\.254)\./.test(address))
    .map(({ address }) => ({ address, interface: name, tentative: false }));
}

function ipv6Addresses(name: string, io: NetworkIo): ListenAddress[] {
  return parseIpv6Addresses(io.read("/proc/net/if_inet6") ?? "")
    .filter((entry) => entry.name === name && isLasting(entry))
    .map(({ address, flags }) => ({ address, interface: name, tentative: (flags & TENTATIVE) !== 0 }));
}

function isLasting({ scope, flags }: Ipv6Address): boolean {
  if (scope !== GLOBAL_SCOPE || (flags & (TEMPORARY | DUPLICATE)) !== 0) return false;
  // A permanent address that is deprecated is one kept for servers: not used as a source by itself.
  return (flags & DEPRECATED) === 0 || (flags & PERMANENT) !== 0;
}

function isDualStack(io: NetworkIo): boolean {
  return io.read("/proc/sys/net/ipv6/bindv6only")?.trim() !== "1";
}

function suggestion(io: NetworkIo): string {
  const reachable = io.interfaces().map((entry) => entry.address)
    .filter((address) => !/^(?:127\.|169\.254\.|::1$|fe[89ab])/i.test(address));
  return `listen = ${JSON.stringify(reachable.length > 0 ? reachable : ["127.0.0.1", "::1"])}`;
}

/** A default route of the routing table. */
export interface DefaultRoute {
  /** The interface it goes through. */
  readonly interface: string;
  /** Of several routes the kernel takes that with the lowest. */
  readonly metric: number;
}

// Flags of routes: linux/route.h.
const RTF_UP = 0x1;
const RTF_REJECT = 0x200;

// Flags and scope of addresses: linux/if_addr.h, and ipv6_addr_type() >> 4 as /proc/net/if_inet6 shows it.
const TEMPORARY = 0x01;
const DUPLICATE = 0x08;
const DEPRECATED = 0x20;
const TENTATIVE = 0x40;
const PERMANENT = 0x80;
const GLOBAL_SCOPE = 0x00;

/** The IPv4 default routes in the text of `/proc/net/route`. */
export function parseRoutes(text: string): DefaultRoute[] {
  const routes: DefaultRoute[] = [];
  for (const line of text.split("\n").slice(1)) {
    const [name, destination, , flags, , , metric, mask] = line.trim().split(/\s+/);
    if (!name || destination !== "00000000" || mask !== "00000000") continue;
    if (usable(flags)) routes.push({ interface: name, metric: Number(metric) });
  }
  return routes;
}

/** The IPv6 default routes in the text of `/proc/net/ipv6_route`. */
export function parseIpv6Routes(text: string): DefaultRoute[] {
  const routes: DefaultRoute[] = [];
  for (const line of text.split("\n")) {
    const [destination, length, , , , metric, , , flags, name] = line.trim().split(/\s+/);
    if (!name || name === "lo" || length !== "00" || !/^0{32}$/.test(destination ?? "")) continue;
    if (usable(flags)) routes.push({ interface: name, metric: parseInt(metric ?? "", 16) });
  }
  return routes;
}

function usable(flags: string | undefined): boolean {
  return (parseInt(flags ?? "", 16) & (RTF_UP | RTF_REJECT)) === RTF_UP;
}

function defaultRoute(routes: readonly DefaultRoute[]): string | undefined {
  let best: DefaultRoute | undefined;
  for (const route of routes) if (!best || route.metric < best.metric) best = route;
  return best?.interface;
}

/** An IPv6 address with its state. */
export interface Ipv6Address {
  /** The interface. */
  readonly name: string;
  /** Compressed, in lower case (RFC 5952). */
  readonly address: string;
  /** 0x00 global, 0x10 loopback, 0x20 link-local. */
  readonly scope: number;
  /** IFA_F_* of linux/if_addr.h. */
  readonly flags: number;
}

/** The addresses in the text of `/proc/net/if_inet6`. */
export function parseIpv6Addresses(text: string): Ipv6Address[] {
  const addresses: Ipv6Address[] = [];
  for (const line of text.split("\n")) {
    const [hex, , , scope, flags, name] = line.trim().split(/\s+/);
    if (!name || !hex || !/^[0-9a-f]{32}$/i.test(hex)) continue;
    const groups = hex.match(/.{4}/gs) ?? [];
    addresses.push({
      name,
      address: new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1),
      scope: parseInt(scope ?? "", 16),
      flags: parseInt(flags ?? "", 16),
    });
  }
  return addresses;
}
