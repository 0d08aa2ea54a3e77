/**
 * serve-policy: serves the MTA-STS policy of our domains over HTTPS.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import { showEndpoint } from "../net/listen.ts";
import { ACCOUNTS_DIRECTORY } from "./accounts_path.ts";
import { servePolicyAddresses, servePolicyEndpoints, servePolicyFollow } from "./addresses.ts";
import { type Grants, logFile, metricsGrants } from "./grants.ts";
import { requirePolicy } from "./policy_parts.ts";
import type { GrantOptions, Server } from "./server.ts";
import { certificateFiles, prepareCertificate } from "./prepare_certificate.ts";

export const servePolicy: Server = {
  name: "serve-policy",
  needsConfigFile: true,
  seesNetwork: false,
  umask: 0o077,
  isConfigured: (config) => config.servePolicy !== undefined,
  check: requirePolicy,
  directories: () => ["tls"],
  addresses: servePolicyAddresses,
  follow: servePolicyFollow,
  endpoints: servePolicyEndpoints,
  grants: servePolicyGrants,
  usesCertificate: true,
  readFiles: certificateFiles,
  // It stores nothing.
  mailPlaces: () => [],
  minFreeSpace: () => 0,
  unit: {
    name: "mailapp-policy",
    description: "mailapp: the MTA-STS policy of our domains, over HTTPS",
    umask: "0077",
    writable: ({ dataDir }) => [dataDir],
    hidden: ({ dataDir }, { mailRoot }) => [
      ...["spool", "dkim", "incoming", "maildrop", "submit", "acme", ACCOUNTS_DIRECTORY].map((name) =>
        join(dataDir, name)
      ),
      mailRoot,
    ],
    settings: ["RestrictSUIDSGID=yes"],
  },
  prepare: prepareCertificate,
  load: async () => (await import("./serve_policy_server.ts")).runServePolicy,
};

/** Its port, its certificate, and the configuration for a reload. It writes only its log, and sends no queries. */
function servePolicyGrants(config: Config, { configFile, addresses }: GrantOptions): Grants {
  const { dataDir, tls: { certificate, acme }, servePolicy } = config;
  const metrics = metricsGrants(config, "serve-policy");
  return {
    net: [
      ...(servePolicy === undefined
        ? []
        : addresses.map((address) => showEndpoint(address, servePolicy.port))),
      ...metrics.net,
    ],
    read: [
      configFile,
      ...(acme === undefined ? [] : [join(dataDir, "tls")]),
      ...(certificate === undefined ? [] : [certificate.certFile, certificate.keyFile]),
      ...metrics.read,
    ],
    write: logFile(config),
    sys: [],
  };
}
