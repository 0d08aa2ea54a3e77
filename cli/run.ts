/**
 * From the command line to a subcommand, and from what became of it to an exit code.
 *
 * @module
 */
import { seedInBackground } from "../tls/seed.ts";
import { EXIT, type ExitCode } from "../server/exit_codes.ts";
import { reportFailure } from "../server/failure.ts";
import { OutputClosedError, type ServerIo } from "../server/io.ts";

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
    return await startServer(words, io) ??
      await (await import("./command_line.ts")).runCommandLine(words, io);
  } catch (error) {
    if (error instanceof OutputClosedError) return EXIT.ok;
    return reportFailure(error, io);
  }
}

/** `deno task` hands on the dashes of `deno task mailapp -- serve-in` and `deno task demo -- --once`. */
function withoutTaskDashes(args: readonly string[]): string[] {
  const at = args[0] === "demo" ? 1 : 0;
  return args.filter((arg, index) => index !== at || arg !== "--");
}

/**
 * Serves, where the words say no more than that. Commander, with the modules of Node's that it loads, would take a
 * tenth of the whole start; it stays for everything that it has to explain. `undefined`: nothing was done.
 */
async function startServer(words: readonly string[], io: ServerIo): Promise<ExitCode | undefined> {
  const [name, option, file, ...more] = words;
  const isPlain = option === undefined ||
    option === "--config" && file !== undefined && /^[^-]/.test(file) && more.length === 0;
  if (!isPlain) return undefined;
  const options = file === undefined ? {} : { config: file };
  if (name === "serve-in" || name === "serve-out") seedInBackground();
  if (name === "serve-in") return await (await import("./serve_in.ts")).serveIn(options, io);
  if (name === "serve-out") return await (await import("./serve_out.ts")).serveOut(options, io);
  return undefined;
}
