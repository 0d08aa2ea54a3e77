/**
 * The server's certificate and key: read, proven, and followed as they are renewed.
 *
 * @module
 */
import { gauge } from "../base/counters.ts";
import type { KeyObject, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type { SecureContext } from "node:tls";
import type { Logger } from "../base/log.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { CertificateError, MAX_PEM, parseChain, parseKey, proveWorking } from "./certificate_pair.ts";
import { normalizePem } from "../base/text_file.ts";
import { errorText } from "../base/error_text.ts";

export { CertificateError } from "./certificate_pair.ts";

const EXPIRY = "mailapp_tls_certificate_expiry_timestamp_seconds";
const expiry = gauge(EXPIRY, "When the certificate expires that is served; 0 without one");

/** Which pair, and for whom. */
export interface CertificateOptions {
  /** Path of the chain, PEM: the server's own certificate first, then the intermediate ones. */
  readonly cert: string;
  /** Path of the private key, PEM, not encrypted. */
  readonly key: string;
  /** The name that clients expect. */
  readonly hostname: string;
  /** Tells what is expired. */
  readonly clock: Clock;
}

/** What {@linkcode Certificates} needs. */
export interface CertificatesOptions extends CertificateOptions {
  /** Receives warnings, renewals and failures. */
  readonly logger: Logger;
}

/** A pair that works. */
export interface CertificatePair {
  /** For node:tls; TLS 1.2 and later. */
  readonly secureContext: SecureContext;
  /** The server's own certificate. */
  readonly leaf: X509Certificate;
  /** The names it is for: DNS names and addresses. */
  readonly names: readonly string[];
  /** What is wrong though it can be served: expired, another name, no intermediate certificate. */
  readonly warnings: readonly string[];
}

/** How often the files are looked at, in milliseconds. */
export const POLL_INTERVAL = 30_000;
// A certificate and its key are two files, and for a moment only one of them may have been replaced.
const SETTLE = 2_000;
const DAY = 86_400_000;
// When a renewal is overdue by any authority's custom; certificates for some days are renewed with a third to go.
const RENEWAL_DUE = 14 * DAY;

/**
 * The pair of now. Reads it once, then looks at the files every {@linkcode POLL_INTERVAL} and takes a new pair when
 * they changed, also when a symbolic link on the way to them now leads elsewhere, as certbot does it. Connections
 * that stand are not touched. A new pair that cannot be used is logged, once, and the old one stays.
 *
 * Log events: `tls.certificate.loaded`, `tls.certificate.warning` (repeated daily), `tls.certificate.failed`.
 *
 * @example
 * ```ts ignore
 * using certificates = await Certificates.load({ cert, key, hostname, clock, log });
 * const upgradeToTls = serverUpgrade({ certificates });
 * Deno.addSignalListener("SIGHUP", () => certificates.reload());
 * ```
 */
export class Certificates implements Disposable {
  readonly #options: CertificatesOptions;
  #pair: CertificatePair;
  /** What the files were when they were last tried, with or without success. */
  #tried: string;
  #timer: Timer | undefined;
  #warnedAt = 0;
  #disposed = false;
  #reloading: Promise<boolean> | undefined;

  private constructor(
    options: CertificatesOptions,
    { pair, tried }: { pair: CertificatePair; tried: string },
  ) {
    this.#options = options;
    this.#pair = pair;
    this.#tried = tried;
    this.#announce();
    this.#sleep(POLL_INTERVAL);
  }

  /**
   * Reads the pair and begins to watch it.
   * @throws {CertificateError} when it cannot be used; one that is expired or for another name can, with a warning
   */
  static async load(options: CertificatesOptions): Promise<Certificates> {
    const tried = await fingerprint(options);
    return new Certificates(options, { pair: await loadCertificate(options), tried });
  }

  /** For the next handshake. */
  get secureContext(): SecureContext {
    return this.#pair.secureContext;
  }

  /** The pair in use. */
  get pair(): CertificatePair {
    return this.#pair;
  }

  /** Takes the files as they are now, as on SIGHUP. Never rejects: a failure is logged, and the result is false. */
  reload(): Promise<boolean> {
    this.#reloading ??= this.#reload().finally(() => this.#reloading = undefined);
    return this.#reloading;
  }

  /** Stops watching. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.cancel();
  }

  async #reload(): Promise<boolean> {
    try {
      this.#tried = await fingerprint(this.#options);
      this.#take(await loadCertificate(this.#options));
      return true;
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  /** A look at the files; `settled` when a changed pair has had its moment to become whole. */
  async #poll({ settled }: { settled: boolean }): Promise<void> {
    let wait = POLL_INTERVAL;
    try {
      const now = await fingerprint(this.#options);
      if (now !== this.#tried) {
        try {
          this.#take(await loadCertificate(this.#options));
          this.#tried = now;
        } catch (error) {
          if (settled) {
            this.#tried = now;
            this.#fail(error);
          } else {
            wait = SETTLE;
          }
        }
      } else if (this.#options.clock.monotonic() - this.#warnedAt >= DAY) {
        this.#warn(warningsFor(this.#pair.leaf, this.#options));
      }
    } finally {
      if (!this.#disposed) this.#sleep(wait);
    }
  }

  #sleep(wait: number): void {
    this.#timer = this.#options.clock.after(wait, () => {
      this.#poll({ settled: wait === SETTLE }).catch((error) => this.#fail(error));
    });
  }

  #take(pair: CertificatePair): void {
    const same = pair.leaf.fingerprint256 === this.#pair.leaf.fingerprint256;
    this.#pair = pair;
    if (!same) this.#announce();
  }

  #announce(): void {
    const { logger, cert } = this.#options;
    const { leaf, names, warnings } = this.#pair;
    expiry.set(leaf.validToDate.getTime() / 1000);
    logger.info("tls.certificate.loaded", {
      file: cert,
      names,
      issuer: leaf.issuer.replaceAll("\n", ", "),
      expires: leaf.validToDate.toISOString(),
      sha256: leaf.fingerprint256.replaceAll(":", "").toLowerCase(),
    });
    this.#warn(warnings);
  }

  #warn(warnings: readonly string[]): void {
    this.#warnedAt = this.#options.clock.monotonic();
    for (const warning of warnings) this.#options.logger.warn("tls.certificate.warning", { warning });
  }

  #fail(error: unknown): void {
    this.#options.logger.error("tls.certificate.failed", {
      error: errorText(error),
      serving: `the one that expires ${this.#pair.leaf.validToDate.toISOString()}`,
    });
  }
}

