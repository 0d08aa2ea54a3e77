/**
 * `mailapp serve-in`: takes mail from the Internet into Maildirs.
 *
 * @module
 */
import { DEFAULT_CONFIG_FILE, loadConfig } from "../config/load.ts";
import { makeMailRoot } from "../maildir/maildir.ts";
import { StorageError } from "../storage/storage_error.ts";
import { requireConfigFile } from "./command_line/config_file.ts";
import type { ExitCode } from "../server/exit_codes.ts";
import { serveInGrants } from "../server/grants.ts";
import type { ServerIo } from "../server/io.ts";
import { openMailboxes, prepareDataDir, requireDomains, serveInAddresses } from "../server/parts.ts";
import { watchSignals } from "../server/signals.ts";

/** What can only be done with all permissions; then the server, which has few. */
export async function serveIn(options: { readonly config?: string }, io: ServerIo): Promise<ExitCode> {
  const signals = watchSignals(io);
  const configFile = options.config ?? (io.env.get("MAILAPP_CONFIG") || undefined);
  const config = await loadConfig(configFile, { env: io.env });
  requireConfigFile(config, "serve-in");
  requireDomains(config);
  // Messages are for the service user and its group, which the mail readers are in; for nobody else.
  Deno.umask(0o007);
  const mailRoot = openMailboxes(config).root;
  await prepareDataDir(config, ["incoming", "tls"]);
  await prepareMailRoot(mailRoot);
  const addresses = serveInAddresses(config);
  const start = {
    server: "serve-in",
    config,
    ...(configFile !== undefined && { configFile }),
    systemHostname: Deno.hostname(),
    isTerminal: io.isTerminal,
    grants: serveInGrants(config, {
      configFile: config.file ?? DEFAULT_CONFIG_FILE,
      mailRoot,
      addresses: addresses.map(({ address }) => address),
    }),
    addresses,
  } as const;
  return await io.confine(start, signals);
}

/** A Maildir can make its root only while its parent may be touched. Where it cannot be made, mail is put off. */
async function prepareMailRoot(root: string): Promise<void> {
  try {
    await makeMailRoot(root);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
  }
}
