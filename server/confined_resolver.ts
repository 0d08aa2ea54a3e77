/**
 * The resolver of a confined server.
 *
 * @module
 */
import { systemClock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { DnsResolver, type Resolver } from "../dns/resolver.ts";
import type { DnsServer } from "../dns/wire_client.ts";
import { endpointOf, RESOLV_CONF } from "./dns_parts.ts";

/** Queries these servers and no others. If resolv.conf names others later, that is logged: they need a restart. */
export function openConfinedResolver(
  { dns }: Config,
  { servers, logger }: { readonly servers: readonly DnsServer[]; readonly logger: Logger },
): Resolver {
  const granted = new Set(servers.map(endpointOf));
  const zone = servers.map(({ address }) => /%(\d+)$/.exec(address)?.[1]).find((zone) => zone !== undefined);
  return new DnsResolver({
    servers: dns.servers.map(endpointOf),
    dnssec: dns.dnssec,
    resolvConf: RESOLV_CONF,
    confined: {
      mayAsk: (server) => granted.has(endpointOf(server)),
      // The server may not read interfaces; the zone of a link-local DNS server was determined before.
      scopeOf: () => zone === undefined ? undefined : Number(zone),
    },
    logger,
    clock: systemClock,
  });
}
