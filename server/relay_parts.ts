/**
 * Builds the parts of the relay from the configuration: targets, sessions, retries.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { DnsResolver, type Resolver } from "../dns/resolver.ts";
import { resolvConfServers } from "../dns/servers.ts";
import { addressesBehind, type ListenAddress, type NetworkIo } from "../net/interfaces.ts";
import { type Logger, silentLogger } from "../base/log.ts";
import { createDial } from "../net/dial.ts";
import type { FamilyHealth } from "../net/family_health.ts";
import type { Route, TargetOptions } from "../relay/mx.ts";
import type { StsPolicies } from "../relay/sts_rule.ts";
import type { RetrySchedule } from "../relay/retry_schedule.ts";
import { PeerMemory } from "../relay/peer_memory.ts";
import type { SessionOptions } from "../relay/ready_session.ts";
import type { UndeliverableLimits } from "../relay/undeliverable.ts";
import { systemClock } from "../base/clock.ts";
import { clientUpgrade } from "../tls/client_upgrade.ts";
import { CommandError } from "./exit_codes.ts";
import { PasswordFile } from "./password_file.ts";
import { serveInAddresses } from "./addresses.ts";
import { RESOLV_CONF } from "./dns_parts.ts";
import { errorText } from "../base/error_text.ts";

/** When messages are tried again. */
export function retrySchedule({ serveOut }: Config): RetrySchedule {
  const { retryMs, expireAfterMs, delayNoticeAfterMs } = serveOut;
  return { delays: retryMs, expireAfter: expireAfterMs, delayNoticeAfter: delayNoticeAfterMs };
}

/** The bounds of held messages that have no sender to notify. */
export function undeliverableLimits({ serveOut }: Config): UndeliverableLimits {
  return { keepFor: serveOut.keepUndeliverableMs, most: serveOut.maxUndeliverable };
}

