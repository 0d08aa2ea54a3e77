/**
 * A certificate authority for tests and the self-test: makes leaf certificates for names, dates and failures of choice.
 *
 * @module
 */

/** What a test wants in a leaf. */
export interface LeafOptions {
  /** Subject alternative names: DNS names, or addresses written without brackets. */
  readonly names: readonly string[];
  /** Start of validity; an hour ago unless told. */
  readonly notBefore?: Date;
  /** End of validity; in a day unless told. */
  readonly notAfter?: Date;
}

/** A certificate chain and its key, both PEM. */
export interface Leaf {
  /** The leaf, then the authority. */
  readonly cert: string;
  /** PKCS #8. */
  readonly key: string;
}

/** A certificate authority that only the test trusts. */
export interface TestAuthority {
  /** The authority's own certificate, PEM. */
  readonly cert: string;
  /** Issues a leaf. */
  issue(options: LeafOptions): Promise<Leaf>;
  /** Issues a leaf for the key of a certificate signing request (DER), as PEM with the authority behind it. */
  certify(request: Uint8Array<ArrayBuffer>, options: LeafOptions): Promise<string>;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY = 86_400_000;

/** Makes an authority with a fresh key. */
export async function createTestAuthority(name = "mailapp test authority"): Promise<TestAuthority> {
  // In this order, which `deno bundle` does not keep for import declarations.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const issuer = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const now = Date.now();
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    notBefore: new Date(now - DAY),
    notAfter: new Date(now + 30 * DAY),
    keys: issuer,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  const cert = authority.toString("pem") + "\n";
  const sign = async (publicKey: CryptoKey, options: LeafOptions) => {
    const { names, notBefore = new Date(now - DAY / 24), notAfter = new Date(now + DAY) } = options;
    const leaf = await x509.X509CertificateGenerator.create({
      subject: `CN=${names[0]}`,
      issuer: authority.subject,
      notBefore,
      notAfter,
      publicKey,
      signingKey: issuer.privateKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(
          names.map((name) => ({
            type: /^[\d.]+$|:/.test(name) ? "ip" as const : "dns" as const,
            value: name,
          })),
        ),
        await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      ],
    });
    return leaf.toString("pem") + "\n" + cert;
  };
  return {
    cert,
    async issue(options) {
      const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
      const key = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
      return {
        cert: await sign(keys.publicKey, options),
        key: x509.PemConverter.encode(key, "PRIVATE KEY") + "\n",
      };
    },
    async certify(request, options) {
      return await sign(await new x509.Pkcs10CertificateRequest(request).publicKey.export(), options);
    },
  };
}
