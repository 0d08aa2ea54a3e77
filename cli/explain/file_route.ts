/**
 * Where mail to a domain would go by the configuration file.
 *
 * @module
 */
import { silentLogger } from "../../base/log.ts";
import type { Config } from "../../config/config.ts";
import type { Resolver } from "../../dns/resolver.ts";
import { findTargets, type Targets } from "../../relay/mx.ts";
import type { StsPolicies } from "../../relay/sts_rule.ts";
import { passingPolicies } from "../../server/mta_sts_parts.ts";
import { openResolver, ownTargets, targetOptions } from "../../server/relay_parts.ts";

/**
 * Asks DNS, and policies of MTA-STS where they are obeyed.
 * @param then what DNS said and policies were at another time, to be asked instead
 */
export async function routeByFile(
  config: Config,
  domain: string,
  then?: { readonly resolver: Resolver; readonly policies: StsPolicies },
): Promise<Targets> {
  const resolver = then?.resolver ?? openResolver(config);
  const parts = { live: { config, resolver }, logger: silentLogger };
  const policies = then?.policies ?? passingPolicies(parts);
  return await findTargets(domain, {
    ...targetOptions(config, { resolver, logger: silentLogger, policies }),
    ...ownTargets(config, { logger: silentLogger }),
  });
}
