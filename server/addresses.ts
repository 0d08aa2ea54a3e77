/**
 * Where the servers listen.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { type ListenAddress, listenAddresses, ListenError, type NetworkIo } from "../net/interfaces.ts";
import { isIpv4, isIpv6 } from "../net/ip_address.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import type { Endpoint } from "./listeners.ts";

/**
 * Where serve-in listens.
 * @throws {CommandError} when there is no address to listen on; caused by a {@linkcode ListenError}
 */
export function serveInAddresses({ serveIn }: Config, network?: NetworkIo): readonly ListenAddress[] {
  try {
    return listenAddresses(serveIn.listen, network);
  } catch (error) {
    if (!(error instanceof ListenError)) throw error;
    const exitCode = error.mayCome ? EXIT.unavailable : EXIT.config;
    throw new CommandError(`[serve-in] ${error.message}`, exitCode, { cause: error });
  }
}

/** What serve-in follows: an interface's addresses. A list stays as it is, and a wildcard has them all. */
export function serveInFollow(
  config: Config,
): { readonly listen: string; readonly ports: readonly number[] } | undefined {
  const { serveIn: { listen }, tls: { certificate, selfSigned } } = config;
  if (typeof listen !== "string" || listen === "any" || isIpv4(listen) || isIpv6(listen)) return undefined;
  const hasCertificate = certificate !== undefined || selfSigned;
  const anywhere = [{ address: "::", tentative: false }];
  return {
    listen,
    ports: serveInEndpoints(config, { hasCertificate, addresses: anywhere }).map(({ port }) => port),
  };
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

/** What is missing that the network may still bring; `undefined` where the error is another one. */
export function awaitedAddress(error: unknown): ListenError | undefined {
  const cause = error instanceof CommandError ? error.cause : undefined;
  return cause instanceof ListenError && cause.mayCome ? cause : undefined;
}
