/**
 * `mailapp selftest`: tries the configuration on copies of the servers, against hostile clients and servers.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { dirname } from "@std/path";
import { loadConfig } from "../config/load.ts";
import { type Finding, type FindingOutcome, summarize } from "../doctor/finding.ts";
import { EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { type Group, GROUPS } from "../selftest/groups.ts";
import { freeSpace } from "../storage/free_space.ts";
import { printJson } from "./command_line/json.ts";
import { configOption, examples, type Registrar } from "./command_line/subcommand.ts";
import { count, printable } from "./command_line/terminal.ts";

interface Flags {
  readonly config?: string;
  readonly json?: true;
  readonly quiet?: true;
  readonly only?: readonly Group[];
}

/** Registers the subcommand. */
export function registerSelftest(program: Command, { io, action }: Registrar): void {
  program.command("selftest")
    .description("try the configuration on copies of the servers, against hostile clients and servers")
    .option("--json", "print JSON")
    .option("--quiet", "print only failures and warnings")
    .option("--only <groups>", `only these groups: ${GROUPS.join(", ")}`, parseGroups)
    .addOption(configOption())
    .addHelpText(
      "after",
      "\nThe copies listen on loopback and write to a temporary directory. Nothing is\n" +
        "sent to other machines. It takes about half a minute.\n\n" +
        `Exit code: 0 where nothing is found, else ${EXIT.unavailable}.\n` +
        examples("mailapp selftest", "mailapp selftest --config new.toml --quiet"),
    )
    .action(action((flags: Flags) => selftest(flags, io)));
}

function parseGroups(text: string): Group[] {
  return text.split(/[\s,]+/).map((name) => {
    const found = GROUPS.find((group) => group === name);
    if (found === undefined) throw new InvalidArgumentError(`Allowed are ${GROUPS.join(", ")}.`);
    return found;
  });
}

async function selftest(flags: Flags, io: Io): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  const { runSelftest } = await import("../selftest/run.ts");
  const directory = await Deno.makeTempDir({ prefix: "mailapp-selftest-" });
  const remove = () => Deno.removeSync(directory, { recursive: true });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    io.onSignal(signal, () => {
      try {
        remove();
      } finally {
        io.exitNow(EXIT.tryAgain);
      }
    });
  }
  const findings: Finding[] = [];
  try {
    await runSelftest({
      config,
      directory,
      entry: Deno.mainModule,
      machine: { freeSpace: freeOn, diskFindings: diskOf },
      ...(flags.only && { only: flags.only }),
      tell: (finding) => {
        findings.push(finding);
        if (!flags.json) show(finding, { io, quiet: flags.quiet === true });
      },
    });
  } finally {
    remove();
  }
  const summary = summarize(findings);
  if (flags.json) printJson({ ...summary, findings }, io);
  else io.out(verdict(findings));
  return summary.failures + summary.warnings === 0 ? EXIT.ok : EXIT.unavailable;
}

/** The free octets where a path is, or will be. */
async function freeOn(path: string): Promise<number | undefined> {
  for (let at = path;; at = dirname(at)) {
    try {
      return await freeSpace(at);
    } catch {
      if (at === dirname(at)) return undefined;
    }
  }
}

/** What is wrong with the file system of a path, or of where it will be. */
async function diskOf(path: string): Promise<readonly Finding[]> {
  const { mountFindings } = await import("../selftest/prove/disk.ts");
  for (let at = path;; at = dirname(at)) {
    if (await Deno.stat(at).then(({ isDirectory }) => isDirectory, () => false)) {
      return (await mountFindings(at)).findings;
    }
    if (at === dirname(at)) return [];
  }
}

const LABELS: Readonly<Record<FindingOutcome, string>> = {
  ok: "ok",
  warning: "WARNING",
  failure: "FAILURE",
  untested: "not tried",
};

/** One line a case, and another one with what to change. */
function show(
  { subject, outcome, what, next }: Finding,
  { io, quiet }: { readonly io: Io; readonly quiet: boolean },
): void {
  if (quiet && (outcome === "ok" || outcome === "untested")) return;
  io.out(`${LABELS[outcome]}: ${printable(subject)}: ${printable(what)}\n`);
  if (next !== undefined) io.out(`    → ${printable(next)}\n`);
}

function verdict(findings: readonly Finding[]): string {
  const { failures, warnings } = summarize(findings);
  const cases = findings.filter(({ outcome }) => outcome !== "untested").length;
  return failures + warnings === 0
    ? `\n${count(cases, "case")}, all passed\n`
    : `\n${count(cases, "case")}: ${count(failures, "failure")}, ${count(warnings, "warning")}\n`;
}
