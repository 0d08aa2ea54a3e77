/**
 * What a server may touch once it runs, and what a new configuration needs beyond that.
 *
 * @module
 */
import type { Config, EndpointConfig } from "../config/config.ts";
import { showEndpoint } from "../net/listen.ts";
import type { ServerName } from "./server_start.ts";

/** What a thread may touch. Libraries and imports are never granted. */
export interface Grants {
  /** `true`: every address; else addresses with ports, to listen on and to connect to. */
  readonly net: true | readonly string[];
  /** Files, and directories with their contents, including the targets of symbolic links. */
  readonly read: readonly string[];
  /** As `read`. */
  readonly write: readonly string[];
  /** System information, by Deno's names. */
  readonly sys: readonly string[];
  /** Programs that it may run; absent: none. No server has any. */
  readonly run?: readonly string[];
  /** Variables of the environment; absent: none. */
  readonly env?: readonly string[];
}

/** The file that `users = "system"` reads. */
export const PASSWD_FILE = "/etc/passwd";

/** The grants for the filters: a connection to each of them, and nothing else. */
export function filterGrants(
  { serveIn: { checks: { filters } } }: Config,
): { net: string[]; read: string[]; write: string[] } {
  const sockets = filters.flatMap((filter) => "path" in filter ? [filter.path] : []);
  return {
    net: filters.map((filter) =>
      "path" in filter ? `unix:${filter.path}` : showEndpoint(filter.host, filter.port)
    ),
    // A Unix socket is connected to by reading and writing its path.
    read: sockets,
    write: sockets,
  };
}

/** Where a server exposes its metrics, if it does. */
export function metricsEndpoint({ metrics }: Config, server: ServerName): EndpointConfig | undefined {
  return {
    "serve-in": metrics.serveIn,
    "serve-out": metrics.serveOut,
    "serve-submit": metrics.serveSubmit,
    "serve-policy": metrics.servePolicy,
  }[server];
}

/** The grants for exposing metrics. */
export function metricsGrants(config: Config, server: ServerName): { net: string[]; read: string[] } {
  const endpoint = metricsEndpoint(config, server);
  const { tokenFile } = config.metrics;
  if (endpoint === undefined) return { net: [], read: [] };
  return {
    net: [showEndpoint(endpoint.address, endpoint.port)],
    read: tokenFile === undefined ? [] : [tokenFile],
  };
}

/** The grants for sending alerts. */
export function alertGrants({ alerts: { webhook, mail } }: Config): { net: string[]; read: string[] } {
  const { hostname = "", port = "", protocol = "" } = webhook === undefined ? {} : new URL(webhook.url);
  const defaultPort = protocol === "https:" ? "443" : "80";
  return {
    net: [
      ...(webhook === undefined ? [] : [`${hostname}:${port || defaultPort}`]),
      ...(mail === undefined ? [] : [showEndpoint(mail.host, mail.port)]),
    ],
    read: [webhook?.tokenFile, webhook?.secretFile, mail?.passwordFile].filter((path) => path !== undefined),
  };
}

/** The first of these files that the grants do not let the server read, if there is one. */
export function unreadable({ read }: Grants, files: readonly string[]): string | undefined {
  return files.find((file) => !read.some((granted) => isWithin(file, granted)));
}

/** The first of these endpoints that the grants do not let the server connect to, if there is one. */
export function unreachable({ net }: Grants, endpoints: readonly string[]): string | undefined {
  return net === true ? undefined : endpoints.find((endpoint) => !net.includes(endpoint));
}

/** Whether a path is this directory, or in it. */
export function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory.endsWith("/") ? directory : `${directory}/`);
}

/** The log's file, if it has one. */
export function logFile({ log }: Config): string[] {
  return log.file === undefined ? [] : [log.file];
}
