/**
 * Routes as doctor tests them.
 *
 * @module
 */
import { silentLogger } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import type { Resolver } from "../dns/resolver.ts";
import type { RouteProbe, RouteTrial } from "../doctor/checks/routes.ts";
import { showEndpoint } from "../net/listen.ts";
import { findTargets } from "../relay/mx.ts";
import { explainReply } from "../relay/reply_causes.ts";
import { HostConnection } from "../relay/transmit.ts";
import { ownTargets, sessionOptions, targetOptions } from "./relay_parts.ts";

/** Upper bound of the routes tested. */
const MAX_ROUTES = 10;

/**
 * The routes of the configuration, as serve-out would use them.
 * @param options `probe`: a domain to test the default route with
 */
export function routeProbes(
  config: Config,
  { resolver, probe }: { readonly resolver: Resolver; readonly probe: string },
): RouteProbe[] {
  return Object.entries(config.serveOut.routes).slice(0, MAX_ROUTES).map(([name, { host, port, login }]) => ({
    name,
    host: showEndpoint(host, port),
    login: login !== undefined,
    tryOut: () => tryRoute(name === "*" ? probe : name, config, resolver),
  }));
}

async function tryRoute(domain: string, config: Config, resolver: Resolver): Promise<RouteTrial> {
  const common = { resolver, logger: silentLogger };
  let found;
  try {
    found = await findTargets(domain, {
      ...targetOptions(config, common),
      ...ownTargets(config, common),
    });
  } catch (error) {
    // Problems of a password file are a separate finding.
    if (error instanceof ConfigError) return { kind: "unknown", why: error.message };
    throw error;
  }
  if (found.kind !== "targets") return { kind: "refused", why: found.reason };
  let trial: RouteTrial = { kind: "unknown", why: "it has no address" };
  for (const target of found.targets) {
    const opened = await HostConnection.open(target, sessionOptions(config, common));
    if (opened.kind === "open") {
      const { tls } = opened.connection;
      await opened.connection.close();
      return { kind: "ready", how: tls === "none" ? "without TLS" : `TLS, ${tls}` };
    }
    const { attempt } = opened;
    const next = explainReply(attempt)?.operator;
    const why = [attempt.reply?.replaceAll("\n", " / "), attempt.error].filter((text) => text !== undefined);
    trial = { kind: "refused", why: why.join(" – "), ...(next !== undefined && { next }) };
  }
  return trial;
}
