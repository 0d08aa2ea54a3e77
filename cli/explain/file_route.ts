/**
 * Where mail to a domain would go by the configuration file.
 *
 * @module
 */
import { silentLogger } from "../../base/log.ts";
import type { Config } from "../../config/config.ts";
import { findTargets, type Targets } from "../../relay/mx.ts";
import { passingPolicies } from "../../server/mta_sts_parts.ts";
import { openResolver, ownTargets, targetOptions } from "../../server/relay_parts.ts";

/** Asks DNS, and policies of MTA-STS where they are obeyed. */
export async function routeByFile(config: Config, domain: string): Promise<Targets> {
  const resolver = openResolver(config);
  const parts = { live: { config, resolver }, logger: silentLogger };
  return await findTargets(domain, {
    ...targetOptions(config, { resolver, logger: silentLogger, policies: passingPolicies(parts) }),
    ...ownTargets(config, { logger: silentLogger }),
  });
}
