/**
 * `mailapp prove`: shows on a file system that mail which was answered for is kept, whatever is killed when.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { join } from "@std/path";
import { systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import { type Finding, type FindingOutcome, ok, summarize, untested } from "../doctor/finding.ts";
import type { VictimProcess } from "../selftest/prove/rounds.ts";
import type { VictimOptions } from "../selftest/prove/victim.ts";
import { CommandError, EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { VERSION } from "../server/version.ts";
import { namedFileError } from "./command_line/named_file.ts";
import { examples, type Registrar } from "./command_line/subcommand.ts";
import { startOwnProgram } from "./command_line/system_commands.ts";
import { count, printable, showTime } from "./command_line/terminal.ts";

interface Flags {
  readonly rounds: number;
  readonly minutes: number;
  readonly steps?: number;
  readonly report?: string;
  readonly victim?: string;
}

/** Registers the subcommand. */
export function registerProve(program: Command, { io, action }: Registrar): void {
  program.command("prove")
    .description(
      "kill copies of the servers on a directory's file system, and check what they acknowledged",
    )
    .argument("<directory>", "on the file system under test; everything is in its own directory there")
    .option("--rounds <number>", "how often to kill at random; 0: kill only with --steps", number, 10)
    .option(
      "--steps <number>",
      `kill before at most this many steps of each path to disk (default: ${STEPS})`,
      number,
    )
    .option("--minutes <number>", "start no new test after this many minutes", number, 5)
    .option("--report <file>", "also write the report to this file, as text")
    .addOption(new Option("--victim <options>").hideHelp())
    .addHelpText(
      "after",
      "\nIt cannot show whether a disk loses its cache when the power fails; for that,\n" +
        `unplug the machine.\n\nExit code: 0 where nothing fails, else ${EXIT.unavailable}.`,
    )
    .addHelpText(
      "after",
      examples("mailapp prove /var/lib/mailapp", "mailapp prove --rounds 100 --minutes 60 /srv/mail"),
    )
    .action(
      action((directory: string, flags: Flags) =>
        flags.victim === undefined ? prove(directory, { flags, io }) : serveAsVictim(flags.victim, io)
      ),
    );
}

/** Steps where neither `--steps` nor `--rounds 0` says otherwise; a way to the disk has fewer. */
const STEPS = 200;

function number(text: string): number {
  const value = text.trim() === "" ? NaN : Number(text);
  if (!(value >= 0 && value <= 100_000)) throw new InvalidArgumentError("It must be a number from 0 on.");
  return value;
}

async function prove(
  path: string,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  // Before the minutes that it takes.
  if (flags.report !== undefined) await proveWritable(flags.report);
  const directory = await makeDirectory(path);
  const remove = () => Deno.removeSync(directory, { recursive: true });
  const running = new Set<VictimProcess>();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    io.onSignal(signal, () => {
      for (const victim of running) victim.kill();
      try {
        remove();
      } finally {
        io.exitNow(EXIT.tryAgain);
      }
    });
  }
  const began = systemClock.now();
  try {
    const { mountFindings, deviceFindings, measureSyncs } = await import("../selftest/prove/disk.ts");
    const { runRounds } = await import("../selftest/prove/rounds.ts");
    const findings: Finding[] = [];
    const tell = (finding: Finding) => {
      findings.push(finding);
      io.out(describe(finding));
    };
    const progress = (what: string) => {
      if (io.isTerminal) io.err(`\r\u001b[K${what} …`);
    };
    const { mount, findings: ofMount } = await mountFindings(directory);
    ofMount.forEach(tell);
    progress("syncs are measured");
    const { p50Ms, p99Ms, maxMs } = await measureSyncs(directory);
    const latency = `half of them within ${milliseconds(p50Ms)}, 99 of 100 within ${
      milliseconds(p99Ms)
    }, the slowest ${milliseconds(maxMs)}`;
    progress("the device is watched");
    const ofDevice = await deviceFindings(directory, mount);
    if (io.isTerminal) io.err("\r\u001b[K");
    tell(
      ok(
        "disk.latency",
        "the path of a small message to disk: written, synced, named, name synced",
        latency,
      ),
    );
    ofDevice.forEach(tell);
    const result = await runRounds({
      directory: join(directory, "rounds"),
      rounds: flags.rounds,
      steps: flags.steps ?? (flags.rounds === 0 ? 0 : STEPS),
      until: systemClock.monotonic() + flags.minutes * 60_000,
      start: (options) => startVictim(options, { running, io }),
      progress,
    });
    if (io.isTerminal) io.err("\r\u001b[K");
    result.findings.forEach(tell);
    tell(untested("disk.power", "a loss of power", {
      what: "whether the disk keeps what it reported as written cannot be tested by a program",
      next: "Unplug a machine under load, and count; or rely on the disk's data sheet",
    }));
    const summary = summarize(findings);
    const figures = {
      kills: result.kills,
      accepted: result.serveIn.accepted + result.serveOut.accepted,
    };
    const verdict = figures.kills === 0
      ? `\nnothing was killed: that the servers keep what they acknowledge was not tested; ${
        count(summary.failures, "failure")
      }\n`
      : summary.failures === 0
      ? `\n${count(figures.kills, "kill")}, ${figures.accepted} messages acknowledged: none lost\n`
      : `\n${count(figures.kills, "kill")}, ${figures.accepted} messages acknowledged: ${
        count(summary.failures, "failure")
      }\n`;
    io.out(verdict);
    if (flags.report !== undefined) {
      await writeReport(flags.report, { path, began, text: findings.map(describe).join("") + verdict });
    }
    return summary.failures === 0 ? EXIT.ok : EXIT.unavailable;
  } finally {
    remove();
  }
}

