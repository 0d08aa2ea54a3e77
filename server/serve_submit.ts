/**
 * serve-submit: takes mail from users who log in, and hands it to serve-out.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import { certificateFiles, prepareCertificate } from "./prepare_certificate.ts";
import { showEndpoint } from "../net/listen.ts";
import { ACCOUNTS_DIRECTORY } from "./accounts_path.ts";
import {
  serveOutAddress,
  serveSubmitAddresses,
  serveSubmitEndpoints,
  serveSubmitFollow,
} from "./addresses.ts";
import { loginGrants } from "./login_parts.ts";
import { alertGrants, type Grants, logFile, metricsGrants, PASSWD_FILE } from "./grants.ts";
import { requireSubmission, submitDirectory } from "./parts.ts";
import type { GrantOptions, Server } from "./server.ts";

export const serveSubmit: Server = {
  name: "serve-submit",
  needsConfigFile: true,
  seesNetwork: false,
  umask: 0o077,
  isConfigured: (config) => config.serveSubmit !== undefined,
  check: requireSubmission,
  directories: ({ serveSubmit }) => [
    "submit",
    "tls",
    ...(serveSubmit?.accountsFile === undefined ? [ACCOUNTS_DIRECTORY] : []),
  ],
  addresses: serveSubmitAddresses,
  follow: serveSubmitFollow,
  endpoints: serveSubmitEndpoints,
  grants: serveSubmitGrants,
  usesCertificate: true,
  readFiles: certificateFiles,
  // All of it belongs to serve-out.
  mailPlaces: () => [],
  minFreeSpace: () => 0,
  unit: {
    name: "mailapp-submit",
    description: "mailapp: mail from authenticated users to serve-out",
    umask: "0077",
    writable: ({ dataDir }) => [dataDir],
    hidden: ({ dataDir }, { mailRoot }) => [
      ...["spool", "dkim", "incoming", "maildrop"].map((name) => join(dataDir, name)),
      mailRoot,
    ],
    settings: ["RestrictSUIDSGID=yes"],
  },
  prepare: prepareCertificate,
  load: async () => (await import("./serve_submit_server.ts")).runServeSubmit,
};

/**
 * Its ports, its certificate, the accounts, its state, and one address to connect to, serve-out's. Mail, the
 * queue and DKIM keys are not granted.
 */
function serveSubmitGrants(config: Config, { configFile, addresses }: GrantOptions): Grants {
  const { dataDir, tls: { certificate, selfSigned, acme }, mailboxes, serveSubmit } = config;
  const { address, port } = serveOutAddress(config);
  const metrics = metricsGrants(config, "serve-submit");
  const alerts = alertGrants(config);
  const logins = loginGrants(config);
  const own = [submitDirectory(config), ...(selfSigned || acme !== undefined ? [join(dataDir, "tls")] : [])];
  const ports = [serveSubmit?.port, serveSubmit?.tlsPort].filter((port) => typeof port === "number");
  return {
    net: [
      ...addresses.flatMap((address) => ports.map((port) => showEndpoint(address, port))),
      showEndpoint(address, port),
      ...metrics.net,
      ...alerts.net,
      ...logins.net,
    ],
    read: [
      ...own,
      configFile,
      ...logins.read,
      ...(certificate === undefined ? [] : [certificate.certFile, certificate.keyFile]),
      ...(mailboxes.users === "system" ? [PASSWD_FILE] : []),
      ...metrics.read,
      ...alerts.read,
    ],
    write: [...own, ...logins.write, ...logFile(config)],
    sys: [],
  };
}
