/**
 * Ports that keep two servers from running side by side.
 *
 * @module
 */
import { excludeEachOther, showEndpoint } from "../../net/listen.ts";
import { serveOutEndpoints } from "../../server/addresses.ts";
import type { Config } from "../../config/config.ts";
import type { Endpoint } from "../../server/listeners.ts";
import type { ServerName } from "../../server/server_start.ts";

/** What {@linkcode collisionsWithServeOut} found. */
export interface Collisions {
  /** Both want the same address: they can never run with this configuration. */
  readonly errors: readonly string[];
  /** One of them wants all addresses. Either can run alone, as in a container. */
  readonly warnings: readonly string[];
}

/** Finds the ports that another server and serve-out both want. */
export function collisionsWithServeOut(
  { server, endpoints }: { readonly server: ServerName; readonly endpoints: readonly Endpoint[] },
  config: Config,
): Collisions {
  const addresses = config.serveOut.listen.map((address) => ({ address, tentative: false }));
  const others = serveOutEndpoints(config, { addresses });
  const both = endpoints.flatMap((mine) => {
    const other = others.find(({ address, port }) =>
      port !== 0 && port === mine.port && excludeEachOther(mine.address, address)
    );
    return other === undefined ? [] : { mine, other };
  });
  // The others follow from the same mistake.
  const first = both.find(({ mine, other }) => mine.address === other.address) ?? both[0];
  if (first === undefined) return { errors: [], warnings: [] };
  const { mine, other } = first;
  const where = ({ address, port }: Endpoint) => showEndpoint(address, port);
  const text =
    `${server} on ${where(mine)} and serve-out on ${where(other)} exclude each other: only one can ` +
    `run on this machine. Write [${server}] listen = "auto" or addresses of its own, or give one of them another port`;
  return mine.address === other.address ? { errors: [text], warnings: [] } : { errors: [], warnings: [text] };
}