/** A resolver for the configured DNS servers, or else those of resolv.conf. */
export function openResolver({ dns }: Config, logger: Logger = silentLogger): Resolver {
  return new DnsResolver({
    servers: dns.servers.map(({ address, port }) =>
      address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`
    ),
    dnssec: dns.dnssec,
    resolvConf: RESOLV_CONF,
    logger,
    clock: systemClock,
  });
}

/** What is wrong with resolv.conf, where that names the DNS servers; for people. */
export async function dnsSettingProblems({ dns }: Config): Promise<string[]> {
  if (dns.servers.length > 0) return [];
  const { problems } = await resolvConfServers(RESOLV_CONF, { clock: systemClock })();
  return problems.map((problem) => `${RESOLV_CONF}: ${problem}`);
}

/** What is shared by finding targets and connecting to them. */
interface WorldParts {
  readonly resolver: Resolver;
  readonly logger: Logger;
  /** The state of IPv4 and IPv6, updated by connecting and used in finding targets; for servers only. */
  readonly health?: FamilyHealth;
  /** What is known of hosts from earlier connections; a server keeps it across reloads. */
  readonly peers?: PeerMemory;
  /** Called with the outcome of TLS. */
  readonly onTls?: NonNullable<SessionOptions["onTls"]>;
  /** The MTA-STS policies of domains; absent: none are fetched. */
  readonly policies?: StsPolicies;
  /** The only authorities whose certificates verify, as PEM; absent: the usual ones. */
  readonly trusted?: readonly string[];
}

/** The options for finding targets that all look-ups share. */
export function targetOptions(
  config: Config,
  { resolver, logger, health, policies }: WorldParts,
): Omit<TargetOptions, "preferFamily" | "signal" | keyof OwnTargets> {
  const { hostname, serveOut } = config;
  const routes = readRoutes(config, logger);
  return {
    resolver,
    logger,
    hostname,
    family: serveOut.family,
    port: serveOut.smtpPort,
    allowPrivateTargets: serveOut.allowPrivateTargets,
    routes,
    tlsPolicy: new Map(Object.entries(serveOut.tlsPolicy)),
    random: Math.random,
    ...(health && { health }),
    ...(policies && serveOut.mtaSts && { stsPolicies: policies }),
  };
}

/** The options of sessions with hosts. */
export function sessionOptions(
  config: Config,
  { resolver, logger, health, peers = new PeerMemory(systemClock), onTls, trusted }: WorldParts,
): SessionOptions {
  const { hostname, dns, serveOut } = config;
  const { timeouts, sourceIpv4, sourceIpv6 } = serveOut;
  return {
    hostname,
    clock: systemClock,
    timeouts: { command: timeouts.commandMs, data: timeouts.dataMs, dataEnd: timeouts.dataEndMs },
    dial: createDial({
      clock: systemClock,
      timeout: timeouts.connectMs,
      ...(sourceIpv4 !== undefined && { sourceIpv4 }),
      ...(sourceIpv6 !== undefined && { sourceIpv6 }),
      ...(health && { health }),
    }),
    upgrade: trusted === undefined
      ? clientUpgrade
      : (plain, options) => clientUpgrade(plain, { ...options, ca: trusted }),
    peers,
    ...(dns.dnssec && { daneResolver: resolver }),
    ...(onTls && serveOut.tlsReports && { onTls }),
    logger,
  };
}

/** Groups domains with the same hosts and TLS policy, for the scheduler's `destinationOf`. */
export function destinations({ serveIn, serveOut }: Config): (domain: string) => string {
  const local = new Set(serveIn.domains);
  const routes = new Set(Object.keys(serveOut.routes));
  const policies = new Map(Object.entries(serveOut.tlsPolicy));
  return (domain) => {
    const policy = policies.get(domain) ?? "prefer";
    if (local.has(domain)) return `serve-in ${policy}`;
    const route = routes.has(domain) ? domain : routes.has("*") ? "*" : undefined;
    return route === undefined ? domain : `route ${route} ${policy}`;
  };
}

/** Which targets are our own servers. */
export type OwnTargets = Pick<TargetOptions, "ownListeners" | "local">;

/**
 * Our own servers as they listen now, which changes with the machine's network. What is unknown (no default route
 * yet) is logged, and mail for serve-in waits.
 */
export function ownTargets(
  config: Config,
  { logger, network, last }: {
    readonly logger: Logger;
    readonly network?: NetworkIo;
    /** The previous result. */
    readonly last?: OwnTargets | undefined;
  },
): OwnTargets {
  const { serveIn: { domains, port }, serveOut } = config;
  let serveIn: readonly ListenAddress[] = [];
  try {
    if (domains.length > 0) serveIn = serveInAddresses(config, network);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    // serve-in stays where it was as well.
    if (last?.local?.listeners.length) return last;
    logger.warn("local.unreachable", { error: error.message });
  }
  return {
    ownListeners: [
      ...serveIn.flatMap(({ address }) => addressesBehind(address).map((address) => ({ address, port }))),
      ...serveOut.listen.map((address) => ({ address, port: serveOut.port })),
    ],
    ...(domains.length > 0 && {
      local: {
        domains: new Set(domains),
        listeners: serveIn.map(({ address }) => ({ address: reachable(address), port })),
      },
    }),
  };
}

/** The address to connect to for an address listened on. */
function reachable(address: string): string {
  return address === "0.0.0.0" || address === "::" ? "127.0.0.1" : address;
}

/**
 * The routes, with the passwords of the files that they name, as these stand when they are used.
 * @throws {ConfigError} when a password cannot be read
 */
export function readRoutes(config: Config, logger: Logger = silentLogger): Map<string, Route> {
  const routes = new Map<string, Route>();
  for (const [domain, { host, port, tls, login }] of Object.entries(config.serveOut.routes)) {
    routes.set(domain, { host, port, tls });
    if (login === undefined) continue;
    const { user, passwordFile } = login;
    const key = `serve-out.routes.${JSON.stringify(domain)}.password_file`;
    try {
      const file = new PasswordFile(passwordFile, { clock: systemClock, logger });
      const auth = {
        user,
        get password() {
          return file.password;
        },
      };
      routes.set(domain, { host, port, tls, auth });
    } catch (cause) {
      const issue = { key, value: JSON.stringify(passwordFile), problem: errorText(cause) };
      throw new ConfigError(config.file, [issue], { cause });
    }
  }
  return routes;
}
