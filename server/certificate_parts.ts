/**
 * The certificate as the configuration wants it.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import type { Logger } from "../base/log.ts";
import { systemClock } from "../base/clock.ts";
import {
  CertificateError,
  type CertificatePair,
  Certificates,
  loadCertificate,
} from "../tls/certificates.ts";
import { keepSelfSigned } from "../tls/self_signed.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import { CertificateFiles } from "../acme/certificate_files.ts";

/**
 * The certificate of `[tls]`, or the self-signed one, reloaded when it is renewed; `undefined` if there is none.
 * @throws {CommandError} when it cannot be used
 */
export async function openCertificates(config: Config, logger: Logger): Promise<Certificates | undefined> {
  const { tls: { certificate, selfSigned, acme }, hostname, dataDir } = config;
  const common = { hostname, clock: systemClock, logger };
  try {
    if (acme !== undefined && await acmeCertificateState(config) === "stand-in") {
      logger.warn("config.warning", {
        warning:
          "there is no certificate from the authority of [tls.acme] yet, and a self-signed one is used: " +
          "mailapp certificate obtain gets one",
      });
    }
    if (certificate !== undefined) {
      return await Certificates.load({ ...common, cert: certificate.certFile, key: certificate.keyFile });
    }
    return selfSigned
      ? await Certificates.load({ ...common, ...await keepSelfSigned({ ...common, dataDir }) })
      : undefined;
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    throw new CommandError(`[tls] ${error.message}`, EXIT.config, { cause: error });
  }
}

/** Which certificate there is of `[tls.acme]`. */
export function acmeCertificateState({ dataDir }: Config): ReturnType<CertificateFiles["state"]> {
  return new CertificateFiles(join(dataDir, "tls")).state();
}

/**
 * The configured pair, if there is one; creates none.
 * @throws {CertificateError}
 */
export async function readCertificate(config: Config): Promise<CertificatePair | undefined> {
  const { tls: { certificate, selfSigned, acme }, hostname, dataDir } = config;
  if (acme !== undefined && await acmeCertificateState(config) === "none") return undefined;
  const files = certificate !== undefined
    ? { cert: certificate.certFile, key: certificate.keyFile }
    : selfSigned
    ? { cert: join(dataDir, "tls", "selfsigned.crt"), key: join(dataDir, "tls", "selfsigned.key") }
    : undefined;
  return files && await loadCertificate({ ...files, hostname, clock: systemClock });
}
