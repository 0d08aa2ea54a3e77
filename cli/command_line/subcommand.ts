/**
 * What the subcommands share: how each is registered, and the options that several have.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ExitCode } from "../../server/exit_codes.ts";
import type { ServerIo } from "../../server/io.ts";
import type { ServerName } from "../../server/server_start.ts";
import { isServerName, SERVER_NAMES } from "../../server/servers.ts";

/** The value of config/load.ts, which is too large to load for commands that read no configuration. */
const DEFAULT_CONFIG_FILE = "/etc/mailapp/config.toml";

/** What a subcommand is registered with. */
export interface Registrar {
  /** The process. */
  readonly io: ServerIo;
  /** Makes an action of commander's from one that gives an exit code. */
  action<Args extends unknown[]>(
    run: (...args: Args) => Promise<ExitCode> | ExitCode,
  ): (...args: Args) => Promise<void>;
  /** The program with all its subcommands, which do nothing. */
  describeProgram(): Promise<Command>;
}

/** Registers a subcommand: name, summary, options, example, action. */
export type RegisterSubcommand = (program: Command, registrar: Registrar) => void;

/** `--config FILE`, as every command that reads the configuration has it. */
export function configOption(): Option {
  return new Option(
    "--config <file>",
    `the configuration file (default: $MAILAPP_CONFIG, else ${DEFAULT_CONFIG_FILE})`,
  ).argParser((name) => {
    if (name === "") throw new InvalidArgumentError("It is empty.");
    return name;
  });
}

/** Reads the name of a server, for an argument or an option. */
export function parseServerName(text: string): ServerName {
  if (!isServerName(text)) throw new InvalidArgumentError(`Allowed are ${SERVER_NAMES.join(", ")}.`);
  return text;
}

/** Examples at the end of a `--help`. */
export function examples(...lines: string[]): string {
  return `\nExample:\n${lines.map((line) => `  ${line}\n`).join("")}`;
}
