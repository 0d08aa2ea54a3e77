/**
 * From the command line to a subcommand, and from what became of it to an exit code.
 *
 * @module
 */
import { Command, CommanderError } from "commander";
import { registerCheckConfig } from "./check_config.ts";
import { registerDemo } from "./demo.ts";
import { registerDkim } from "./dkim.ts";
import { registerDns } from "./dns.ts";
import { registerDoctor } from "./doctor.ts";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import { registerExplain } from "./explain.ts";
import { reportFailure } from "./failure.ts";
import { registerHealthcheck } from "./healthcheck.ts";
import { registerInit } from "./init.ts";
import { registerInstall } from "./install.ts";
import { OutputClosedError, type ServerIo } from "./io.ts";
import { registerQueue } from "./queue.ts";
import { registerSendmail, sendmail, standardStreams } from "./sendmail.ts";
import { registerSendTest } from "./send_test.ts";
import { registerServeIn } from "./serve_in.ts";
import { registerServeOut } from "./serve_out.ts";
import type { RegisterSubcommand } from "./subcommand.ts";
import { versionLine } from "./version.ts";

/** The subcommands, in the order of `--help`. To add one, write its file and put it here. */
const SUBCOMMANDS: readonly RegisterSubcommand[] = [
  registerServeIn,
  registerServeOut,
  registerCheckConfig,
  registerInit,
  registerInstall,
  registerHealthcheck,
  registerDkim,
  registerDns,
  registerDoctor,
  registerSendTest,
  registerQueue,
  registerExplain,
  registerSendmail,
  registerDemo,
];

/** Runs the subcommand that `args` names; what the process ends with. */
export async function run(args: readonly string[], io: ServerIo): Promise<ExitCode> {
  let exitCode: ExitCode = EXIT.ok;
  const program = new Command("mailapp")
    .description("A mail server: serve-in takes mail from the Internet, serve-out sends it there.")
    .version(await versionLine(), "-V, --version")
    .exitOverride()
    .configureOutput({ writeOut: io.out, writeErr: io.err });
  for (const register of SUBCOMMANDS) {
    register(program, {
      io,
      action: (run) => async (...args) => {
        exitCode = await run(...args);
      },
    });
  }
  const words = withoutTaskDashes(args);
  try {
    // Its options are of another age; commander would trip over them.
    if (words[0] === "sendmail" && words[1] !== "--help") {
      return await sendmail(words.slice(1), { ...io, ...standardStreams });
    }
    await program.parseAsync(words, { from: "user" });
    return exitCode;
  } catch (error) {
    // Commander has said it already; --help and --version come here with 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error instanceof OutputClosedError) return EXIT.ok;
    return reportFailure(error, io);
  }
}

/** `deno task` hands on the dashes of `deno task mailapp -- serve-in` and `deno task demo -- --once`. */
function withoutTaskDashes(args: readonly string[]): string[] {
  const at = args[0] === "demo" ? 1 : 0;
  return args.filter((arg, index) => index !== at || arg !== "--");
}
