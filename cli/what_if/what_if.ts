/**
 * `mailapp what-if`: what another configuration would have decided about the mail of the last days.
 *
 * @module
 */
import type { Command } from "commander";
import { Option } from "commander";
import { systemClock } from "../../base/clock.ts";
import type { Config } from "../../config/config.ts";
import { loadConfig } from "../../config/load.ts";
import { EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { openQueue } from "../../server/queue_access.ts";
import { errorText } from "../../base/error_text.ts";
import { moment, printJson } from "../command_line/json.ts";
import { logOption, parseTime } from "../command_line/log_options.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import { count, printable, showTime } from "../command_line/terminal.ts";
import { findLog } from "../trace/log_sources.ts";
import { changedSettings, untried } from "./changed_settings.ts";
import { Comparison, type WhatIf } from "./differences.ts";
import { namesInFile } from "./setting_names.ts";

interface Flags {
  readonly config?: string;
  readonly installed?: string;
  readonly log: readonly string[];
  readonly since?: number;
  readonly json?: true;
}

const WEEK = 7 * 86_400_000;

/** Registers the subcommand. */
export function registerWhatIf(program: Command, { io, action }: Registrar): void {
  program.command("what-if")
    .description(
      "say what another configuration would have decided about the mail in the log and in the queue",
    )
    .addOption(configOption())
    .addOption(
      new Option(
        "--installed <file>",
        "the configuration that the log was written under (default: the installed one)",
      ),
    )
    .option(
      "--since <time>",
      "start at: 2026-11-24, 2026-11-24T08:00Z, or this long ago (default: 7d)",
      parseTime,
    )
    .addOption(logOption())
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nIt sends no queries and no mail, and changes nothing.\n" +
        examples("mailapp what-if --config new.toml", "mailapp what-if --config new.toml --since 2d"),
    )
    .action(action((flags: Flags) => whatIf(flags, io)));
}

async function whatIf(flags: Flags, io: Io): Promise<ExitCode> {
  const after = await loadConfig(flags.config, { env: io.env });
  const before = await loadConfig(flags.installed, { env: io.env });
  const comparison = new Comparison({ before, after });
  const log = await findLog(before, flags.log);
  const range = { since: flags.since ?? systemClock.now() - WEEK, until: Infinity };
  await comparison.readLog(log.sources, range);
  const problems = [...log.problems, ...await readQueue(before, { comparison, io })];
  for (const problem of problems) io.err(`mailapp: ${printable(problem)}\n`);
  const { result } = comparison;
  const settings = changedSettings(before, after);
  const [changed, rest] = [namesInFile(settings), untried(settings, { before, after })];
  if (flags.json) {
    printJson({
      decisions: result.decisions,
      changed,
      differences: result.differences.map(({ examples, ...rest }) => ({
        ...rest,
        examples: examples.map(({ what, at }) => ({ what, at: moment(at) })),
      })),
      untold: [...result.untold].map(([what, number]) => ({ what, count: number })),
      notJudged: rest,
    }, io);
  } else io.out(inWords(result, { changed, rest }));
  return log.incomplete ? EXIT.noInput : EXIT.ok;
}

async function readQueue(
  config: Config,
  { comparison, io }: { readonly comparison: Comparison; readonly io: Io },
): Promise<string[]> {
  try {
    await using queue = await openQueue(config, io);
    for await (const { entry, age } of queue.list({})) {
      for (const { address, status } of entry.recipients) {
        if (status !== "pending" && status !== "held") continue;
        comparison.takeQueued({ recipient: address, id: entry.id, age, at: entry.acceptedAt });
      }
    }
    return [];
  } catch (error) {
    return [`the queue is left out: ${errorText(error)}`];
  }
}

function inWords(
  { decisions, differences, untold }: WhatIf,
  { changed, rest }: { readonly changed: readonly string[]; readonly rest: readonly string[] },
): string {
  const lines = [
    changed.length === 0 ? "Nothing is changed." : `Changed: ${changed.join(", ")}`,
    `${count(decisions, "decision")} of the log and the queue were examined.`,
    "",
  ];
  if (differences.length === 0) lines.push("None of them would change.");
  for (const { was, would, count: number, examples } of differences) {
    lines.push(`${number} × ${printable(was)} → ${printable(would)}`);
    lines.push(...examples.map(({ what, at }) => `    ${showTime(at)} ${printable(what)}`));
    if (number > examples.length) lines.push(`    … and ${number - examples.length} more`);
  }
  if (untold.size > 0 || rest.length > 0) lines.push("", "Missing in the log:");
  for (const [what, number] of untold) lines.push(`    ${number} × ${what}`);
  if (rest.length > 0) {
    lines.push(`    the effect of ${rest.join(", ")}; mailapp selftest --config tests the configuration`);
  }
  return `${lines.join("\n")}\n`;
}
