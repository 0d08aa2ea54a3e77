/**
 * Programs of the system that commands run. No server ever loads this module.
 *
 * @module
 */

/** What a program did. */
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
