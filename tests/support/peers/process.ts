/**
 * Programs that run beside a test: started, watched line by line, stopped and reaped.
 *
 * @module
 */

// Far more than anything takes that comes at all, also on a machine that does many other things.
const DEFAULT_WITHIN = 120_000;

/** Debian's own; `python3` on PATH may be a slow wrapper around another. */
export const PYTHON = "/usr/bin/python3";

/** How to start a program. */
export interface StartOptions {
  readonly args?: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** What ends the program, `SIGTERM` if absent. */
  readonly stopSignal?: Deno.Signal;
}

/** What a line is held against: a regular expression, or anything like it. */
export interface Pattern {
  /** Whether the line matches. */
  test(line: string): boolean;
  /** How it is called in errors. */
  toString(): string;
}

/** A program that runs until it is stopped; disposing stops and reaps it. */
export interface RunningProgram extends AsyncDisposable {
  readonly pid: number;
  /** What it wrote so far to standard output and error, in lines. */
  readonly lines: readonly string[];
  /** Resolves when it has ended. */
  readonly status: Promise<Deno.CommandStatus>;
  /**
   * The first line that matches, written already or yet to come. `from` skips that many lines, `within` is in
   * milliseconds.
   * @throws {Error} when the program ends or the time passes first, with its last lines
   */
  line(pattern: Pattern, options?: { readonly from?: number; readonly within?: number }): Promise<string>;
  /** Ends it, by force after 10 s, and waits until it is gone. Safe to call twice. */
  stop(signal?: Deno.Signal): Promise<void>;
}

/** What a program that ran to its end left. */
export interface Finished {
  readonly code: number;
  readonly stdout: string;
  /** The same as it was. */
  readonly stdoutBytes: Uint8Array;
  readonly stderr: string;
}

/** How to run a program to its end. */
export interface RunOptions extends StartOptions {
  readonly stdin?: string | Uint8Array;
  /** Milliseconds; 300,000 if absent. */
  readonly within?: number;
}

/**
 * Runs a program to its end.
 * @throws {Error} when it takes longer than allowed; it is killed then
 */
export async function run(program: string, options: RunOptions = {}): Promise<Finished> {
  const child = new Deno.Command(program, {
    ...commandOptions(options),
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    kill(child, "SIGKILL");
  }, options.within ?? 300_000);
  try {
    const [output] = await Promise.all([
      child.output(),
      options.stdin === undefined ? undefined : feed(child.stdin, options.stdin),
    ]);
    const finished = {
      code: output.code,
      stdout: decode(output.stdout),
      stdoutBytes: output.stdout,
      stderr: decode(output.stderr),
    };
    if (late) throw new Error(`${program} took too long\n${finished.stdout}${finished.stderr}`);
    return finished;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Runs a program to its end and returns its standard output.
 * @throws {Error} when it exits with anything but 0, with what it wrote
 */
export async function runOk(program: string, options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(program, options);
  if (code !== 0) {
    throw new Error(`${program} ${options.args?.join(" ") ?? ""} exited with ${code}\n${stdout}${stderr}`);
  }
  return stdout;
}

/** Starts a program that is to run for a while. */
export function start(program: string, options: StartOptions = {}): RunningProgram {
  const child = new Deno.Command(program, {
    ...commandOptions(options),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const lines: string[] = [];
  const watchers = new Set<() => void>();
  const wake = () => {
    for (const watcher of [...watchers]) watcher();
  };
  let ended = false;
  const status = child.status.then((status) => {
    ended = true;
    wake();
    return status;
  });
  const readers = [child.stdout, child.stderr].map((stream) => stream.getReader());
  const drained = Promise.all(readers.map((reader) =>
    readLines(reader, (line) => {
      lines.push(line);
      wake();
    })
  ));
  const describe = () => `${program} said:\n${lines.slice(-30).join("\n")}`;

  return {
    pid: child.pid,
    lines,
    status,
    line(pattern, { from = 0, within = DEFAULT_WITHIN } = {}) {
      return new Promise((resolve, reject) => {
        let next = from;
        const settle = (act: () => void) => {
          clearTimeout(timer);
          watchers.delete(look);
          act();
        };
        const look = () => {
          for (; next < lines.length; next++) {
            const line = lines[next] ?? "";
            if (pattern.test(line)) return settle(() => resolve(line));
          }
          if (ended) settle(() => reject(new Error(`ended before ${pattern}; ${describe()}`)));
        };
        const timer = setTimeout(
          () => settle(() => reject(new Error(`no ${pattern} in ${within} ms; ${describe()}`))),
          within,
        );
        watchers.add(look);
        look();
      });
    },
    async stop(signal = options.stopSignal ?? "SIGTERM") {
      if (!ended) kill(child, signal);
      const force = setTimeout(() => kill(child, "SIGKILL"), 10_000);
      await status;
      clearTimeout(force);
      // A grandchild may hold the pipes open for good, so what is there after the end is all we wait for.
      const grace = setTimeout(() => readers.forEach((reader) => reader.cancel().catch(() => {})), 500);
      await drained;
      clearTimeout(grace);
    },
    [Symbol.asyncDispose]() {
      return this.stop();
    },
  };
}

/**
 * Starts a program and waits until it is ready.
 * @throws {Error} when it ends or `ready` rejects first, with what it wrote; it is stopped then
 */
export async function startUntil(
  program: string,
  options: StartOptions & { readonly ready: (running: RunningProgram) => Promise<unknown> },
): Promise<RunningProgram> {
  const running = start(program, options);
  try {
    await Promise.race([
      options.ready(running),
      running.status.then(({ code }) => Promise.reject(new Error(`it ended with ${code}`))),
    ]);
    return running;
  } catch (error) {
    await running.stop();
    throw new Error(`${program} did not start:\n${running.lines.join("\n")}`, { cause: error });
  }
}

/**
 * Asks again and again until the answer is neither `undefined` nor `false`.
 * @throws {Error} when that takes longer than `within` milliseconds
 */
export async function until<T>(
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  options: { readonly what: string; readonly within?: number },
): Promise<T> {
  const deadline = Date.now() + (options.within ?? DEFAULT_WITHIN);
  while (true) {
    const answer = await probe();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${options.what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function commandOptions(options: StartOptions): Deno.CommandOptions {
  return {
    args: [...options.args ?? []],
    env: { LC_ALL: "C.UTF-8", ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  };
}

function kill(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch {
    // It has ended meanwhile.
  }
}

async function feed(stdin: WritableStream<Uint8Array>, data: string | Uint8Array): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(typeof data === "string" ? new TextEncoder().encode(data) : data);
    await writer.close();
  } catch {
    // The program did not want it all; its exit code tells.
  }
}

async function readLines(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  onLine: (line: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  while (true) {
    const { value, done } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(onLine);
    if (done) break;
  }
  if (rest !== "") onLine(rest);
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
