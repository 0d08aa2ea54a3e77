/**
 * Binding a port, with failures that say what to do.
 *
 * @module
 */

/** Why a port could not be bound: in use, not permitted, or no such address on this machine. */
export type BindFailure = "in-use" | "forbidden" | "not-available";

/** A port could not be bound. The message names address and port, and what to do. */
export class BindError extends Error {
  /** Which failure. */
  readonly kind: BindFailure;
  /** The exit code of sysexits.h: 69 (unavailable), or 77 (no permission) when forbidden. */
  readonly exitCode: 69 | 77;

  /** `options.cause`: the system's error. */
  constructor(kind: BindFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "BindError";
    this.kind = kind;
    this.exitCode = kind === "forbidden" ? 77 : 69;
  }
}

/**
 * Listens on one address and port; port 0 takes a free one.
 *
 * `::` takes IPv4 too where the system's `net.ipv6.bindv6only` is 0, as it is by default; then `0.0.0.0` cannot be
 * bound beside it. See `listenAddresses` for what is bound for "any".
 *
 * @throws {BindError} when the port is taken or forbidden, or the address is not (yet) one of this machine
 */
export function bind(address: string, port: number): Deno.TcpListener {
  return listen({ hostname: address, port });
}

/**
 * As {@linkcode bind}, for a port that several threads of this process listen on. They have one socket, so a connection
 * goes to whichever accepts it first: to a thread that has nothing else to do, but many at once may all go to one. No
 * other process can join them.
 *
 * @throws as {@linkcode bind}
 */
export function bindShared(address: string, port: number): Deno.TcpListener {
  // Deno has it for `deno serve --parallel`; `reusePort`, where the kernel spreads connections blindly, needs a flag.
  const shared = { hostname: address, port, loadBalanced: true };
  return listen(shared);
}

function listen(options: { readonly hostname: string; readonly port: number }): Deno.TcpListener {
  try {
    return Deno.listen(options);
  } catch (error) {
    throw explainBind(error, { address: options.hostname, port: options.port });
  }
}

/** Turns the system's error into a {@linkcode BindError}; an error that is not about the port stays as it is. */
export function explainBind(
  error: unknown,
  { address, port }: { readonly address: string; readonly port: number },
): unknown {
  const where = showEndpoint(address, port);
  if (error instanceof Deno.errors.AddrInUse) {
    return new BindError(
      "in-use",
      `cannot listen on ${where}: another program has that port. See which one with: ss -ltnp 'sport = :${port}'`,
      { cause: error },
    );
  }
  if (error instanceof Deno.errors.NotCapable) {
    return new BindError(
      "forbidden",
      `cannot listen on ${where}: outside the permissions of the running server. Restart it`,
      { cause: error },
    );
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return new BindError(
      "forbidden",
      `cannot listen on ${where}: ports below 1024 need root, or a service with the capability. mailapp install ` +
        `writes such a unit (run it again after a change of the port). To allow every account: ` +
        `sysctl net.ipv4.ip_unprivileged_port_start=${port}`,
      { cause: error },
    );
  }
  const code = (error as { code?: unknown } | null)?.code;
  if (error instanceof Deno.errors.AddrNotAvailable || code === "EADDRNOTAVAIL") {
    return new BindError(
      "not-available",
      `cannot listen on ${where}: this machine has no such address, or not yet. ` +
        `List its addresses with: ip address`,
      { cause: error },
    );
  }
  if (code === "EAFNOSUPPORT") {
    return new BindError(
      "not-available",
      `cannot listen on ${where}: ${address.includes(":") ? "IPv6" : "IPv4"} is off on this machine. ` +
        `Remove the address from \`listen\``,
      { cause: error },
    );
  }
  return error;
}

/** Whether two addresses cannot be bound side by side on one port, where `::` takes IPv4 too. */
export function excludeEachOther(a: string, b: string): boolean {
  const covers = (wide: string, narrow: string) =>
    wide === "::" || (wide === "0.0.0.0" && !narrow.includes(":"));
  return a === b || covers(a, b) || covers(b, a);
}

/** Where a server of this machine is reached that listens on an address: on loopback, if it listens on all. */
export function reachableAddress(address: string): string {
  return address === "::" ? "::1" : address === "0.0.0.0" ? "127.0.0.1" : address;
}

/** `192.0.2.1:25` or `[2001:db8::1]:25`. */
export function showEndpoint(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