/** A pair as it was read; the key belongs to the first certificate. */
export interface ReadPair {
  /** The server's own certificate, then those that follow it. */
  readonly chain: readonly [X509Certificate, ...X509Certificate[]];
  /** The key. */
  readonly privateKey: KeyObject;
}

/**
 * Reads a pair.
 * @throws {CertificateError}
 */
export async function readCertificate(
  { cert, key }: Pick<CertificateOptions, "cert" | "key">,
): Promise<ReadPair> {
  const certText = await readPem(cert);
  const keyText = await readPem(key);
  const chain = parseChain(certText, cert);
  const [leaf] = chain;
  const privateKey = parseKey(keyText, key);
  if (!leaf.checkPrivateKey(privateKey)) throw mismatch(chain, privateKey, { cert, key });
  return { chain, privateKey };
}

/**
 * Reads a pair and proves that it works, with a handshake in memory.
 * @throws {CertificateError}
 */
export async function loadCertificate(options: CertificateOptions): Promise<CertificatePair> {
  const { chain, privateKey } = await readCertificate(options);
  const [leaf] = chain;
  const secureContext = await proveWorking(chain, privateKey, options.key);
  return { secureContext, leaf, names: namesOf(leaf), warnings: warningsFor(leaf, options, chain.length) };
}

