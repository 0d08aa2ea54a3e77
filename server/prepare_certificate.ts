/**
 * Prepares the certificate of a server before it is confined.
 *
 * @module
 */
import type { Config } from "../config/config.ts";

/**
 * Ensures that there is a certificate with `[tls.acme]`: a self-signed one until the first is issued.
 * @throws {CommandError} when its files cannot be written
 */
export async function prepareCertificate(config: Config): Promise<void> {
  // Loaded only here: the thread that starts a server stays, and should not hold what it does not use.
  if (config.tls.acme !== undefined) await (await import("./stand_in_certificate.ts")).prepareStandIn(config);
}
