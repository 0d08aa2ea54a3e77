/**
 * Commands that run in the test's own process.
 *
 * @module
 */
import assert from "node:assert/strict";
import { run } from "../../cli/command_line/run.ts";
import type { ServerIo } from "../../server/io.ts";

/** No terminal, no variables, no signals, unless given; `written` holds what was printed so far. */
export function recordingIo(
  given: Partial<ServerIo> = {},
): { readonly io: ServerIo; readonly written: { out: string; err: string } } {
  const written = { out: "", err: "" };
  const io: ServerIo = {
    env: { get: () => undefined },
    isTerminal: false,
    out: (text) => void (written.out += text),
    err: (text) => void (written.err += text),
    onSignal: () => {},
    confine: () => assert.fail("no server is started here"),
    exitNow: () => {},
    ...given,
  };
  return { io, written };
}

/** Runs `mailapp` with these arguments; its exit code and what it printed. */
export async function runInProcess(
  args: readonly string[],
  given: Partial<ServerIo> = {},
): Promise<{ code: number; out: string; err: string }> {
  const { io, written } = recordingIo(given);
  const code = await run(args, io);
  return { code, ...written };
}
