/**
 * What the subcommands share: how each enters the command line, and the options that several have.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ExitCode } from "../../server/exit_codes.ts";
import type { ServerIo } from "../../server/io.ts";

/** That of config/load.ts, which is much to load for commands that read no configuration. */
const DEFAULT_CONFIG_FILE = "/etc/mailapp/config.toml";

/** What a subcommand gets to enter itself. */
export interface Registrar {
  /** The process around. */
  readonly io: ServerIo;
  /** Makes an action of commander's from one that gives an exit code. */
  action<Args extends unknown[]>(
    run: (...args: Args) => Promise<ExitCode> | ExitCode,
  ): (...args: Args) => Promise<void>;
}

/** Enters a subcommand: name, summary, options, example, action. */
export type RegisterSubcommand = (program: Command, registrar: Registrar) => void;

/** `--config FILE`, as every command that reads the configuration has it. */
export function configOption(): Option {
  return new Option(
    "--config <file>",
    `the configuration file (default: $MAILAPP_CONFIG, else ${DEFAULT_CONFIG_FILE})`,
  ).argParser((name) => {
    if (name === "") throw new InvalidArgumentError("It names no file.");
    return name;
  });
}

/** The end of a `--help`: what one would type. */
export function examples(...lines: string[]): string {
  return `\nExample:\n${lines.map((line) => `  ${line}\n`).join("")}`;
}
