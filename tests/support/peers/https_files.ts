/**
 * What a peer needs to serve HTTPS as `localhost`, and its clients to trust it.
 *
 * @module
 */
import { createTestAuthority } from "../test_authority.ts";
import type { Folder } from "./folder.ts";

/** PEM files. */
export interface HttpsFiles {
  /** Of the server: its certificate for `localhost`, and the key. */
  readonly cert: string;
  readonly key: string;
  /** What clients trust it by. */
  readonly caFile: string;
}

/** Writes them into the folder; `authority` is the common name of who issues the certificate. */
export async function writeHttpsFiles(folder: Folder, authority: string): Promise<HttpsFiles> {
  const { cert: ca, issue } = await createTestAuthority(authority);
  const leaf = await issue({ names: ["localhost"] });
  return {
    cert: await folder.write("cert.pem", leaf.cert),
    key: await folder.write("key.pem", leaf.key),
    caFile: await folder.write("ca.pem", ca),
  };
}
