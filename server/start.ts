/**
 * From a server's name to the running server: what takes all permissions is done here, before the server's thread has
 * few.
 *
 * @module
 */
import { DEFAULT_CONFIG_FILE, loadConfig } from "../config/load.ts";
import { findDnsServers } from "./dns_parts.ts";
import { requireConfigFile } from "./config_file.ts";
import type { ExitCode } from "./exit_codes.ts";
import type { ServerIo } from "./io.ts";
import { prepareDataDir } from "./parts.ts";
import type { ServerName, ServerStart } from "./server_start.ts";
import { SERVERS } from "./servers.ts";
import { watchSignals } from "./signals.ts";

/** Serves until it is told to stop; what the process ends with. */
export async function startServer(
  name: ServerName,
  { config: file }: { readonly config?: string },
  io: ServerIo,
): Promise<ExitCode> {
  const signals = watchSignals(io);
  const server = await SERVERS[name].load();
  const configFile = file ?? (io.env.get("MAILAPP_CONFIG") || undefined);
  const config = await loadConfig(configFile, { env: io.env });
  if (server.needsConfigFile) requireConfigFile(config, name);
  server.check(config);
  if (server.umask !== undefined) Deno.umask(server.umask);
  await prepareDataDir(config, server.directories(config));
  await server.prepare?.(config);
  const addresses = server.addresses(config);
  const dnsServers = server.asksDns?.(config) ? await findDnsServers(config) : [];
  const start: ServerStart = {
    server: name,
    unit: server.unit.name,
    config,
    ...(configFile !== undefined && { configFile }),
    systemHostname: Deno.hostname(),
    isTerminal: io.isTerminal,
    grants: server.grants(config, {
      configFile: config.file ?? DEFAULT_CONFIG_FILE,
      addresses: addresses.map(({ address }) => address),
      dnsServers,
    }),
    addresses,
    dnsServers,
    seesNetwork: server.seesNetwork,
  };
  return await io.confine(start, signals);
}
