/**
 * The certificate that servers use until the authority of `[tls.acme]` has issued one.
 *
 * @module
 */
import { join } from "@std/path";
import { CertificateFiles } from "../acme/certificate_files.ts";
import { silentLogger } from "../base/log.ts";
import { systemClock } from "../base/clock.ts";
import type { Config } from "../config/config.ts";
import { CertificateError } from "../tls/certificates.ts";
import { keepSelfSigned } from "../tls/self_signed.ts";
import { CommandError, EXIT } from "./exit_codes.ts";

/**
 * Makes a self-signed certificate where none has been issued yet. Called before a server is confined, since it may
 * create no links then.
 * @throws {CommandError} when its files cannot be written
 */
export async function prepareStandIn({ hostname, dataDir }: Config): Promise<void> {
  const kept = new CertificateFiles(join(dataDir, "tls"));
  if (await kept.state() !== "none") return;
  try {
    const files = await keepSelfSigned({ hostname, clock: systemClock, logger: silentLogger, dataDir });
    await kept.standIn(files);
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    throw new CommandError(`[tls] ${error.message}`, EXIT.config, { cause: error });
  }
}
