/**
 * What may be typed after `mailapp`, for completion by a shell.
 *
 * @module
 */
import type { Argument, Command, Option } from "commander";
import { SERVER_NAMES } from "../../server/servers.ts";

/** The values of an option or an argument: some words, files, directories, or anything. */
export type Values = readonly string[] | "file" | "directory" | "any";

/** A word with what it is for. */
export interface DescribedWord {
  readonly word: string;
  readonly description: string;
}

/** An option of a command. */
export interface CompletedOption {
  /** As typed, such as `-V` and `--version`. */
  readonly names: readonly string[];
  readonly description: string;
  /** Absent if it takes none. */
  readonly values?: Values;
}

/** A command with all that may come after it. */
export interface CompletedCommand {
  /** The words after `mailapp`, such as `queue list`; empty for `mailapp` itself. */
  readonly path: string;
  readonly subcommands: readonly DescribedWord[];
  readonly options: readonly CompletedOption[];
  /** Of its arguments, all in one. */
  readonly values?: Values;
}

/** All commands, each before its subcommands. */
export function completedCommands(program: Command): CompletedCommand[] {
  const found: CompletedCommand[] = [];
  const visit = (command: Command, path: string) => {
    const commands = command.commands as Command[];
    const subcommands = commands.map((sub) => ({ word: sub.name(), description: sub.description() }));
    const [first] = command.registeredArguments;
    const help = command.createHelp();
    found.push({
      path,
      subcommands: path === "" ? [...subcommands, { word: "help", description: "show help" }] : subcommands,
      options: help.visibleOptions(command).map(completedOption),
      ...(first && { values: valuesOfArgument(first) }),
    });
    for (const sub of commands) visit(sub, `${path} ${sub.name()}`.trim());
  };
  visit(program, "");
  return found;
}

function completedOption(option: Option): CompletedOption {
  const { short, long, description, required, optional, argChoices, flags } = option;
  const names = [short, long].filter((name) => name !== undefined && name !== null);
  if (!required && !optional) return { names, description };
  const [, name = ""] = /[<[](\w[\w-]*)/.exec(flags) ?? [];
  return { names, description, values: argChoices ?? valuesNamed(name) };
}

function valuesOfArgument(argument: Argument): Values {
  return argument.argChoices ?? valuesNamed(argument.name());
}

function valuesNamed(name: string): Values {
  if (name === "file") return "file";
  if (name === "directory") return "directory";
  return name === "server" ? SERVER_NAMES : "any";
}
