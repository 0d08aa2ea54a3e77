/**
 * A certificate chain and its key, as PEM: read, and proven to work together.
 *
 * @module
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { errorText } from "../base/error_text.ts";
import { trialHandshake } from "./trial.ts";

/** A certificate or key cannot be used. The message names the file, what is wrong, and what to do. */
export class CertificateError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "CertificateError";
  }
}

/** Octets of a file with certificates or a key; a longer one is not read. */
export const MAX_PEM = 1 << 20;

/**
 * Proves that a pair which has just been issued can take the place of another: that it will be read, and is valid now.
 * @param pair PEM
 * @param options `now`: milliseconds since the epoch
 * @throws {CertificateError}
 */
export async function proveIssued(
  { cert, key }: { readonly cert: string; readonly key: string },
  { now }: { readonly now: number },
): Promise<void> {
  const name = "the certificate";
  if (cert.length > MAX_PEM) throw new CertificateError(`${name} is over 1 MiB`);
  const chain = parseChain(cert, name);
  const [leaf] = chain;
  const privateKey = parseKey(key, "the key");
  if (!leaf.checkPrivateKey(privateKey)) throw new CertificateError(`${name} is for another key`);
  const { validFromDate, validToDate } = leaf;
  if (validToDate.getTime() <= now) {
    throw new CertificateError(`${name} expired on ${validToDate.toISOString()}`);
  }
  if (validFromDate.getTime() > now) {
    throw new CertificateError(
      `${name} is not valid before ${validFromDate.toISOString()}. Is this machine's clock right?`,
    );
  }
  await proveWorking(chain, privateKey, "the key");
}

/**
 * Makes a handshake in memory with a pair.
 * @param key The name of the key, for the error
 * @throws {CertificateError}
 */
export async function proveWorking(
  chain: readonly X509Certificate[],
  privateKey: KeyObject,
  key: string,
): Promise<SecureContext> {
  try {
    const secureContext = createSecureContext({
      cert: chain.map(toPem).join(""),
      key: privateKey.export({ type: "pkcs8", format: "pem" }),
      minVersion: "TLSv1.2",
    });
    await trialHandshake(secureContext);
    return secureContext;
  } catch (error) {
    throw new CertificateError(
      `${key}: no client could use this key (${privateKey.asymmetricKeyType}): ` +
        `${errorText(error)}. Use ECDSA P-256 or RSA with 2048 bits`,
      { cause: error },
    );
  }
}

/**
 * Reads the certificates in a text.
 * @param path Names the text in errors
 * @throws {CertificateError}
 */
export function parseChain(text: string, path: string): [X509Certificate, ...X509Certificate[]] {
  const blocks = text.match(
    /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[\s\S]+?-----END [A-Z0-9 ]+-----/g,
  );
  if (!blocks) {
    throw new CertificateError(
      /PRIVATE KEY-----/.test(text)
        ? `${path}: a key, not a certificate. Are [tls] cert and key swapped?`
        : `${path}: no certificate in PEM form. If it is DER: openssl x509 -inform der -in FILE -out fullchain.pem`,
    );
  }
  const [leaf, ...others] = blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw new CertificateError(
        `${path}: certificate ${index + 1} of ${blocks.length} is damaged. Copy or issue it again`,
        { cause: error },
      );
    }
  });
  if (!leaf) throw new CertificateError(`${path}: no certificate in it`);
  return [leaf, ...others];
}

/**
 * Reads the key in a text.
 * @param path Names the text in errors
 * @throws {CertificateError}
 */
export function parseKey(text: string, path: string): KeyObject {
  const block = text.match(/-----BEGIN ((?:[A-Z0-9]+ )*)PRIVATE KEY-----[\s\S]+?-----END [A-Z0-9 ]+-----/);
  if (!block) {
    throw new CertificateError(
      /CERTIFICATE-----/.test(text)
        ? `${path}: a certificate, not a key. Are [tls] cert and key swapped?`
        : `${path}: no private key in PEM form. If it is DER: openssl pkey -inform der -in FILE -out privkey.pem`,
    );
  }
  if (block[1]?.startsWith("ENCRYPTED") || /(?<![^\n])Proc-Type: 4,ENCRYPTED/.test(block[0])) {
    throw new CertificateError(
      `${path}: the key is encrypted, and its password cannot be typed at start. ` +
        `Take it off with: openssl pkey -in FILE -out privkey.pem`,
    );
  }
  try {
    return createPrivateKey(block[0]);
  } catch (error) {
    throw new CertificateError(`${path}: the key is damaged. Copy it again`, { cause: error });
  }
}

function toPem(certificate: X509Certificate): string {
  return certificate.toString().trimEnd() + "\n";
}
