/**
 * Faults put into a running program by strace: system calls that fail, kill, or stop it.
 *
 * @module
 */

/** What a test asks for that attaches to a program; see `testWith`. */
export const STRACE_NEEDS: readonly string[] = mayAttach() ? ["strace"] : ["strace", "root"];

/** Where Yama is on, only root may trace what is not below it in the tree of processes. */
function mayAttach(): boolean {
  if (Deno.uid() === 0) return true;
  try {
    return Deno.readTextFileSync("/proc/sys/kernel/yama/ptrace_scope").trim() === "0";
  } catch {
    return true;
  }
}

/** What strace is to do. */
export interface StraceOptions {
  /** What to put in, such as `fsync:error=EIO` (strace(1), `-e inject`). All threads; `when=` counts in each. */
  readonly inject: readonly string[];
  /** Only calls on exactly these paths, by name or by descriptor; all if absent. */
  readonly paths?: readonly string[];
}

/** strace attached to a process. Disposed, it detaches, and the process runs as before. */
export class Strace implements AsyncDisposable {
  /** What it wrote. */
  readonly lines: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  readonly #waiting = new Set<() => void>();
  #over = false;

  private constructor(pid: number, { inject, paths = [] }: StraceOptions) {
    const calls = inject.map((expression) => expression.split(":", 1)[0]).join(",");
    this.#child = new Deno.Command("strace", {
      args: [
        "-f",
        ...["-p", String(pid)],
        ...["-e", `trace=${calls}`],
        ...inject.flatMap((expression) => ["-e", `inject=${expression}`]),
        ...paths.flatMap((path) => ["-P", path]),
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#reading = this.#read();
  }

  /** Attaches to all threads of a process; resolves when that is done. */
  static async attach(pid: number, options: StraceOptions): Promise<Strace> {
    const strace = new Strace(pid, options);
    await strace.wrote(/ attached/);
    return strace;
  }

  /** Waits until all that it wrote matches. */
  async wrote(pattern: RegExp): Promise<void> {
    for (;;) {
      const text = this.lines.join("\n");
      if (pattern.test(text)) return;
      if (this.#over) throw new Error(`strace ended without ${pattern}:\n${text}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** How many calls it made fail so far. */
  get injected(): number {
    return this.lines.filter((line) => line.includes("(INJECTED)")).length;
  }

  /** Lets go of the process. A process that has been stopped stays so. */
  async detach(): Promise<void> {
    if (!this.#over) {
      try {
        this.#child.kill("SIGINT");
      } catch {
        // It has ended with the process.
      }
    }
    await this.#child.status;
    await this.#reading;
  }

  /** The same. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.detach();
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      this.lines.push(...lines);
      this.#wake();
    }
    this.#over = true;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/**
 * Stops a process right after the next system call of this name (on this path). That is how a test gets to know the
 * name of a file that is made up by the program, before anything is done with it.
 *
 * The result resolves when all threads stand still and nothing traces them any more; SIGCONT lets them go on.
 */
export async function freezeBehind(
  pid: number,
  call: string,
  { path }: { readonly path?: string } = {},
): Promise<{ readonly frozen: Promise<void> }> {
  const strace = await Strace.attach(pid, {
    inject: [`${call}:signal=STOP`],
    ...(path !== undefined && { paths: [path] }),
  });
  const freeze = async () => {
    // A process that stands still already says only the second of these.
    await strace.wrote(/--- SIGSTOP \{.*\n(?:.*\n)*?.* stopped by SIGSTOP /);
    await strace.detach();
  };
  return { frozen: freeze() };
}

/** A process that can be told to go on. */
export interface Freezable {
  /** Its id. */
  readonly pid: number;
  /** Sends it a signal. */
  signal(name: "SIGCONT"): void;
}

/** Stops a process after the first open(2) after which what is looked for is there. */
export async function freezeOnceThere(
  process: Freezable,
  isThere: () => boolean,
): Promise<{ readonly frozen: Promise<void> }> {
  let { frozen } = await freezeBehind(process.pid, "openat");
  const search = async () => {
    for (;;) {
      await frozen;
      if (isThere()) return;
      ({ frozen } = await freezeBehind(process.pid, "openat"));
      process.signal("SIGCONT");
    }
  };
  return { frozen: search() };
}
