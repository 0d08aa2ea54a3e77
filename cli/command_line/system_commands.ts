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

/** This program once more, as a separate process. */
export interface OwnProcess {
  /** Its standard output. */
  readonly output: ReadableStream<Uint8Array>;
  /** Writes to its standard input; nothing happens where it has ended. */
  write(text: string): Promise<void>;
  /** Closes its standard input. */
  closeInput(): Promise<void>;
  /** SIGKILL; nothing happens where it has ended. */
  kill(): void;
  /** Resolves when it has ended. */
  readonly ended: Promise<unknown>;
}

/**
 * Starts this program once more.
 * @param env the environment, which names the executable in the portable form
 */
export function startOwnProgram(
  args: readonly string[],
  env: { get(name: string): string | undefined },
): OwnProcess {
  const self = env.get("MAILAPP_SELF");
  const [first = "", ...before] = Deno.build.standalone
    ? [Deno.execPath()]
    : self !== undefined
    ? [self]
    : [Deno.execPath(), "run", "-A", "--quiet", "--no-prompt", Deno.mainModule];
  const child = new Deno.Command(first, {
    args: [...before, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  return {
    output: child.stdout,
    write: (text) => writer.write(new TextEncoder().encode(text)).catch(() => {}),
    closeInput: () => writer.close().catch(() => {}),
    kill() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
    },
    ended: child.status,
  };
}
