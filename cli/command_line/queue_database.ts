/**
 * `mailapp queue migrate`, `hosts`, `drain` and `copy`: the queue in PostgreSQL.
 *
 * @module
 */
import { type Command, Option } from "commander";
import type { Config } from "../../config/config.ts";
import { loadConfig } from "../../config/load.ts";
import { systemClock } from "../../base/clock.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import type { PostgresConfig } from "../../server/queue_parts.ts";
import { printJson } from "./json.ts";
import { configOption, examples, type Registrar } from "./subcommand.ts";
import { count, printable, Progress, showDuration } from "./terminal.ts";

interface Flags {
  readonly config?: string;
  readonly json?: true;
  readonly undo?: true;
  readonly from?: "spool" | "postgres";
  readonly to?: "spool" | "postgres";
  readonly dryRun?: true;
}

/** Registers the subcommands below `queue`. */
export function registerQueueDatabase(queue: Command, { io, action }: Registrar): void {
  queue.command("migrate")
    .description("create or upgrade the tables of the queue in PostgreSQL")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp queue migrate"))
    .action(action((flags: Flags) => runMigrate(flags, io)));
  queue.command("hosts")
    .description("list the hosts of the queue in PostgreSQL, and messages without a host")
    .option("--json", "print JSON")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp queue hosts"))
    .action(action((flags: Flags) => runHosts(flags, io)));
  queue.command("drain")
    .description("stop a host from claiming messages, and release those that it is not sending")
    .argument("<host>", "its name in queue hosts")
    .option("--undo", "let it claim messages again")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp queue drain mx1.example.com"))
    .action(action((host: string, flags: Flags) => runDrain(host, { flags, io })));
  queue.command("copy")
    .description("move all messages from one store to the other; if interrupted, run it again to continue")
    .addOption(
      new Option("--from <store>", "the store to move from").choices(["spool", "postgres"])
        .makeOptionMandatory(),
    )
    .addOption(
      new Option("--to <store>", "the store to move to").choices(["spool", "postgres"]).makeOptionMandatory(),
    )
    .option("--dry-run", "only count the messages that would be moved")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp queue copy --from spool --to postgres"))
    .action(action((flags: Flags) => runCopy(flags, io)));
}

async function open({ config: file }: Flags, io: Io): Promise<{ config: Config; queue: PostgresConfig }> {
  const config = await loadConfig(file, { env: io.env });
  const { queue } = config;
  if (queue.store === "postgres") return { config, queue };
  throw new CommandError(
    'the queue is not in PostgreSQL: [queue] store = "postgres" puts it there',
    EXIT.config,
  );
}

async function runMigrate(flags: Flags, io: Io): Promise<ExitCode> {
  const { queue } = await open(flags, io);
  const { asCommand, connectDatabase } = await import("../../server/postgres_parts.ts");
  await using database = await connectDatabase(queue);
  const { migrate, SCHEMA_VERSION } = await import("../../relay/postgres/schema.ts");
  const before = await asCommand(() => migrate(database));
  io.out(
    before === SCHEMA_VERSION
      ? `the queue has version ${before} already\n`
      : `the queue has version ${SCHEMA_VERSION} now${before === 0 ? "" : `, it had ${before}`}\n`,
  );
  return EXIT.ok;
}

async function runHosts(flags: Flags, io: Io): Promise<ExitCode> {
  const { queue } = await open(flags, io);
  const { asCommand, connectDatabase } = await import("../../server/postgres_parts.ts");
  await using database = await connectDatabase(queue);
  const { viewHosts } = await import("../../relay/postgres/hosts.ts");
  const { checkSchema } = await import("../../relay/postgres/schema.ts");
  const { hosts, free } = await asCommand(async () => {
    await checkSchema(database);
    return await viewHosts(database);
  });
  if (flags.json) {
    const rounded = hosts.map(({ age, silence, ...rest }) => ({
      ...rest,
      ageMs: Math.round(age),
      silenceMs: Math.round(silence),
    }));
    printJson({ hosts: rounded, free }, io);
    return EXIT.ok;
  }
  for (const { name, state, entries, age, silence, owner, pid, program } of hosts) {
    io.out(
      `${printable(name)}  ${state}  ${count(entries, "message")}  for ${showDuration(age)}, ` +
        `heard of ${showDuration(silence)} ago  (owner ${owner}, pid ${pid}, mailapp ${
          printable(program)
        })\n`,
    );
  }
  if (hosts.length === 0) io.out("no host has the queue open\n");
  const { waiting, due, held, unreadable } = free;
  io.out(
    `no host has ${
      count(waiting + due + held, "message")
    }: ${waiting} not due yet, ${due} due, ${held} held\n`,
  );
  if (unreadable > 0) io.out(`${count(unreadable, "message")} cannot be read: see docs/queue.md\n`);
  return EXIT.ok;
}

async function runDrain(
  name: string,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const { queue } = await open(flags, io);
  const { asCommand, connectDatabase } = await import("../../server/postgres_parts.ts");
  await using database = await connectDatabase(queue);
  const { drainHosts } = await import("../../relay/postgres/hosts.ts");
  const { checkSchema } = await import("../../relay/postgres/schema.ts");
  const found = await asCommand(async () => {
    await checkSchema(database);
    return await drainHosts(database, { name, draining: !flags.undo });
  });
  if (found === 0) {
    throw new CommandError(`no host of the name ${printable(name)} has the queue open`, EXIT.unavailable);
  }
  io.out(
    flags.undo
      ? `${printable(name)} claims messages again\n`
      : `${printable(name)} no longer claims messages\n`,
  );
  return EXIT.ok;
}

async function runCopy(flags: Flags, io: Io): Promise<ExitCode> {
  const { from = "spool", to = "postgres" } = flags;
  if (from === to) throw new CommandError("queue copy: --from and --to are the same", EXIT.usage);
  const { config, queue } = await open(flags, io);
  using progress = new Progress("message", { io, clock: systemClock });
  const { asCommand } = await import("../../server/postgres_parts.ts");
  const { copyQueue } = await import("../../server/queue_copy.ts");
  const { moved, left } = await asCommand(() =>
    copyQueue(config, {
      queue,
      toPostgres: to === "postgres",
      io,
      step: () => progress.step(),
      ...(flags.dryRun && { dryRun: true }),
    })
  );
  progress.clear();
  io.out(`${flags.dryRun ? "would be moved" : "moved"}: ${count(moved, "message")}\n`);
  if (left === 0) return EXIT.ok;
  io.err(
    `mailapp: ${count(left, "message")} ${
      flags.dryRun ? "could not be moved now: being sent, or damaged" : "could not be moved; run this again"
    }\n`,
  );
  return EXIT.tryAgain;
}
