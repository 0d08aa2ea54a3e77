/**
 * The address of a PostgreSQL database. It is in its own file since it has a password.
 *
 * @module
 */
import { isIP } from "node:net";
import { addressScope } from "../../net/ip_address.ts";

/** The address of a database. */
export interface DatabaseUrl {
  /** Where to connect, in this order, until one may be written to; at least one. `path`: the folder of a Unix socket. */
  readonly hosts:
    readonly ({ readonly port: number } & ({ readonly host: string } | { readonly path: string }))[];
  /** The account. */
  readonly user: string;
  /** Its password; empty: none. */
  readonly password: string;
  /** The database's name. */
  readonly database: string;
  /** Whether TLS is used, with the server's certificate verified. */
  readonly tls: boolean;
}

/** The address cannot be used. The message says why, without any part of it that is secret. */
export class DatabaseUrlError extends Error {
  /** `message` says why. */
  constructor(message: string) {
    super(message);
    this.name = "DatabaseUrlError";
  }
}

const URL_PARTS =
  /^postgres(?:ql)?:\/\/([^:@/?#]{1,200})(?::([^@/?#]{0,1000}))?@([^@/?#]{0,1000})\/([^@/?#]{1,200})(?:\?([^#]{0,1000}))?$/;

/**
 * Parses `postgres://USER:PASSWORD@HOST[:PORT][,HOST…]/DATABASE[?OPTION=VALUE]`. With no host, `?host=FOLDER` names
 * the folder of a Unix socket. `?sslmode=disable` does without TLS, to loopback addresses only.
 * @throws {DatabaseUrlError}
 */
export function parseDatabaseUrl(text: string): DatabaseUrl {
  const parts = URL_PARTS.exec(text.trim());
  if (parts === null) throw new DatabaseUrlError("must be postgres://USER:PASSWORD@HOST:PORT/DATABASE");
  const [, user = "", password = "", authority = "", database = "", query = ""] = parts;
  const options = new URLSearchParams(query);
  for (const name of options.keys()) {
    if (!["host", "port", "sslmode"].includes(name)) {
      throw new DatabaseUrlError("has an option other than host, port and sslmode");
    }
  }
  const folder = options.get("host");
  if ((folder === null) === (authority === "")) {
    throw new DatabaseUrlError("must name a host, or a folder with ?host=, and not both");
  }
  if (folder !== null && !folder.startsWith("/")) {
    throw new DatabaseUrlError("must have an absolute path in ?host=");
  }
  const hosts = folder === null
    ? authority.split(",").map(parseHost)
    : [{ path: folder, port: parsePort(options.get("port") ?? "5432") }];
  const mode = options.get("sslmode") ?? "verify-full";
  if (mode !== "verify-full" && mode !== "disable") {
    throw new DatabaseUrlError("must have sslmode=verify-full or sslmode=disable");
  }
  const isLocal = hosts.every((one) => "path" in one || isLoopback(one.host));
  if (mode === "disable" && !isLocal) {
    throw new DatabaseUrlError("may have sslmode=disable only for loopback addresses and Unix sockets");
  }
  const tls = mode !== "disable" && folder === null;
  // Its client would look for another name in the certificate.
  if (tls && hosts.some((one) => "host" in one && isIP(one.host) !== 0 && !isLoopback(one.host))) {
    throw new DatabaseUrlError(
      "must name its hosts, not their addresses: the certificate is verified by the name",
    );
  }
  return {
    hosts,
    user: decoded(user),
    password: decoded(password),
    database: decoded(database),
    tls,
  };
}

function parseHost(text: string): { host: string; port: number } {
  const [, bracketed, plain, port = "5432"] =
    /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/.exec(text) ??
      [];
  const host = bracketed ?? plain;
  if (host === undefined) throw new DatabaseUrlError("has a host that is neither HOST nor HOST:PORT");
  return { host, port: parsePort(port) };
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) throw new DatabaseUrlError("has a port that is not one");
  return port;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || addressScope(host) === "loopback";
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new DatabaseUrlError("has a % that is not followed by two hexadecimal digits");
  }
}
