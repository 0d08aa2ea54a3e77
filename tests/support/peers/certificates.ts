/**
 * Certificates for the peers, made with openssl.
 *
 * @module
 */
import type { Folder } from "./folder.ts";
import { runOk } from "./process.ts";

/** A certificate and its key, as paths of PEM files. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** Makes a self-signed certificate for these names, valid for two days. */
export async function makeCertificate(folder: Folder, names: readonly string[]): Promise<CertificateFiles> {
  const files = { cert: folder.at("cert.pem"), key: folder.at("key.pem") };
  await runOk("openssl", {
    args: [
      ...[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
      ],
      ...["-subj", `/CN=${names[0]}`, "-addext", `subjectAltName=${names.map((name) => `DNS:${name}`)}`],
      ...["-keyout", files.key, "-out", files.cert],
    ],
  });
  await Deno.chmod(files.key, 0o600);
  return files;
}
