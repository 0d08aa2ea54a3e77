/**
 * `mailapp duplicates`: which messages may have arrived twice and why, and which did not arrive.
 *
 * @module
 */
import type { Command } from "commander";
import { loadConfig } from "../config/load.ts";
import { type Doubts, findDoubts, type PossibleDuplicate, type Undelivered } from "../observe/doubts.ts";
import { EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { JsonArray, moment } from "./command_line/json.ts";
import { logOption, parseTime } from "./command_line/log_options.ts";
import { configOption, examples, type Registrar } from "./command_line/subcommand.ts";
import { count, printable, showTime } from "./command_line/terminal.ts";
import { findLog } from "./trace/log_sources.ts";

interface Flags {
  readonly config?: string;
  readonly log: readonly string[];
  readonly since?: number;
  readonly until?: number;
  readonly json?: true;
}

/** Registers the subcommand. */
export function registerDuplicates(program: Command, { io, action }: Registrar): void {
  program.command("duplicates")
    .description(
      "list messages that may have arrived twice, with why; and those that were held, given up or removed",
    )
    .option("--since <time>", "start at: 2026-11-24, 2026-11-24T08:00Z, or this long ago: 2d, 4h", parseTime)
    .option("--until <time>", "end at", parseTime)
    .addOption(logOption())
    .option("--json", "print JSON: an array, one element for each")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp duplicates --since 7d"))
    .action(action((flags: Flags) => duplicates(flags, io)));
}

async function duplicates(flags: Flags, io: Io): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  const log = await findLog(config, flags.log);
  const range = { since: flags.since ?? 0, until: flags.until ?? Infinity };
  const found = await findDoubts(log.sources, { range });
  for (const problem of log.problems) io.err(`mailapp: ${printable(problem)}\n`);
  if (flags.json) {
    using out = new JsonArray(io);
    for (const { at, againAt, ...rest } of found.duplicates) {
      out.add({
        kind: "duplicate",
        ...rest,
        at: moment(at),
        ...(againAt !== undefined && { againAt: moment(againAt) }),
      });
    }
    for (const { at, releasedAt, ...rest } of found.undelivered) {
      out.add({
        kind: "undelivered",
        ...rest,
        at: moment(at),
        ...(releasedAt !== undefined && { releasedAt: moment(releasedAt) }),
      });
    }
    out.end();
  } else io.out(inWords(found));
  return log.incomplete ? EXIT.noInput : EXIT.ok;
}

function inWords({ duplicates, undelivered }: Doubts): string {
  const again = duplicates.filter(({ againAt }) => againAt !== undefined);
  const once = duplicates.filter(({ againAt }) => againAt === undefined);
  return [
    `${
      count(again.length, "message")
    } may have arrived twice: a copy was taken after one whose fate is not known`,
    ...again.map(showDuplicate),
    `${
      count(once.length, "message")
    } may have arrived although the log says otherwise; no other copy was taken so far`,
    ...once.map(showDuplicate),
    `${count(undelivered.length, "message")} refused for good, expired, or held, removed or returned by hand`,
    ...undelivered.map(showUndelivered),
    "",
  ].join("\n");
}

const from = (sender: string | undefined) => sender === undefined ? "" : `, from <${printable(sender)}>`;

function showDuplicate({ id, recipient, sender, at, host, why, againAt }: PossibleDuplicate): string {
  const there = host === undefined ? "" : ` at ${printable(host)}`;
  const later = againAt === undefined ? "" : `; taken ${showTime(againAt)}`;
  const to = recipient === "" ? "" : ` to ${printable(recipient)}`;
  return `  ${showTime(at)} ${printable(id)}${to}${from(sender)}: ${printable(why)}${there}${later}`;
}

function showUndelivered(
  { id, at, recipients, sender, what, reason, releasedAt }: Undelivered,
): string {
  const later = releasedAt === undefined ? "" : `; released ${showTime(releasedAt)}`;
  const because = reason === undefined ? "" : `: ${printable(reason)}`;
  return `  ${showTime(at)} ${printable(id)} to ${printable(recipients.join(", "))}${
    from(sender)
  }: ${what}${because}${later}`;
}
