/**
 * Finds certificates of certbot and Caddy on the machine.
 *
 * @module
 */
import { join } from "@std/path";
import type { Clock } from "../../base/clock.ts";
import { CertificateError, loadCertificate } from "../../tls/certificates.ts";

/** A usable pair for the server's name. */
export interface FoundCertificate {
  /** The program that manages it. */
  readonly keeper: "certbot" | "Caddy";
  readonly cert: string;
  readonly key: string;
  /** In milliseconds since 1970. */
  readonly validUntil: number;
}

/** Caddy's data directories: as a Debian service, and run by root. */
const CADDY = [
  "/var/lib/caddy/.local/share/caddy/certificates",
  "/root/.local/share/caddy/certificates",
];

/**
 * Finds the readable, unexpired certificates for this name, the best first.
 * @param root What all paths are below; empty: this machine.
 */
export async function findCertificates(
  hostname: string,
  { clock, root = "" }: { readonly clock: Clock; readonly root?: string },
): Promise<FoundCertificate[]> {
  const live = `${root}/etc/letsencrypt/live`;
  const candidates = [
    ...(await directories(live)).map((path) => ({
      keeper: "certbot" as const,
      cert: join(path, "fullchain.pem"),
      key: join(path, "privkey.pem"),
    })),
    // One directory for each authority.
    ...(await Promise.all(CADDY.map((path) => directories(root + path)))).flat().map((path) => ({
      keeper: "Caddy" as const,
      cert: join(path, hostname, `${hostname}.crt`),
      key: join(path, hostname, `${hostname}.key`),
    })),
  ];
  const found: FoundCertificate[] = [];
  for (const { keeper, cert, key } of candidates) {
    try {
      const { leaf } = await loadCertificate({ cert, key, hostname, clock });
      const validUntil = leaf.validToDate.getTime();
      if (leaf.checkHost(hostname) === undefined || validUntil <= clock.now()) continue;
      found.push({ keeper, cert, key, validUntil });
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
    }
  }
  return found.sort((a, b) => b.validUntil - a.validUntil);
}

async function directories(path: string): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(path));
    return entries.flatMap(({ name, isFile }) => isFile ? [] : [join(path, name)]);
  } catch {
    // Missing, or not readable by this account.
    return [];
  }
}
