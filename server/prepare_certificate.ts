/**
 * The certificate of a server: its files, and what is prepared before the server is confined.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import type { ReadFile } from "../doctor/checks/storage.ts";

/** The files of `[tls]`, which the server reads; none without a certificate. */
export function certificateFiles({ tls: { certificate } }: Config): readonly ReadFile[] {
  if (certificate === undefined) return [];
  return [{ name: "[tls] cert", path: certificate.certFile }, {
    name: "[tls] key",
    path: certificate.keyFile,
  }];
}

/**
 * Ensures that there is a certificate with `[tls.acme]`: a self-signed one until the first is issued.
 * @throws {CommandError} when its files cannot be written
 */
export async function prepareCertificate(config: Config): Promise<void> {
  // Loaded only here: the thread that starts a server stays, and should not hold what it does not use.
  if (config.tls.acme !== undefined) await (await import("./stand_in_certificate.ts")).prepareStandIn(config);
}
