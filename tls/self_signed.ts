/**
 * A self-signed certificate for servers that have no other: mail is no longer sent in the clear.
 *
 * @module
 */
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { join } from "@std/path";
import type { Logger } from "../base/log.ts";
import type { Clock } from "../base/clock.ts";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { NewFile } from "../storage/new_file.ts";
import { CertificateError, loadCertificate, namesOf, readCertificate } from "./certificates.ts";
import { errorText } from "../base/error_text.ts";

/** For whom, and where it is kept. */
export interface SelfSignedOptions {
  /** The pair lies under `tls/` in it. */
  readonly dataDir: string;
  /** The name it is for. */
  readonly hostname: string;
  /** Dates it. */
  readonly clock: Clock;
  /** Logs a new one: `tls.self_signed.created`. */
  readonly logger: Logger;
}

const DAY = 86_400_000;
// Only those who pinned it check its dates, and they would rather keep it.
const VALIDITY = 5 * 365 * DAY;
// Recreated at a start in its last month, so that it does not expire on a server that runs on.
const RENEW_BEFORE = 30 * DAY;
// The longest common name (X.520 ub-common-name); a longer host name is in the alternative names only.
const MAX_COMMON_NAME = 64;

/**
 * Keeps a self-signed certificate (ECDSA P-256) in `tls/selfsigned.crt`, its key in `tls/selfsigned.key` with mode
 * 0600. Makes them at the first start, and the certificate again when it cannot be used, is for another name, near its
 * end, or not valid yet, as where the clock is wrong. The key stays if it can be used: others may go by it, as TLSA
 * records do (RFC 7672 §3.1.1).
 *
 * @returns the paths, for {@linkcode Certificates}
 * @throws {CertificateError} when the files cannot be written
 */
export async function keepSelfSigned(options: SelfSignedOptions): Promise<{ cert: string; key: string }> {
  const { dataDir, hostname, clock, logger } = options;
  const directory = join(dataDir, "tls");
  const paths = { cert: join(directory, "selfsigned.crt"), key: join(directory, "selfsigned.key") };
  const reason = await unusable(paths, options);
  if (reason === undefined) return paths;
  const kept = await usableKey(paths.key);
  const made = await createSelfSigned({ hostname, now: clock.now(), ...(kept && { key: kept }) });
  try {
    const isThere = await Deno.stat(directory).then(() => true, () => false);
    await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
    const syncer = new DirectorySyncer();
    // The key first: a crash in between leaves a pair that does not match, which the next start replaces.
    if (kept === undefined) await replace(paths.key, { text: made.key, mode: 0o600 });
    await replace(paths.cert, { text: made.cert, mode: 0o644 });
    await syncer.sync(directory);
    if (!isThere) await syncer.sync(dataDir);
  } catch (error) {
    throw new CertificateError(
      `${directory}: cannot keep a self-signed certificate: ${errorText(error)}. ` +
        `Let this account write there, or set [tls] cert and key`,
      { cause: error },
    );
  }
  logger.info("tls.self_signed.created", { file: paths.cert, hostname, reason });
  return paths;
}

async function unusable(
  paths: { cert: string; key: string },
  { hostname, clock }: SelfSignedOptions,
): Promise<string | undefined> {
  const isThere = await Deno.stat(paths.cert).then(() => true, () => false);
  if (!isThere) return "there was none";
  try {
    const { chain: [leaf], privateKey } = await readCertificate(paths);
    // Whoever serves the pair tries it. That takes a while, and need not be done twice for a key as made below.
    if (!isOwnKind(privateKey)) await loadCertificate({ ...paths, hostname, clock });
    const names = namesOf(leaf);
    if (!names.includes(hostname)) return `it was for ${names.join(", ")}`;
    if (leaf.validToDate.getTime() - clock.now() < RENEW_BEFORE) {
      return `it ends ${leaf.validToDate.toISOString()}`;
    }
    if (leaf.validFromDate.getTime() > clock.now()) return `it begins ${leaf.validFromDate.toISOString()}`;
    return undefined;
  } catch (error) {
    if (error instanceof CertificateError) return error.message;
    throw error;
  }
}

/** The key, where it is one as is made here. */
async function usableKey(path: string): Promise<KeyObject | undefined> {
  try {
    const key = createPrivateKey(await Deno.readTextFile(path));
    return isOwnKind(key) ? key : undefined;
  } catch {
    return undefined;
  }
}

function isOwnKind({ asymmetricKeyDetails }: KeyObject): boolean {
  return asymmetricKeyDetails?.namedCurve === "prime256v1";
}

async function replace(path: string, { text, mode }: { text: string; mode: number }): Promise<void> {
  const file = NewFile.create(`${path}.${crypto.randomUUID()}.tmp`, { mode });
  await file.write(new TextEncoder().encode(text));
  await file.finish();
  await file.publish(path);
}

/**
 * Makes a self-signed certificate and its key, both PEM; valid for five years.
 * @param options `key`: an ECDSA P-256 key to go on with; absent: a new one
 */
export async function createSelfSigned(
  { hostname, now, key: given }: {
    readonly hostname: string;
    readonly now: number;
    readonly key?: KeyObject;
  },
): Promise<{ cert: string; key: string }> {
  // Only here, as they take a tenth of a second to load.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = given === undefined
    ? await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"])
    : await importKeys(given, algorithm);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: hostname.length > MAX_COMMON_NAME ? [{ O: ["mailapp"] }] : [{ CN: [hostname] }],
    // A day earlier, for clients whose clock is behind.
    notBefore: new Date(now - DAY),
    notAfter: new Date(now + VALIDITY),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: "dns", value: hostname }]),
    ],
  });
  const key = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return {
    cert: certificate.toString("pem") + "\n",
    key: x509.PemConverter.encode(key, "PRIVATE KEY") + "\n",
  };
}

async function importKeys(key: KeyObject, algorithm: EcKeyImportParams): Promise<CryptoKeyPair> {
  const { subtle } = crypto;
  const secret = Uint8Array.from(key.export({ type: "pkcs8", format: "der" }));
  const known = Uint8Array.from(createPublicKey(key).export({ type: "spki", format: "der" }));
  return {
    privateKey: await subtle.importKey("pkcs8", secret, algorithm, true, ["sign"]),
    publicKey: await subtle.importKey("spki", known, algorithm, true, ["verify"]),
  };
}
