/**
 * serve-out: takes mail of local programs on loopback, and relays it.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { addressScope } from "../net/ip_address.ts";
import { ACCOUNTS_DIRECTORY } from "./accounts_path.ts";
import { serveOutEndpoints } from "./addresses.ts";
import { intakeThreads } from "./dialogues/count.ts";
import { dkimDirectories } from "./dkim_directories.ts";
import { RESOLV_CONF } from "./dns_parts.ts";
import { alertGrants, type Grants, isWithin, logFile, metricsGrants, PASSWD_FILE } from "./grants.ts";
import { queueGrants } from "./queue_grants.ts";
import type { GrantOptions, Server } from "./server.ts";
import type { ServerPorts } from "./server_start.ts";
import { programFiles } from "./threads.ts";

export const serveOut: Server = {
  name: "serve-out",
  needsConfigFile: false,
  seesNetwork: true,
  isConfigured: () => true,
  check: (config) => {
    requireLoopback(config);
    requireSpool(config);
  },
  directories: () => [],
  addresses: ({ serveOut }) => serveOut.listen.map((address) => ({ address, tentative: false })),
  endpoints: serveOutEndpoints,
  chooseFreePorts,
  grants: serveOutGrants,
  readFiles: ({ dkim, queue, serveOut }) => [
    ...(queue.store === "spool" ? [] : [{ name: "[queue] url_file", path: queue.urlFile }]),
    ...Object.entries(dkim).flatMap(([domain, keys]) =>
      keys.map(({ keyFile }) => ({ name: `[dkim] ${JSON.stringify(domain)}`, path: keyFile }))
    ),
    ...Object.entries(serveOut.routes).flatMap(([name, { login }]) =>
      login === undefined
        ? []
        : [{ name: `[serve-out.routes] ${JSON.stringify(name)} password_file`, path: login.passwordFile }]
    ),
  ],
  // All its files are in data_dir.
  mailPlaces: () => [],
  dataPlaces: ({ dataDir }) => [{ name: "the spool", path: join(dataDir, "spool") }],
  minFreeSpace: ({ serveOut }) => serveOut.minFreeSpace,
  unit: {
    name: "mailapp-out",
    description: "mailapp: mail from local programs to the Internet",
    umask: "0077",
    writable: ({ dataDir }) => [dataDir],
    hidden: ({ dataDir, file = "", serveIn }, { mailRoot }) => {
      const nested = isWithin(dataDir, mailRoot) || isWithin(file, mailRoot);
      const others = ["incoming", ACCOUNTS_DIRECTORY].map((name) => join(dataDir, name));
      return [...others, ...(serveIn.domains.length === 0 || nested ? [] : [mailRoot])];
    },
    settings: ["RestrictSUIDSGID=yes"],
  },
  load: async () => (await import("./serve_out_server.ts")).runServeOut,
};

/** Any client that reaches this server can send mail in its name. */
function requireLoopback({ file, serveOut }: Config): void {
  const open = serveOut.listen.filter((address) => addressScope(address) !== "loopback");
  if (open.length === 0) return;
  throw new ConfigError(file, [{
    key: "serve-out.listen",
    value: JSON.stringify(open),
    problem:
      'must be loopback addresses, such as ["127.0.0.1", "::1"]: whoever reaches serve-out can send mail',
  }]);
}

/** Threads write files of the spool. */
function requireSpool({ file, serveOut: { threads }, queue }: Config): void {
  if (threads === "auto" || threads === 1 || queue.store === "spool") return;
  throw new ConfigError(file, [{
    key: "serve-out.threads",
    value: String(threads),
    problem:
      `must be 1 or "auto" with [queue] store = "${queue.store}": only the spool takes mail in several threads`,
  }]);
}

/** Threads that share a port must know it before: each would get another free one. */
function chooseFreePorts(config: Config): ServerPorts | undefined {
  if (intakeThreads(config) === 1 || config.serveOut.port !== 0) return undefined;
  using listener = Deno.listen({ port: 0 });
  return { port: listener.addr.port, tlsPort: false };
}

/** Its data directory, its secrets, and the whole network, as its targets may be anywhere. */
function serveOutGrants(config: Config, { configFile }: GrantOptions): Grants {
  const { dataDir, dns, serveOut } = config;
  const queue = queueGrants(config);
  const passwords = Object.values(serveOut.routes).flatMap(({ login }) => login?.passwordFile ?? []);
  return {
    net: true,
    read: [
      dataDir,
      configFile,
      ...passwords,
      ...dkimDirectories(config),
      ...(dns.servers.length === 0 ? [RESOLV_CONF] : []),
      // To find the owner of a message in the maildrop.
      PASSWD_FILE,
      ...metricsGrants(config, "serve-out").read,
      ...alertGrants(config).read,
      ...queue.read,
      // It starts the threads of the dialogues.
      ...(intakeThreads(config) > 1 ? programFiles() : []),
    ],
    write: [dataDir, ...logFile(config), ...queue.write],
    sys: ["networkInterfaces", "osUptime", "statfs", "uid", "umask"],
    ...(queue.env && { env: queue.env }),
  };
}