async function readPem(path: string): Promise<string> {
  try {
    const { size, isDirectory } = await Deno.stat(path);
    if (isDirectory) throw new CertificateError(`${path}: a directory; name the file in it`);
    if (size > MAX_PEM) throw new CertificateError(`${path}: over 1 MiB, so not a PEM file`);
    return normalizePem(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof CertificateError) throw error;
    const reason = error instanceof Deno.errors.NotFound
      ? "no such file. Set [tls] cert and key, or self_signed = true"
      : error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable
      ? "may not be read by this account. Let its group read the file and enter its directories"
      : errorText(error);
    throw new CertificateError(`${path}: ${reason}`, { cause: error });
  }
}

function mismatch(
  chain: readonly X509Certificate[],
  privateKey: KeyObject,
  { cert, key }: Pick<CertificateOptions, "cert" | "key">,
): CertificateError {
  if (chain.some((certificate) => certificate.checkPrivateKey(privateKey))) {
    return new CertificateError(
      `${cert}: the certificate that belongs to ${key} is not the first in the file. Put it before the others`,
    );
  }
  return new CertificateError(
    `${key}: does not belong to the certificate in ${cert}. They come in pairs: copy both from the same renewal`,
  );
}

function warningsFor(
  leaf: X509Certificate,
  { cert, hostname, clock }: CertificateOptions,
  chainLength = Infinity,
): string[] {
  const warnings: string[] = [];
  const now = clock.now();
  const [from, to] = [leaf.validFromDate.getTime(), leaf.validToDate.getTime()];
  if (to <= now) {
    warnings.push(
      `${cert}: expired on ${leaf.validToDate.toISOString()}. Senders that verify will refuse it: renew it`,
    );
  } else if (isRenewalDue(leaf, now)) {
    warnings.push(`${cert}: expires on ${leaf.validToDate.toISOString()}, and has not been renewed yet`);
  }
  if (from > now) {
    warnings.push(
      `${cert}: not valid before ${leaf.validFromDate.toISOString()}. Is this machine's clock right?`,
    );
  }
  const matches = isIP(hostname) ? leaf.checkIP(hostname) : leaf.checkHost(hostname);
  if (matches === undefined) {
    warnings.push(`${cert}: not for ${hostname}, but for ${namesOf(leaf).join(", ") || "no name at all"}`);
  }
  if (chainLength === 1 && leaf.issuer !== leaf.subject) {
    warnings.push(
      `${cert}: holds the server's own certificate only. Most authorities need the intermediate ones too: ` +
        `use fullchain.pem`,
    );
  }
  return warnings;
}

/** The names that a certificate is for: DNS names and addresses. */
export function namesOf(leaf: X509Certificate): string[] {
  return (leaf.subjectAltName ?? "").split(", ")
    .map((name) => name.replace(/^(?:DNS|IP Address):/, ""))
    .filter((name) => name !== "");
}

/** Changes whenever one of the two paths names another file or content. */
async function fingerprint({ cert, key }: CertificateOptions): Promise<string> {
  const parts = await Promise.all([cert, key].map(async (path) => {
    try {
      const real = await Deno.realPath(path);
      // Not of `real`: a server is granted the path that was configured, wherever it leads.
      const { dev, ino, mtime, ctime, size } = await Deno.stat(path);
      return [real, dev, ino, mtime?.getTime(), ctime?.getTime(), size].join(":");
    } catch (error) {
      return error instanceof Error ? error.name : String(error);
    }
  }));
  return parts.join("|");
}

/**
 * Whether a certificate should have been renewed by now.
 * @param now milliseconds since the epoch
 */
export function isRenewalDue({ validFromDate, validToDate }: X509Certificate, now: number): boolean {
  const [from, to] = [validFromDate.getTime(), validToDate.getTime()];
  return to - now < Math.min(RENEWAL_DUE, (to - from) / 3);
}
