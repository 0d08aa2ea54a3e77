/**
 * The program: the only file that touches the process's arguments, signals and exit. A server's own thread begins
 * here, too.
 *
 * @module
 */
import { confine, isConfined, serveConfined } from "./server/confinement.ts";
import { EXIT } from "./server/exit_codes.ts";
import type { ConfinedName } from "./server/server_start.ts";
import { OutputClosedError } from "./server/io.ts";
import { writeAllSync } from "./base/write_all.ts";

const encoder = new TextEncoder();

/** Writes text. @throws {OutputClosedError} when its reader has closed it, which is not a failure. */
function print(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  try {
    writeAllSync(to, encoder.encode(text));
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) throw new OutputClosedError({ cause: error });
    throw error;
  }
}

/** The width of the terminal that standard output is. */
function columns(): number | undefined {
  try {
    return Deno.stdout.isTerminal() ? Deno.consoleSize().columns || 80 : undefined;
  } catch {
    return 80;
  }
}

const err = (text: string) => print(Deno.stderr, text);

/** What programs of sendmail's family are here; build/portable.sh has the same. */
const CALLED_AS: Readonly<Record<string, readonly string[]>> = {
  sendmail: ["sendmail"],
  mailq: ["sendmail", "-bp"],
  newaliases: ["sendmail", "-bi"],
};

/** The arguments, which begin with the command that the name of a link to this stands for. */
async function calledArguments(): Promise<readonly string[]> {
  // From source it is Deno that was called, and portable.sh looks at its own name.
  if (!Deno.build.standalone) return Deno.args;
  const { argv0 } = await import("node:process");
  const name = argv0.slice(argv0.lastIndexOf("/") + 1);
  return [...Object.hasOwn(CALLED_AS, name) ? CALLED_AS[name] ?? [] : [], ...Deno.args];
}

if (isConfined()) {
  const { loadServer, loadHelper } = await import("./server/servers.ts");
  const load = async (name: ConfinedName) =>
    name === "dashboard" ? (await import("./cli/dashboard/thread.ts")).runDashboard : await loadServer(name);
  await serveConfined({ server: load, helper: loadHelper }, { err, entry: import.meta.url });
} else {
  const { run } = await import("./cli/command_line/run.ts");
  let code: number;
  try {
    code = await run(await calledArguments(), {
      env: Deno.env,
      isTerminal: Deno.stderr.isTerminal(),
      columns,
      out: (text) => print(Deno.stdout, text),
      err,
      onSignal: (signal, callback) => Deno.addSignalListener(signal, callback),
      confine: (start, signals) => confine(start, { entry: Deno.mainModule, signals, err }),
      exitNow: (code) => Deno.exit(code),
    });
  } catch (error) {
    if (!(error instanceof OutputClosedError)) throw error;
    code = EXIT.ok;
  }
  Deno.exit(code);
}
