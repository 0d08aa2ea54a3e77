/**
 * From the command line to a subcommand, and from what became of it to an exit code.
 *
 * @module
 */
import { Command, CommanderError } from "commander";
import { ConfigError, ConfigFileError } from "../config/errors.ts";
import { registerCheckConfig } from "./check_config.ts";
import { registerDemo } from "./demo.ts";
import { registerDkim } from "./dkim.ts";
import { CommandError, EXIT, type ExitCode } from "./exit_codes.ts";
import { registerExplain } from "./explain.ts";
import { registerHealthcheck } from "./healthcheck.ts";
import type { Io } from "./io.ts";
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
  registerHealthcheck,
  registerDkim,
  registerSendTest,
  registerQueue,
  registerExplain,
  registerSendmail,
  registerDemo,
];

/** Runs the subcommand that `args` names; what the process ends with. */
export async function run(args: readonly string[], io: Io): Promise<ExitCode> {
  let exitCode: ExitCode = EXIT.ok;
  const program = new Command("mailapp")
    .description(
      "A mail server: serve-in takes mail from the Internet, serve-out sends it there.",
    )
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
    return explain(error, io);
  }
}

/** `deno task` hands on the dashes of `deno task mailapp -- serve-in` and `deno task demo -- --once`. */
function withoutTaskDashes(args: readonly string[]): string[] {
  const at = args[0] === "demo" ? 1 : 0;
  return args.filter((arg, index) => index !== at || arg !== "--");
}

function explain(error: unknown, io: Io): ExitCode {
  // Commander has said it already; --help and --version come here with 0.
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
  if (error instanceof CommandError) {
    io.err(`mailapp: ${error.message}\n`);
    return error.exitCode;
  }
  if (error instanceof ConfigError) {
    io.err(`${error.message}\n`);
    return EXIT.config;
  }
  if (error instanceof ConfigFileError) {
    io.err(`mailapp: ${error.message}\n`);
    return error.reason === "forbidden" ? EXIT.noPermission : EXIT.noInput;
  }
  io.err(
    `mailapp: ${
      error instanceof Error ? error.stack ?? error.message : error
    }\n`,
  );
  return EXIT.software;
}
