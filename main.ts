/**
 * The program: the only file that touches the process's arguments, signals and exit.
 *
 * @module
 */
import process from "node:process";
import { basename } from "@std/path";
import { EXIT } from "./cli/exit_codes.ts";
import { run } from "./cli/run.ts";

const encoder = new TextEncoder();

function writeAll(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let rest = encoder.encode(text);
  while (rest.length > 0) rest = rest.subarray(to.writeSync(rest));
}

let code: number;
try {
  // Called through a link, as /usr/sbin/sendmail is.
  const calledSendmail = basename(process.argv0) === "sendmail";
  code = await run(calledSendmail ? ["sendmail", ...Deno.args] : Deno.args, {
    env: Deno.env,
    isTerminal: Deno.stderr.isTerminal(),
    out: (text) => writeAll(Deno.stdout, text),
    err: (text) => writeAll(Deno.stderr, text),
    onSignal: (signal, callback) => Deno.addSignalListener(signal, callback),
    exitNow: (code) => Deno.exit(code),
  });
} catch (error) {
  // Whoever read our output has gone, as `mailapp … | head` does.
  if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  code = EXIT.ok;
}
Deno.exit(code);
