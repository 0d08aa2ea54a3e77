/**
 * The client's side of TLS, verified or not.
 *
 * A relay prefers any TLS over none (RFC 7435), which is why a certificate that does not verify must not end the
 * handshake; what was wrong with it is told instead.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { connect, type ConnectionOptions } from "node:tls";
import type { TlsInfo } from "../net/transport.ts";
import type { Transport } from "../net/transport.ts";
import { handshake, TlsError, tlsInfo, TlsTransport, TransportStream } from "./tls_transport.ts";

/** Whom the client expects, and how strictly. */
export interface ClientUpgradeOptions {
  /** The server's host name, sent as SNI and compared with the certificate; an address literal is only compared. */
  readonly servername: string;
  /** Whether a certificate that does not verify, or is for another name, ends the handshake. */
  readonly verify: boolean;
  /** Trusted authorities as PEM, instead of those that came with Deno or, by `DENO_TLS_CA_STORE`, the system. */
  readonly ca?: string | readonly string[];
}

/** What the client learned of the server. */
export interface ClientTlsInfo extends TlsInfo {
  /** Whether the certificate verified, for this very name. */
  readonly authorized: boolean;
  /** Why not: the code or text of the library, such as `CERT_HAS_EXPIRED`. */
  readonly authorizationError?: string;
  /** The server's own certificate, DER; absent when it sent none. */
  readonly peerCertificate?: Uint8Array;
  /** All certificates that it sent, DER, its own first; at most 10. */
  readonly peerChain?: readonly Uint8Array[];
}

/**
 * Turns a plain connection into one over TLS, as the client, within the plain transport's deadline.
 *
 * When it rejects, the plain transport is closed; for plaintext instead, connect again.
 *
 * @throws {DeadlineError} when the server was silent
 * @throws {ConnectionError} when the connection broke
 * @throws {TlsError} when the handshake failed, or, with `verify`, the certificate did; `code` says which
 */
export async function clientUpgrade(
  plain: Transport,
  { servername, verify, ca }: ClientUpgradeOptions,
): Promise<{ transport: Transport; tls: ClientTlsInfo }> {
  const host = servername.replace(/^\[(?:IPv6:)?(.*)\]$/is, "$1").replace(/\.$/, "");
  const stream = new TransportStream(plain);
  const socket = connect({
    socket: stream,
    host,
    // SNI carries names only (RFC 6066 §3).
    servername: isIP(host) ? "" : host,
    // Never by the library, which would tell less about why; judged below, before a byte is sent.
    rejectUnauthorized: false,
    minVersion: "TLSv1.2",
    ...(ca === undefined ? {} : { ca: typeof ca === "string" ? ca : [...ca] }),
  } as ConnectionOptions);
  try {
    await handshake(socket, stream, "secureConnect");
  } catch (error) {
    throw verify ? error : actualReason(error);
  }
  const certificate = socket.getPeerX509Certificate();
  const problem = socket.authorized ? undefined : describe(socket.authorizationError, certificate);
  if (verify && problem !== undefined) {
    socket.destroy();
    stream.destroy();
    throw new TlsError(`certificate not accepted for ${host}: ${problem}`, { code: problem });
  }
  return {
    transport: new TlsTransport(plain, { stream, socket }),
    tls: {
      ...tlsInfo(socket, isIP(host) ? undefined : host),
      authorized: socket.authorized,
      ...(problem === undefined ? {} : { authorizationError: problem }),
      ...(certificate
        ? { peerCertificate: new Uint8Array(certificate.raw), peerChain: chainFrom(certificate) }
        : {}),
    },
  };
}

const MAX_CHAIN = 10;

function chainFrom(certificate: X509Certificate): Uint8Array[] {
  const chain: Uint8Array[] = [];
  for (
    let next: X509Certificate | undefined = certificate;
    next !== undefined && chain.length < MAX_CHAIN;
    next = next.issuerCertificate
  ) chain.push(new Uint8Array(next.raw));
  return chain;
}

// What the library says of a certificate that it does not trust, which ends no handshake here.
const UNTRUSTED = /^(?:CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT_)/;

/**
 * Where the server's proof that it has the key does not hold, or the key is of a kind that the library does not take, it
 * reports what else it found: that the certificate is not trusted.
 */
function actualReason(error: unknown): unknown {
  if (!(error instanceof TlsError) || !UNTRUSTED.test(error.code ?? "")) return error;
  return new TlsError(
    "TLS handshake failed: the key of the server's certificate is not one that can be used here, " +
      "such as RSA with less than 2048 bits",
    { code: "UNUSABLE_KEY", cause: error },
  );
}

function describe(problem: unknown, certificate: X509Certificate | undefined): string {
  // The library says of an expired certificate only that it does not verify.
  if (certificate && certificate.validToDate.getTime() < Date.now()) return "CERT_HAS_EXPIRED";
  if (problem instanceof Error) return (problem as { code?: string }).code ?? problem.message;
  return String(problem ?? "no reason given");
}
