/**
 * What DNSSEC says of the hosts that `mailapp explain` shows (DANE), and which TLS policy follows.
 *
 * @module
 */
import type { Config } from "../../config/config.ts";
import type { TlsPolicy } from "../../net/tls_policy.ts";
import type { Target } from "../../relay/mx.ts";
import { lookUpDane } from "../../relay/session_tls.ts";
import { openResolver } from "../../server/relay_parts.ts";
import type { DaneNeed } from "../../tls/dane.ts";

/** What is said of each host, by name and port. */
export type DaneNeeds = ReadonlyMap<string, DaneNeed>;

/** Of more hosts nothing is looked up. */
const MAX_HOSTS = 10;

/** Tells targets apart. */
export const keyOf = ({ host, address, port }: Pick<Target, "host" | "address" | "port">): string =>
  `${host} [${address}]:${port}`;

/** TLSA records belong to a name and a port. */
const hostOf = ({ host, port }: Pick<Target, "host" | "port">) => `${host}:${port}`;

/** Looks up TLSA records as an attempt does. */
export async function lookUpDaneOf(targets: readonly Target[], config: Config): Promise<DaneNeeds> {
  const resolver = config.dns.dnssec ? { daneResolver: openResolver(config) } : {};
  const hosts = new Map(
    targets.filter(({ via }) => via !== "local").map((target) => [hostOf(target), target]),
  );
  return new Map(
    await Promise.all(
      [...hosts].slice(0, MAX_HOSTS).map(async ([key, target]) =>
        [key, await lookUpDane(target, resolver)] as const
      ),
    ),
  );
}

/** What is said of a host; nothing where nothing was looked up. */
export function daneOf(target: Pick<Target, "host" | "port">, needs: DaneNeeds): DaneNeed {
  return needs.get(hostOf(target)) ?? { kind: "none", reason: "" };
}

/** The policy that applies to a host: that of DNSSEC, where it has one; `undefined` if that is not known now. */
export function policyOf({ tls }: Pick<Target, "tls">, { kind }: DaneNeed): TlsPolicy | undefined {
  if (kind === "unknown") return undefined;
  if (kind === "records") return "dane";
  return kind === "encrypt" && tls === "prefer" ? "require" : tls;
}
