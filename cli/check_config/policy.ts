/**
 * The part of check-config about serve-policy and the policy that it serves.
 *
 * @module
 */
import type { Config } from "../../config/config.ts";
import { ConfigError } from "../../config/errors.ts";
import { showEndpoint } from "../../net/listen.ts";
import { awaitedAddress } from "../../server/addresses.ts";
import { CommandError } from "../../server/exit_codes.ts";
import { brokenPromise, ownPolicy, policyHosts, uncoveredHosts } from "../../server/policy_parts.ts";
import { servePolicy } from "../../server/serve_policy.ts";
import { readCertificate } from "../../server/certificate_parts.ts";
import { CertificateError } from "../../tls/certificates.ts";
import { collisionsWithServeOut } from "./collisions.ts";
import type { SubmissionReport } from "./submission.ts";

/** Senders come to no other port (RFC 8461 §3.3). */
const HTTPS = 443;

/** Reports a policy that cannot be kept, and what serve-policy would do, if it is configured. */
export async function reportServePolicy(config: Config, report: SubmissionReport): Promise<void> {
  const broken = brokenPromise(config);
  if (broken !== undefined) {
    report.warnings.push(
      `mta_sts.mode = "enforce": ${broken}; senders that obey the policy deliver nothing here. ` +
        'Until that is mended: mode = "testing"',
    );
  }
  const policy = ownPolicy(config);
  if (config.servePolicy === undefined || policy === undefined) return;
  report.say("", `serve-policy, as ${policyHosts(config).join(", ")}`);
  try {
    servePolicy.check(config);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    report.obstacles.push(...error.message.split("\n"));
  }
  try {
    const endpoints = servePolicy.endpoints(config, {
      hasCertificate: true,
      addresses: servePolicy.addresses(config),
    });
    report.say(...endpoints.map(({ address, port }) => `  listens on ${showEndpoint(address, port)}, HTTPS`));
    const { errors, warnings } = collisionsWithServeOut({ server: "serve-policy", endpoints }, config);
    report.errors.push(...errors);
    report.warnings.push(...warnings);
    const { port } = config.servePolicy;
    if (port !== HTTPS && port !== 0) {
      report.warnings.push(
        `serve-policy.port = ${port}: senders use port ${HTTPS} only, so it must be forwarded to this one`,
      );
    }
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    if (awaitedAddress(error) === undefined) report.errors.push(error.message);
    else report.warnings.push(`serve-policy waits for its first address: ${error.message}`);
  }
  report.say(`  promises, with the id ${policy.id}:`);
  report.say(...policy.text.trimEnd().split("\r\n").map((line) => `    ${line}`));
  try {
    const leaf = (await readCertificate(config))?.leaf;
    if (leaf !== undefined) report.warnings.push(...uncoveredHosts(config, leaf));
  } catch (error) {
    // serve-in reports it.
    if (!(error instanceof CertificateError)) throw error;
  }
}