async function proveWritable(report: string): Promise<void> {
  try {
    (await Deno.open(report, { append: true, create: true })).close();
  } catch (error) {
    throw namedFileError(report, error, { doing: "write" });
  }
}

async function makeDirectory(path: string): Promise<string> {
  try {
    const directory = await Deno.makeTempDir({ dir: await Deno.realPath(path), prefix: ".mailapp-prove-" });
    await Deno.mkdir(join(directory, "rounds"));
    return directory;
  } catch (error) {
    throw namedFileError(path, error, { kind: "directory" });
  }
}

function startVictim(
  options: Omit<VictimOptions, "entry">,
  { running, io }: { readonly running: Set<VictimProcess>; readonly io: Io },
): VictimProcess {
  const child = startOwnProgram(["prove", options.directory, "--victim", JSON.stringify(options)], io.env);
  const victim: VictimProcess = {
    lines: linesOf(child.output),
    say: (line) => child.write(`${line}\n`),
    kill: () => child.kill(),
    end: () => child.closeInput(),
    ended: child.ended.then(() => running.delete(victim)),
  };
  running.add(victim);
  return victim;
}

async function* linesOf(output: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (
    const piece of output.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
  ) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

async function serveAsVictim(text: string, io: Io): Promise<ExitCode> {
  const { runVictim } = await import("../selftest/prove/victim.ts");
  const options = JSON.parse(text) as Omit<VictimOptions, "entry">;
  await runVictim({ ...options, entry: Deno.mainModule }, {
    input: Deno.stdin.readable,
    tell: (line) => io.out(`${line}\n`),
  });
  return EXIT.ok;
}

const LABELS: Readonly<Record<FindingOutcome, string>> = {
  ok: "ok",
  warning: "WARNING",
  failure: "FAILURE",
  untested: "cannot be shown",
};

function describe({ subject, outcome, what, next }: Finding): string {
  const advice = next === undefined ? "" : `    → ${printable(next)}\n`;
  return `${LABELS[outcome]}: ${printable(subject)}: ${printable(what)}\n${advice}`;
}

function milliseconds(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
}

async function writeReport(
  file: string,
  { path, began, text }: { readonly path: string; readonly began: number; readonly text: string },
): Promise<void> {
  const head = [
    `mailapp prove ${path}`,
    `mailapp ${VERSION}, ${Deno.hostname()}, ${Deno.osRelease()}`,
    `from ${showTime(began)} to ${showTime(systemClock.now())}`,
    "",
    "",
  ].join("\n");
  try {
    await Deno.writeTextFile(file, head + text);
  } catch (error) {
    throw new CommandError(`the report ${printable(file)}: ${errorText(error)}`, EXIT.unavailable, {
      cause: error,
    });
  }
}
