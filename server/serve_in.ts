/**
 * serve-in: takes mail from the Internet into Maildirs.
 *
 * @module
 */
import { dirname, join } from "@std/path";
import type { Config } from "../config/config.ts";
import type { StoragePlace } from "../doctor/checks/storage.ts";
import { makeDurableMailRoot } from "../maildir/maildir.ts";
import { showEndpoint } from "../net/listen.ts";
import { StorageError } from "../storage/storage_error.ts";
import { ACCOUNTS_DIRECTORY } from "./accounts_path.ts";
import { serveInAddresses, serveInEndpoints, serveInFollow, serveOutAddress } from "./addresses.ts";
import { asksDns } from "./dns_parts.ts";
import { alertGrants, type Grants, metricsGrants } from "./grants.ts";
import { certificateFiles, prepareCertificate } from "./prepare_certificate.ts";
import { dialogueThreads } from "./dialogues/count.ts";
import { dialogueGrants } from "./dialogues/grants.ts";
import { incomingDirectory, openMailboxes, requireDomains } from "./parts.ts";
import type { GrantOptions, Server } from "./server.ts";
import type { ServerPorts } from "./server_start.ts";
import { programFiles } from "./threads.ts";

export const serveIn: Server = {
  name: "serve-in",
  needsConfigFile: true,
  seesNetwork: false,
  // Messages are readable only by the service user and its group, which the mail readers are in.
  umask: 0o007,
  isConfigured: ({ serveIn }) => serveIn.domains.length > 0,
  check: requireDomains,
  directories: () => ["incoming", "tls"],
  prepare: prepareServeIn,
  addresses: serveInAddresses,
  follow: serveInFollow,
  endpoints: serveInEndpoints,
  chooseFreePorts,
  asksDns,
  grants: serveInGrants,
  usesCertificate: true,
  readFiles: certificateFiles,
  mailPlaces,
  dataPlaces: (config) => [{ name: "incoming", path: incomingDirectory(config) }],
  minFreeSpace: ({ serveIn }) => serveIn.minFreeSpace,
  unit: {
    name: "mailapp-in",
    description: "mailapp: mail from the Internet into Maildirs",
    umask: "0007",
    writable: ({ dataDir }, { mailRoot }) => [dataDir, mailRoot],
    hidden: ({ dataDir }) => ["spool", "dkim", ACCOUNTS_DIRECTORY].map((name) => join(dataDir, name)),
    // Maildirs are setgid, so that new mail belongs to the reader's group.
    settings: ["RestrictSUIDSGID=no"],
  },
  load: async () => (await import("./serve_in_server.ts")).runServeIn,
};

/** Upper bound of the mailboxes examined. */
const MAX_MAILBOXES = 1000;

/** Less room than this, in octets, for a mailbox on a file system of its own: hardly a message fits. */
const LEAST_FOR_MAILBOX = 1 << 20;

/** The directories above the Maildirs, and the existing Maildirs. */
function mailPlaces(config: Config): StoragePlace[] {
  const { minFreeSpace } = config.serveIn;
  const mailboxes = openMailboxes(config).all().slice(0, MAX_MAILBOXES);
  // Free space is checked once for each directory of Maildirs: they may be on separate file systems.
  const parents = new Set(mailboxes.map(({ path }) => dirname(path)));
  const mode = 0o2770;
  return [
    ...Array.from(parents, (path) => ({ name: "the directory of Maildirs", path, minFreeSpace, mode })),
    ...mailboxes.flatMap(({ address, path }) =>
      ["", "tmp", "new"].map((part) => ({
        name: `the Maildir of ${address}`,
        path: join(path, part),
        minFreeSpace: 0,
        mode,
      }))
    ),
    ...mailboxes.map(({ address, path }): StoragePlace => ({
      name: `the Maildir of ${address}`,
      path,
      minFreeSpace: LEAST_FOR_MAILBOX,
      mode,
      single: true,
      apartFrom: dirname(path),
    })),
  ];
}

/** What is above the Maildirs is accessible only before the start. If that fails, mail is deferred. */
async function prepareServeIn(config: Config): Promise<void> {
  await prepareCertificate(config);
  try {
    await makeDurableMailRoot(openMailboxes(config).root);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
  }
}

/** Threads that share a port must know it before: each would get another free one. */
function chooseFreePorts(config: Config): ServerPorts | undefined {
  const { port, tlsPort } = config.serveIn;
  if (dialogueThreads(config) === 1 || (port !== 0 && tlsPort !== 0)) return undefined;
  const listeners = [port, tlsPort].map((port) => port === 0 ? Deno.listen({ port }) : undefined);
  const [free, freeTls] = listeners.map((listener) => listener?.addr.port);
  for (const listener of listeners) listener?.close();
  return { port: free ?? port, tlsPort: freeTls ?? tlsPort };
}

/**
 * Its Maildirs, its ports, its certificate, the DNS servers and the filters. Of the data directory only its own part:
 * the spool and the DKIM keys belong to serve-out.
 */
function serveInGrants(config: Config, options: GrantOptions): Grants {
  const dialogues = dialogueGrants(config, options);
  const metrics = metricsGrants(config, "serve-in");
  const alerts = alertGrants(config);
  const { address, port } = serveOutAddress(config);
  return {
    ...dialogues,
    net: [
      ...dialogues.net === true ? [] : dialogues.net,
      ...metrics.net,
      ...alerts.net,
      // serve-out is probed only for alerts.
      ...(alerts.net.length > 0 && port > 0 ? [showEndpoint(address, port)] : []),
    ],
    read: [
      ...dialogues.read,
      options.configFile,
      ...metrics.read,
      ...alerts.read,
      // It starts the threads of the dialogues.
      ...(dialogueThreads(config) > 1 ? programFiles() : []),
    ],
  };
}
