/**
 * `mailapp serve-out`: takes mail of local programs on loopback, and sends it where it belongs.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { DEFAULT_CONFIG_FILE, loadConfig } from "../config/load.ts";
import { addressScope } from "../net/ip_address.ts";
import type { ExitCode } from "../server/exit_codes.ts";
import { serveOutGrants } from "../server/grants.ts";
import type { ServerIo } from "../server/io.ts";
import { prepareDataDir } from "../server/parts.ts";
import { watchSignals } from "../server/signals.ts";

/** What can only be done with all permissions; then the server, which has few. */
export async function serveOut(options: { readonly config?: string }, io: ServerIo): Promise<ExitCode> {
  const signals = watchSignals(io);
  const configFile = options.config ?? (io.env.get("MAILAPP_CONFIG") || undefined);
  const config = await loadConfig(configFile, { env: io.env });
  requireLoopback(config);
  await prepareDataDir(config);
  const start = {
    server: "serve-out",
    config,
    ...(configFile !== undefined && { configFile }),
    systemHostname: Deno.hostname(),
    isTerminal: io.isTerminal,
    grants: serveOutGrants(config, { configFile: config.file ?? DEFAULT_CONFIG_FILE }),
  } as const;
  return await io.confine(start, signals);
}

/** Whoever reaches this server sends mail in its name. */
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
