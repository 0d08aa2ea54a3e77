/**
 * The manual pages of the commands, from the texts of `--help`.
 *
 * @module
 */
import type { Argument, Command, Option } from "commander";
import { EXIT } from "../../server/exit_codes.ts";
import { bold, italic, paragraph, roffText, section, subsection, tagged, title, verbatim } from "./roff.ts";

/** What all pages have in common. */
export interface PageOptions {
  readonly version: string;
  /** As YYYY-MM-DD. */
  readonly date: string;
}

/** A page of the manual. */
export interface ManualPage {
  /** As the file, such as `mailapp-queue.1`. */
  readonly file: string;
  readonly text: string;
}

const MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: "success",
  usage: "the command line is wrong",
  data: "the input is wrong",
  noInput: "an input file is missing or cannot be read",
  unavailable: "something required is unavailable, such as a port or a server; or a check has failed",
  software: "a defect in the program",
  tryAgain: "a temporary failure; try again later",
  noPermission: "the account may not do this",
  config: "the configuration is wrong",
};

/** mailapp(1), and a page for each command. */
export function commandPages(program: Command, options: PageOptions): ManualPage[] {
  const commands = program.commands as Command[];
  const overview = [
    title({ name: "mailapp", number: 1, ...options }),
    section("Name"),
    `mailapp \\- ${roffText("mail server in one program: receives, relays, takes submissions")}\n`,
    section("Synopsis"),
    paragraph(`${bold("mailapp")} ${italic("command")} [${italic("option")} ...]`),
    section("Description"),
    paragraph(roffText(program.description())),
    afterHelp(program),
    section("Commands"),
    ...commands.map((command) =>
      tagged(`${bold(`mailapp-${command.name()}`)}(1)`, sentence(command.description()))
    ),
    section("Options"),
    ...optionsOf(program),
    section("Files"),
    tagged(italic("/etc/mailapp/config.toml"), `The configuration; see ${bold("mailapp.toml")}(5).`),
    tagged(italic("/var/lib/mailapp"), `The queue, state and keys; see ${bold("mailapp-queue")}(5).`),
    tagged(italic("/var/mail"), "The Maildirs."),
    section("Environment"),
    tagged(bold("MAILAPP_CONFIG"), "The configuration file, where no option names one."),
    tagged(bold("NO_COLOR"), "Not empty: no colours on a terminal."),
    exitStatus(),
    section("See also"),
    paragraph(
      `${bold("mailapp.toml")}(5), ${bold("mailapp-queue")}(5), ${bold("systemctl")}(1), ` +
        `${italic("/usr/share/doc/mailapp/README.md")}`,
    ),
  ];
  return [
    { file: "mailapp.1", text: overview.join("") },
    ...commands.map((command) => ({
      file: `mailapp-${command.name()}.1`,
      text: commandPage(command, options),
    })),
  ];
}

function commandPage(command: Command, options: PageOptions): string {
  const name = `mailapp-${command.name()}`;
  const subcommands = command.commands as Command[];
  return [
    title({ name, number: 1, ...options }),
    section("Name"),
    `${roffText(name)} \\- ${roffText(command.description())}\n`,
    section("Synopsis"),
    ...(subcommands.length === 0 || command.options.length > 0 ? [synopsis(command)] : []),
    ...subcommands.map(synopsis),
    section("Description"),
    paragraph(sentence(command.description())),
    ...argumentsOf(command),
    afterHelp(command),
    ...(subcommands.length === 0 || command.options.length > 0
      ? [section("Options"), ...optionsOf(command)]
      : []),
    ...(subcommands.length === 0 ? [] : [section("Commands"), ...subcommands.flatMap(subcommandPart)]),
    exitStatus(),
    section("See also"),
    paragraph(`${bold("mailapp")}(1), ${bold("mailapp.toml")}(5)`),
  ].join("");
}

function subcommandPart(command: Command): string[] {
  return [
    subsection(pathOf(command)),
    paragraph(sentence(command.description())),
    ...argumentsOf(command),
    ...optionsOf(command),
    afterHelp(command),
  ];
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

function synopsis(command: Command): string {
  return paragraph(`${bold(pathOf(command))} ${roffText(command.usage())}`);
}

function argumentsOf(command: Command): string[] {
  const help = command.createHelp();
  return command.registeredArguments.filter(({ description }) => description !== "").map((
    argument: Argument,
  ) => tagged(italic(argument.name()), sentence(help.argumentDescription(argument))));
}

function optionsOf(command: Command): string[] {
  const help = command.createHelp();
  return help.visibleOptions(command).map((option: Option) =>
    tagged(bold(help.optionTerm(option)), sentence(help.optionDescription(option)))
  );
}

/** What stands below the options in `--help`: its examples as they are, all else as text. */
function afterHelp(command: Command): string {
  let whole = "";
  command.configureOutput({ writeOut: (text) => whole += text }).outputHelp();
  const after = whole.slice(command.helpInformation().length);
  return after.split(/\n(?=\S)/).map((part) => {
    const [, examples] = /^\n?Example:\n([^]*)$/.exec(part) ?? [];
    if (examples !== undefined) return verbatim(examples.replaceAll(/(?<![^\n]) {2}/g, ""));
    return part.trim() === "" ? "" : paragraph(roffText(part.trim()));
  }).join("");
}

function exitStatus(): string {
  const codes = Object.entries(EXIT) as [keyof typeof EXIT, number][];
  return section("Exit status") +
    codes.map(([name, code]) => tagged(bold(String(code)), sentence(MEANINGS[name]))).join("");
}

function sentence(text: string): string {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return roffText(/[.!?:)]$/.test(capital) ? capital : `${capital}.`);
}
