/**
 * The addresses of this machine that mail comes to and goes from.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import type { OwnAddresses } from "../doctor/setup.ts";
import { addressesBehind, isOfThisMachine, listenAddresses, ListenError } from "../net/interfaces.ts";
import { addressScope } from "../net/ip_address.ts";

/**
 * Derives them from the configuration and the interfaces. Addresses that the Internet cannot reach are left out
 * if there is a public one, unless `allow_private_targets` is set for a closed network.
 */
export function ownAddresses(config: Config): OwnAddresses {
  const { serveIn, serveOut } = config;
  const { addresses: bound, waiting } = serveIn.domains.length === 0 ? NONE : expand(serveIn.listen);
  const smarthost = serveOut.routes["*"];
  const { sourceIpv4, sourceIpv6 } = serveOut;
  const foreign = [sourceIpv4, sourceIpv6].flatMap((source) =>
    source === undefined || isOfThisMachine(source) ? [] : [source]
  );
  const useful = (addresses: readonly string[]) => usefulAddresses(addresses, serveOut.allowPrivateTargets);
  return {
    bound,
    ...(waiting !== undefined && { waiting }),
    listening: useful(bound),
    sending: smarthost !== undefined
      ? []
      : useful(sendingAddresses(config).filter((address) => !foreign.includes(address))),
    foreignSources: foreign,
    ...(smarthost && { smarthost: { host: smarthost.host, port: smarthost.port } }),
  };
}

/** The addresses of serve-policy, as those of serve-in in {@linkcode ownAddresses}; none if it is not configured. */
export function policyAddresses({ servePolicy, serveOut }: Config): readonly string[] {
  if (servePolicy === undefined) return [];
  return usefulAddresses(expand(servePolicy.listen).addresses, serveOut.allowPrivateTargets);
}

function sendingAddresses({ serveOut: { family, sourceIpv4, sourceIpv6 } }: Config): string[] {
  const automatic = expand("auto").addresses;
  // Of several IPv4 addresses the system uses the first; of IPv6 it may use any.
  const ipv4 = sourceIpv4 ?? automatic.find((address) => !address.includes(":"));
  const ipv6 = sourceIpv6 === undefined ? automatic.filter((address) => address.includes(":")) : [sourceIpv6];
  return [
    ...(family === "ipv6" || ipv4 === undefined ? [] : [ipv4]),
    ...(family === "ipv4" ? [] : ipv6),
  ];
}

interface Expanded {
  readonly addresses: readonly string[];
  /** What is missing that the network may still bring. */
  readonly waiting?: string;
}

const NONE: Expanded = { addresses: [] };

function expand(listen: string | readonly string[]): Expanded {
  try {
    return { addresses: listenAddresses(listen).flatMap(({ address }) => usableAddresses(address)) };
  } catch (error) {
    if (!(error instanceof ListenError)) throw error;
    return error.mayAppear ? { addresses: [], waiting: error.message } : NONE;
  }
}

/** The addresses that a wildcard stands for, without those that other machines cannot use. */
function usableAddresses(address: string): string[] {
  const all = addressesBehind(address);
  return all.length === 1 && all[0] === address
    ? all
    : all.filter((own) => ["public", "private"].includes(addressScope(own)));
}

/** An IPv6 address that is not public is useless elsewhere; an IPv4 one may be behind NAT. */
function usefulAddresses(addresses: readonly string[], closedNetwork: boolean): string[] {
  const unique = [...new Set(addresses)];
  if (closedNetwork) return unique;
  const open = unique.filter((address) => addressScope(address) === "public");
  const openIpv4 = open.some((address) => !address.includes(":"));
  return [
    ...open,
    ...(openIpv4 ? [] : unique.filter((own) => !own.includes(":") && addressScope(own) === "private")),
  ];
}
