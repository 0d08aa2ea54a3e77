/**
 * Where the servers listen.
 *
 * @module
 */
import type { Config, ListenConfig } from "../config/config.ts";
import { type ListenAddress, listenAddresses, ListenError, type NetworkIo } from "../net/interfaces.ts";
import { isIpv4, isIpv6 } from "../net/ip_address.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import type { Endpoint } from "./listeners.ts";

/**
 * Where serve-in listens.
 * @throws {CommandError} when there is no address to listen on; caused by a {@linkcode ListenError}
 */
export function serveInAddresses({ serveIn }: Config, network?: NetworkIo): readonly ListenAddress[] {
  return addressesOf("serve-in", serveIn.listen, network);
}

/**
 * Where serve-submit listens; nowhere without its table.
 * @throws as {@linkcode serveInAddresses}
 */
export function serveSubmitAddresses({ serveSubmit }: Config, network?: NetworkIo): readonly ListenAddress[] {
  return serveSubmit === undefined ? [] : addressesOf("serve-submit", serveSubmit.listen, network);
}

function addressesOf(
  table: string,
  listen: ListenConfig,
  network: NetworkIo | undefined,
): readonly ListenAddress[] {
  try {
    return listenAddresses(listen, network);
  } catch (error) {
    if (!(error instanceof ListenError)) throw error;
    const exitCode = error.mayAppear ? EXIT.unavailable : EXIT.config;
    throw new CommandError(`[${table}] ${error.message}`, exitCode, { cause: error });
  }
}

/** Whether it names an interface, whose addresses may change. */
function isFollowed(listen: ListenConfig): listen is string {
  return typeof listen === "string" && listen !== "any" && !isIpv4(listen) && !isIpv6(listen);
}

/** What serve-in follows: an interface's addresses. A list is fixed, and a wildcard covers all of them. */
export function serveInFollow(
  config: Config,
): { readonly listen: string; readonly ports: readonly number[] } | undefined {
  const { serveIn: { listen }, tls: { certificate, selfSigned } } = config;
  if (!isFollowed(listen)) return undefined;
  const hasCertificate = certificate !== undefined || selfSigned;
  const anywhere = [{ address: "::", tentative: false }];
  return {
    listen,
    ports: serveInEndpoints(config, { hasCertificate, addresses: anywhere }).map(({ port }) => port),
  };
}

/** The ports of serve-in on these addresses. */
export function serveInEndpoints(
  { serveIn: { port, tlsPort } }: { readonly serveIn: Pick<Config["serveIn"], "port" | "tlsPort"> },
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

/** What serve-submit follows, as {@linkcode serveInFollow}. */
export function serveSubmitFollow(
  config: Config,
): { readonly listen: string; readonly ports: readonly number[] } | undefined {
  const { serveSubmit } = config;
  if (serveSubmit === undefined || !isFollowed(serveSubmit.listen)) return undefined;
  const anywhere = [{ address: "::", tentative: false }];
  return {
    listen: serveSubmit.listen,
    ports: serveSubmitEndpoints(config, { addresses: anywhere }).map(({ port }) => port),
  };
}

/** The ports of serve-submit on these addresses, the one with implicit TLS first. */
export function serveSubmitEndpoints(
  { serveSubmit }: Config,
  { addresses }: { readonly addresses: readonly ListenAddress[] },
): Endpoint[] {
  const { port = false, tlsPort = false } = serveSubmit ?? {};
  const on = (port: number | false, tls: Endpoint["tls"]) =>
    port === false ? [] : addresses.map((where): Endpoint => ({ ...where, port, tls }));
  return [...on(tlsPort, "implicit"), ...on(port, "starttls")];
}

/**
 * Where serve-policy listens; nowhere without its table.
 * @throws as {@linkcode serveInAddresses}
 */
export function servePolicyAddresses({ servePolicy }: Config, network?: NetworkIo): readonly ListenAddress[] {
  return servePolicy === undefined ? [] : addressesOf("serve-policy", servePolicy.listen, network);
}

/** What serve-policy follows, as {@linkcode serveInFollow}. */
export function servePolicyFollow(
  { servePolicy }: Config,
): { readonly listen: string; readonly ports: readonly number[] } | undefined {
  if (servePolicy === undefined || !isFollowed(servePolicy.listen)) return undefined;
  return { listen: servePolicy.listen, ports: [servePolicy.port] };
}

/** The port of serve-policy on these addresses. */
export function servePolicyEndpoints(
  { servePolicy }: Config,
  { addresses }: { readonly addresses: readonly ListenAddress[] },
): Endpoint[] {
  if (servePolicy === undefined) return [];
  const { port } = servePolicy;
  return addresses.map((where): Endpoint => ({ ...where, port, tls: "implicit" }));
}

/** Where serve-out is found. */
export function serveOutAddress({ serveOut: { listen, port } }: Config): {
  readonly address: string;
  readonly port: number;
} {
  return { address: listen[0] ?? "127.0.0.1", port };
}

/** The ports of serve-out on these addresses. */
export function serveOutEndpoints(
  { serveOut: { port } }: { readonly serveOut: Pick<Config["serveOut"], "port"> },
  { addresses }: { readonly addresses: readonly ListenAddress[] },
): Endpoint[] {
  return addresses.map(({ address, tentative }) => ({ address, port, tls: "off", tentative }));
}

/** What is missing that the network may still bring; `undefined` where the error is another one. */
export function awaitedAddress(error: unknown): ListenError | undefined {
  const cause = error instanceof CommandError ? error.cause : undefined;
  return cause instanceof ListenError && cause.mayAppear ? cause : undefined;
}
