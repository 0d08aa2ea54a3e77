/**
 * The server's side of TLS: for STARTTLS (RFC 3207) and for the port that starts with it (RFC 8314).
 *
 * @module
 */
import { type SecureContext, TLSSocket } from "node:tls";
import type { UpgradeToTls } from "../net/transport.ts";
import { handshake, tlsInfo, TlsTransport, TransportStream } from "./tls_transport.ts";

/** What the upgrade needs. */
export interface ServerUpgradeOptions {
  /** Holds the certificate and key of now; asked again at each handshake, so that a renewed one counts at once. */
  readonly certificates: { readonly secureContext: SecureContext };
}

/**
 * Makes the function that turns a plain connection into one over TLS, as the server.
 *
 * The handshake is over by the plain transport's deadline, or fails. Whatever was read from the plain transport
 * before is not handed on: with STARTTLS, the caller must have dropped it (CVE-2011-0411). When it rejects, the plain
 * transport is closed: with a `DeadlineError` when the client was silent, a `ConnectionError` when it went away, a
 * `TlsError` when it did not speak TLS or found no common version (1.2 or 1.3) and cipher.
 *
 * @example
 * ```ts ignore
 * const upgrade = serverUpgrade({ certificates });
 * plain.deadline = clock.now() + 30_000;
 * const { transport, tls } = await upgrade(plain);
 * ```
 */
export function serverUpgrade({ certificates }: ServerUpgradeOptions): UpgradeToTls {
  return async (plain) => {
    const stream = new TransportStream(plain);
    const socket = new TLSSocket(
      stream,
      {
        isServer: true,
        secureContext: certificates.secureContext,
        // Replies to what came before the client's close_notify still go out.
        allowHalfOpen: true,
      } as ConstructorParameters<typeof TLSSocket>[1],
    );
    await handshake(socket, stream, "secure");
    const { servername } = socket as TLSSocket & { servername?: string | false | null };
    return { transport: new TlsTransport(plain, { stream, socket }), tls: tlsInfo(socket, servername) };
  };
}
