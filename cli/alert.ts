/**
 * `mailapp alert`: sends alerts by the ways of `[alerts]`.
 *
 * @module
 */
import type { Command } from "commander";
import { errorText } from "../base/error_text.ts";
import { systemClock } from "../base/clock.ts";
import { loadConfig } from "../config/load.ts";
import type { Problem } from "../doctor/problem_watch.ts";
import { alertWays } from "../server/alert_parts.ts";
import { CommandError, EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { configOption, examples, type Registrar } from "./command_line/subcommand.ts";
import { printable } from "./command_line/terminal.ts";

interface Flags {
  readonly config?: string;
}

/** Registers the subcommand and its own subcommands. */
export function registerAlert(program: Command, { io, action }: Registrar): void {
  const alert = program.command("alert")
    .description("send alerts through the channels in [alerts]")
    .addHelpText("after", examples("mailapp alert test"));
  alert.command("test")
    .description("send a test alert through every channel, and report which work")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp alert test"))
    .action(action((flags: Flags) => tell(TEST, { flags, io })));
  alert.command("unit")
    .description("send an alert that a systemd unit has failed; mailapp-alert@.service runs this")
    .argument("<unit>", "such as mailapp-in.service")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp alert unit mailapp-in.service"))
    .action(action((unit: string, flags: Flags) => tell(failedUnit(unit), { flags, io })));
}

const TEST: Problem = {
  kind: "test",
  what: "this is a test: alerts from mailapp reach you",
  next: "Nothing needs to be done.",
};

function failedUnit(unit: string): Problem {
  const name = unit.slice(0, 200);
  return {
    kind: "server",
    about: name,
    what: `${name} has failed, and systemd will not restart it`,
    next: `journalctl -u ${name} -n 50 shows why; then systemctl start ${name}.`,
  };
}

async function tell(
  problem: Problem,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  const ways = alertWays(config);
  if (ways.length === 0) {
    throw new CommandError("[alerts] has neither webhook nor mail_via", EXIT.config);
  }
  const alert = {
    hostname: config.hostname,
    server: "mailapp alert",
    at: systemClock.now(),
    firing: [problem],
    resolved: [],
  };
  let failed = false;
  for (const way of ways) {
    try {
      await way.send(alert);
      io.out(`${way.name}: sent\n`);
    } catch (error) {
      failed = true;
      io.err(`mailapp: ${way.name}: ${printable(errorText(error))}\n`);
    }
  }
  return failed ? EXIT.unavailable : EXIT.ok;
}
