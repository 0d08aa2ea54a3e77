/**
 * DNS for a confined server: the DNS servers it may connect to are determined before it is confined.
 *
 * @module
 */
import { systemClock } from "../base/clock.ts";
import type { Config } from "../config/config.ts";
import { resolvConfServers } from "../dns/servers.ts";
import type { DnsServer } from "../dns/wire_client.ts";
import { showEndpoint } from "../net/listen.ts";

/** The file in which the system names its DNS servers. */
export const RESOLV_CONF = "/etc/resolv.conf";

/** Whether serve-in queries DNS for incoming mail. */
export function asksDns({ serveIn: { checks } }: Config): boolean {
  const { spf, dkim, arc, dmarc, dnsLists, greylist } = checks;
  return spf || dkim || arc || dmarc !== "off" || dnsLists.length > 0 || greylist !== "off";
}

/** Whether serve-in checks mail at all. */
export function isChecked(config: Config): boolean {
  return asksDns(config) || config.serveIn.checks.filters.length > 0;
}

/** The DNS servers of the configuration, or else those that resolv.conf names now. */
export async function findDnsServers({ dns }: Config): Promise<readonly DnsServer[]> {
  return dns.servers.length > 0
    ? dns.servers
    : (await resolvConfServers(RESOLV_CONF, { clock: systemClock })()).servers;
}

/** The grants for querying these servers: TCP only, as UDP would need an open port on this machine. */
export function dnsGrants(
  { dns }: Pick<Config, "dns">,
  servers: readonly DnsServer[],
): { net: string[]; read: string[] } {
  return {
    net: [...new Set(servers.map(endpointOf))],
    read: dns.servers.length === 0 ? [RESOLV_CONF] : [],
  };
}

/** As a grant names it: without a zone. */
export function endpointOf({ address, port }: DnsServer): string {
  return showEndpoint(address.split("%", 1)[0] ?? "", port);
}
