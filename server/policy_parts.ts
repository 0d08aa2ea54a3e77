/**
 * The MTA-STS policy of our own domains, by the configuration: what it says, and who serves it.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { policyHostOf, type PublishedPolicy, publishPolicy } from "../mta_sts/own_policy.ts";
import { allowsMx, type Policy } from "../mta_sts/policy.ts";
import { requireDomains } from "./parts.ts";

/** The policy that all domains of serve-in promise; `undefined` if they promise none. */
export function ownPolicy(config: Config): PublishedPolicy | undefined {
  const promise = promisedPolicy(config);
  return promise && publishPolicy(promise);
}

function promisedPolicy({ mtaSts, hostname }: Config): Policy | undefined {
  if (mtaSts === undefined) return undefined;
  const { mode, maxAgeMs, mx = [hostname] } = mtaSts;
  return { mode, mx, maxAge: Math.floor(maxAgeMs / 1000) };
}

/** Why senders that keep the policy of the configuration would not deliver here; `undefined` if they would. */
export function brokenPromise(config: Config): string | undefined {
  const policy = promisedPolicy(config);
  if (policy?.mode !== "enforce" || config.serveIn.domains.length === 0) return undefined;
  const { hostname, tls: { certificate, selfSigned } } = config;
  if (!allowsMx(policy, hostname)) return `mx has ${policy.mx.join(", ")}, and not ${hostname}`;
  if (certificate !== undefined) return undefined;
  return selfSigned ? "the certificate is self-signed" : "there is no certificate";
}

/** The names of the hosts that serve-policy answers for; none if it is not configured. */
export function policyHosts({ servePolicy, serveIn: { domains } }: Config): string[] {
  return servePolicy === undefined ? [] : domains.map(policyHostOf);
}

/** What serve-policy serves, by the name of the host. */
export function policyTexts(config: Config): ReadonlyMap<string, string> {
  const { text = "" } = ownPolicy(config) ?? {};
  return new Map(policyHosts(config).map((host) => [host, text]));
}

/** A warning for names of policy hosts that the certificate is not for; senders do not take the policy then. */
export function uncoveredHosts(config: Config, leaf: X509Certificate): string[] {
  const uncovered = policyHosts(config).filter((host) => leaf.checkHost(host) === undefined);
  if (uncovered.length === 0) return [];
  return [
    `the certificate of [tls] is not for ${
      uncovered.join(", ")
    }: senders do not take the policy of such a host. ` +
    (config.tls.acme === undefined
      ? "Get one with these names, too"
      : "mailapp certificate renew adds these names"),
  ];
}

/**
 * Stops a serve-policy that has nothing to serve, or that no sender would believe.
 * @throws {ConfigError}
 */
export function requirePolicy(config: Config): void {
  const { file, servePolicy, tls: { certificate } } = config;
  const problem = (key: string, problem: string) => new ConfigError(file, [{ key, problem }]);
  if (servePolicy === undefined) {
    throw problem(
      "serve-policy",
      "the table must be there, though it may be empty, where serve-policy is to run",
    );
  }
  requireDomains(config);
  if (certificate === undefined) {
    throw problem(
      "tls",
      "must have cert and key, or an [tls.acme]: senders take a policy only with a certificate that they can verify",
    );
  }
}
