/**
 * `mailapp check-config`: whether the servers would start, and what they would do.
 *
 * @module
 */
import type { Command } from "commander";
import type { Config, ListenConfig } from "../config/config.ts";
import { DEFAULT_CONFIG_FILE, loadConfig } from "../config/load.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import type { Io } from "./io.ts";
import { configOption, examples, type Registrar } from "./subcommand.ts";

/** Enters the command. */
export function registerCheckConfig(program: Command, { io, action }: Registrar): void {
  program.command("check-config")
    .description("check the configuration, and say what each server would do; binds nothing")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp check-config --config ./config.toml"))
    .action(action((options: { config?: string }) => checkConfig(options, io)));
}

async function checkConfig(options: { readonly config?: string }, io: Io): Promise<ExitCode> {
  const config = await loadConfig(options.config, { env: io.env });
  const source = config.file ?? `no ${DEFAULT_CONFIG_FILE}: the defaults`;
  io.out([source, "", ...describeServeIn(config), "", ...describeServeOut(config), ""].join("\n"));
  for (const warning of config.warnings) io.out(`warning: ${warning}\n`);
  io.out("ok\n");
  return EXIT.ok;
}

function describeServeIn({ hostname, serveIn }: Config): string[] {
  if (serveIn.domains.length === 0) return ["serve-in: not configured ([serve-in] domains is empty)"];
  return [
    `serve-in as ${hostname}`,
    `  listens on ${describeListen(serveIn.listen)}, port ${serveIn.port}`,
    `  takes mail for ${serveIn.domains.join(", ")}`,
  ];
}

function describeServeOut({ hostname, serveOut }: Config): string[] {
  return [`serve-out as ${hostname}`, `  listens on ${serveOut.listen.join(", ")}, port ${serveOut.port}`];
}

function describeListen(listen: ListenConfig): string {
  return typeof listen === "string" ? listen : listen.join(", ");
}
