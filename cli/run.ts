/**
 * From the command line to a subcommand, and from what became of it to an exit code.
 *
 * @module
 */
import { Command, CommanderError } from "commander";
import { EXIT, type ExitCode } from "./exit_codes.ts";
import { reportFailure } from "./failure.ts";
import { OutputClosedError, type ServerIo } from "./io.ts";
import type { RegisterSubcommand } from "./subcommand.ts";
import { versionLine } from "./version.ts";

/**
 * The subcommands, in the order of `--help`; a command loads no other one. To add one, write its file and put it
 * here.
 */
export const SUBCOMMANDS: Readonly<Record<string, () => Promise<RegisterSubcommand>>> = {
  "serve-in": async () => (await import("./serve_in.ts")).registerServeIn,
  "serve-out": async () => (await import("./serve_out.ts")).registerServeOut,
  "check-config": async () => (await import("./check_config.ts")).registerCheckConfig,
  "init": async () => (await import("./init.ts")).registerInit,
  "install": async () => (await import("./install.ts")).registerInstall,
  "healthcheck": async () => (await import("./healthcheck.ts")).registerHealthcheck,
  "dkim": async () => (await import("./dkim.ts")).registerDkim,
  "dns": async () => (await import("./dns.ts")).registerDns,
  "doctor": async () => (await import("./doctor.ts")).registerDoctor,
  "send-test": async () => (await import("./send_test.ts")).registerSendTest,
  "queue": async () => (await import("./queue.ts")).registerQueue,
  "explain": async () => (await import("./explain.ts")).registerExplain,
  "sendmail": async () => (await import("./sendmail.ts")).registerSendmail,
  "demo": async () => (await import("./demo.ts")).registerDemo,
};

/** Runs the subcommand that `args` names; what the process ends with. */
export async function run(args: readonly string[], io: ServerIo): Promise<ExitCode> {
  const words = withoutTaskDashes(args);
  const [name = ""] = words;
  try {
    // Its options are of another age; commander would trip over them.
    if (name === "sendmail" && words[1] !== "--help") {
      const { sendmail, standardStreams } = await import("./sendmail.ts");
      return await sendmail(words.slice(1), { ...io, ...standardStreams });
    }
    let exitCode: ExitCode = EXIT.ok;
    const program = new Command("mailapp")
      .description("A mail server: serve-in takes mail from the Internet, serve-out sends it there.")
      .version(await versionLine(), "-V, --version")
      .addHelpText("after", "\nNew here? mailapp init, then mailapp install. Each command has --help.")
      .exitOverride()
      .configureOutput({ writeOut: io.out, writeErr: io.err });
    const wanted = Object.hasOwn(SUBCOMMANDS, name) ? SUBCOMMANDS[name] : undefined;
    for (const load of wanted === undefined ? Object.values(SUBCOMMANDS) : [wanted]) {
      (await load())(program, {
        io,
        action: (run) => async (...args) => {
          exitCode = await run(...args);
        },
      });
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
