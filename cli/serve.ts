/**
 * The servers on the command line, such as `mailapp serve-in`.
 *
 * @module
 */
import type { Command } from "commander";
import { seedInBackground } from "../tls/seed.ts";
import type { ServerName } from "../server/server_start.ts";
import { SERVERS } from "../server/servers.ts";
import { configOption, examples, type Registrar } from "./command_line/subcommand.ts";

/** Registers the subcommand of a server. */
export function registerServer(
  program: Command,
  { name, io, action }: Registrar & { readonly name: ServerName },
): void {
  program.command(name)
    .description(SERVERS[name].summary)
    .addOption(configOption())
    .addHelpText("after", examples(`mailapp ${name} --config /etc/mailapp/config.toml`))
    .action(action(async (options: { config?: string }) => {
      seedInBackground();
      const { startServer } = await import("../server/start.ts");
      return await startServer(name, options, io);
    }));
}
