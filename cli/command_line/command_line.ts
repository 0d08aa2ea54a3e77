/**
 * The subcommands on the command line, with their help and error messages.
 *
 * @module
 */
import { Command, CommanderError, Help } from "commander";
import { EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { ServerIo } from "../../server/io.ts";
import { errorOutput } from "../../server/journal.ts";
import type { ServerName } from "../../server/server_start.ts";
import { SERVER_NAMES } from "../../server/servers.ts";
import type { RegisterSubcommand } from "./subcommand.ts";
import { versionLine } from "../../server/version.ts";

/**
 * The subcommands, in the order of `--help`; a command loads no other one. To add one, write its file and list it
 * here; the servers are in server/servers.ts.
 */
export const SUBCOMMANDS: Readonly<Record<string, () => Promise<RegisterSubcommand>>> = {
  ...Object.fromEntries(SERVER_NAMES.map((name) => [name, () => loadServerCommand(name)])),
  "check-config": async () => (await import("../check_config/check_config.ts")).registerCheckConfig,
  "init": async () => (await import("../install/init.ts")).registerInit,
  "config": async () => (await import("../config/show_config.ts")).registerConfig,
  "install": async () => (await import("../install/install.ts")).registerInstall,
  "healthcheck": async () => (await import("../healthcheck.ts")).registerHealthcheck,
  "dkim": async () => (await import("../dkim/dkim.ts")).registerDkim,
  "certificate": async () => (await import("../certificate/certificate.ts")).registerCertificate,
  "dns": async () => (await import("../dns.ts")).registerDns,
  "doctor": async () => (await import("../doctor.ts")).registerDoctor,
  "selftest": async () => (await import("../selftest.ts")).registerSelftest,
  "prove": async () => (await import("../prove.ts")).registerProve,
  "send-test": async () => (await import("../send_test_message.ts")).registerSendTest,
  "queue": async () => (await import("../queue.ts")).registerQueue,
  "trace": async () => (await import("../trace/trace.ts")).registerTrace,
  "duplicates": async () => (await import("../duplicates.ts")).registerDuplicates,
  "what-if": async () => (await import("../what_if/what_if.ts")).registerWhatIf,
  "status": async () => (await import("../status/status.ts")).registerStatus,
  "dashboard": async () => (await import("../dashboard/dashboard.ts")).registerDashboard,
  "alert": async () => (await import("../alert.ts")).registerAlert,
  "explain": async () => (await import("../explain/explain.ts")).registerExplain,
  "account": async () => (await import("../account/account.ts")).registerAccount,
  "dmarc-report": async () => (await import("../dmarc_report.ts")).registerDmarcReport,
  "tls-report": async () => (await import("../tls_report.ts")).registerTlsReport,
  "check-message": async () => (await import("../check_message.ts")).registerCheckMessage,
  "sendmail": async () => (await import("../sendmail/sendmail.ts")).registerSendmail,
  "completion": async () => (await import("../completion/completion.ts")).registerCompletion,
  "demo": async () => (await import("../demo/demo.ts")).registerDemo,
};

async function loadServerCommand(name: ServerName): Promise<RegisterSubcommand> {
  const { registerServer } = await import("../serve.ts");
  return (program, registrar) => registerServer(program, { ...registrar, name });
}

/** The program with all subcommands, to describe it: none of them does anything. */
export async function describeProgram(): Promise<Command> {
  const program = newProgram().version("", "-V, --version");
  const io = { env: { get: () => undefined } } as unknown as ServerIo;
  const action = () => () => Promise.resolve();
  for (const load of Object.values(SUBCOMMANDS)) (await load())(program, { io, action, describeProgram });
  return program;
}

function newProgram(): Command {
  return new Command("mailapp")
    .description("A mail server: serve-in receives mail from the Internet, serve-out sends it.")
    .configureHelp({
      // Wraps descriptions beside long terms, too.
      minWidthToWrap: 20,
      // An option that may be repeated has an empty list as its default.
      optionDescription: (option) => new Help().optionDescription(option).replace(/ ?\(default: \[\]\)$/, ""),
    })
    .addHelpText("after", "\nNew here? mailapp init, then mailapp install. Each command has --help.")
    .exitOverride();
}

/** Runs the subcommand that the first word names; returns the exit code. The caller reports what it throws. */
export async function runCommandLine(words: readonly string[], io: ServerIo): Promise<ExitCode> {
  const [name = ""] = words;
  let exitCode: ExitCode = EXIT.ok;
  const program = newProgram()
    .version(await versionLine(), "-V, --version")
    .configureOutput({ writeOut: io.out, writeErr: errorOutput(io) });
  const wanted = Object.hasOwn(SUBCOMMANDS, name) ? SUBCOMMANDS[name] : undefined;
  for (const load of wanted === undefined ? Object.values(SUBCOMMANDS) : [wanted]) {
    (await load())(program, {
      io,
      action: (run) => async (...args) => {
        exitCode = await run(...args);
      },
      describeProgram,
    });
  }
  try {
    await program.parseAsync(upToUnknown(program, words), { from: "user" });
    return exitCode;
  } catch (error) {
    // Commander has reported it already; --help and --version come here with 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    throw error;
  }
}

/**
 * The words up to one that is no command: commander answers `qeue list --help` and `queue help lst` with the help of
 * the command above, and only without the flag says which word is wrong and what was meant.
 */
function upToUnknown(program: Command, words: readonly string[]): readonly string[] {
  let command = program;
  for (const [index, word] of words.entries()) {
    if (word.startsWith("-") || command.commands.length === 0) return words;
    if (word === "help") continue;
    const subcommand = command.commands.find((each) => each.name() === word);
    if (subcommand === undefined) return words.slice(0, index + 1).filter((each) => each !== "help");
    command = subcommand;
  }
  return words;
}
