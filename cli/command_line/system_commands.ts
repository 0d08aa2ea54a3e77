/**
 * Programs of the system that commands run. No server ever loads this module.
 *
 * @module
 */

/** The result of a program. */
export interface CommandResult {
  /** Its exit code; `undefined` when it is not there. */
  readonly code: number | undefined;
  /** What it wrote to standard output. */
  readonly stdout: string;
  /** What it wrote to standard error. */
  readonly stderr: string;
}

/** Runs a program of the system to its end. */
export async function runSystemCommand(
  program: string,
  { args, env = {} }: { readonly args: readonly string[]; readonly env?: Readonly<Record<string, string>> },
): Promise<CommandResult> {
  try {
    const { code, stdout, stderr } = await new Deno.Command(program, {
      args: [...args],
      env,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr).trim() };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { code: undefined, stdout: "", stderr: "" };
    throw error;
  }
}

/** A program of the system whose output is read as it comes; the reader ends it. */
export interface StreamingCommand {
  /** Its standard output. */
  readonly output: ReadableStream<Uint8Array>;
  /** Ends it, if it still runs; resolves when it has ended. */
  end(): Promise<void>;
}

/**
 * Starts a program of the system.
 * @throws {Deno.errors.NotFound} when it is not there
 */
export function startSystemCommand(program: string, args: readonly string[]): StreamingCommand {
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  return {
    output: child.stdout,
    async end() {
      try {
        child.kill("SIGTERM");
      } catch {
        // It has ended.
      }
      await child.status;
    },
  };
}
