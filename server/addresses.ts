/**
 * Where the servers listen.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { type ListenAddress, listenAddresses, ListenError, type NetworkIo } from "../net/interfaces.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import type { Endpoint } from "./listeners.ts";

/**
 * Where serve-in listens.
 * @throws {CommandError} when there is no address to listen on
 */
export function serveInAddresses({ serveIn }: Config, network?: NetworkIo): readonly ListenAddress[] {
  try {
    return listenAddresses(serveIn.listen, network);
  } catch (error) {
    if (!(error instanceof ListenError)) throw error;
    throw new CommandError(`[serve-in] ${error.message}`, EXIT.config, { cause: error });
  }
}

/** The ports of serve-in on these addresses. */
export function serveInEndpoints(
  { serveIn: { port, tlsPort } }: Config,
  { hasCertificate, addresses }: {
    readonly hasCertificate: boolean;
    readonly addresses: readonly ListenAddress[];
  },
): Endpoint[] {
  return [
    ...addresses.map(({ address, tentative }): Endpoint => ({
      address,
      port,
      tls: hasCertificate ? "starttls" : "off",
      tentative,
    })),
    ...addresses.flatMap(({ address, tentative }): Endpoint[] =>
      hasCertificate && tlsPort !== false ? [{ address, port: tlsPort, tls: "implicit", tentative }] : []
    ),
  ];
}

/** The ports of serve-out on these addresses. */
export function serveOutEndpoints(
  { serveOut: { port } }: Config,
  { addresses }: { readonly addresses: readonly ListenAddress[] },
): Endpoint[] {
  return addresses.map(({ address, tentative }) => ({ address, port, tls: "off", tentative }));
}
