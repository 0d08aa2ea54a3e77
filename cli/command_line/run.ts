/**
 * Runs the subcommand of the command line, and turns its result into an exit code.
 *
 * @module
 */
import { systemClock } from "../../base/clock.ts";
import { EXIT, type ExitCode } from "../../server/exit_codes.ts";
import { reportFailure } from "../../server/failure.ts";
import { OutputClosedError, type ServerIo } from "../../server/io.ts";
import { errorOutput } from "../../server/journal.ts";

/** Runs the subcommand that `args` names; returns the exit code. */
export async function run(args: readonly string[], io: ServerIo): Promise<ExitCode> {
  const words = helpWords(withoutTaskDashes(args));
  if (words[0] === "sendmail" || !words.includes("--json")) return await runWords(words, io);
  const { withJsonErrors } = await import("./json.ts");
  return await withJsonErrors(io, (io) => runWords(words, io));
}

async function runWords(words: readonly string[], io: ServerIo): Promise<ExitCode> {
  const [name = ""] = words;
  // A server's main thread may not look later.
  const err = errorOutput(io);
  try {
    // sendmail's options predate option parsers: commander does not take -fsender.
    if (name === "sendmail" && words[1] !== "--help") {
      const { sendmail, standardStreams } = await import("../sendmail/sendmail.ts");
      return await sendmail(words.slice(1), { ...io, ...standardStreams });
    }
    if (!isShown(words, io)) return await (await import("./command_line.ts")).runCommandLine(words, io);
    const { Screen } = await import("./screen.ts");
    using screen = new Screen(words, { io, clock: systemClock });
    const { runCommandLine } = await import("./command_line.ts");
    return await runCommandLine(words, { ...io, out: screen.out, err: screen.err });
  } catch (error) {
    if (error instanceof OutputClosedError) return EXIT.ok;
    return reportFailure(error, { err });
  }
}

/** Whether a person sees the output: servers and programs are not held up by what a terminal needs. */
function isShown(words: readonly string[], io: ServerIo): boolean {
  if (words.includes("--json") || words[0]?.startsWith("serve-")) return false;
  return io.isTerminal || io.columns?.() !== undefined;
}

/** `help queue retry` as `queue retry --help`: commander knows one word after `help`. */
function helpWords(words: readonly string[]): readonly string[] {
  return words[0] === "help" ? [...words.slice(1), "--help"] : words;
}

/** Removes the dashes that `deno task` passes on in `deno task mailapp -- serve-in` and `deno task demo -- --once`. */
function withoutTaskDashes(args: readonly string[]): string[] {
  const at = args[0] === "demo" ? 1 : 0;
  return args.filter((arg, index) => index !== at || arg !== "--");
}
