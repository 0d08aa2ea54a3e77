/**
 * The program itself as a child process.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "@std/path";
import { until } from "./peers/process.ts";
import { assertNoDenials, environmentOf, program as fromMain, toml } from "./program.ts";

// Long enough for a machine that does many other things; so that a test fails instead of hanging.
const EVENT_PATIENCE = 5 * 60_000;

/**
 * Threads of serve-in, and of serve-out with a spool, in tests: one on every machine; `MAILAPP_TEST_THREADS=4` runs any
 * test that starts such a server with so many.
 */
export const THREADS: number = Number(Deno.env.get("MAILAPP_TEST_THREADS") ?? 1);

/** The numbers of threads for a test that is run with one and with several, where nothing else is asked for. */
export const ONE_AND_SEVERAL: readonly number[] = THREADS === 1 ? [1, 2] : [THREADS];

/** The end of such a test's name. */
export function withThreads(threads: number): string {
  return threads === 1 ? "" : `, with ${threads} threads`;
}

/** What a command did. */
export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Options of a run. */
export interface RunOptions {
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The working directory. */
  readonly cwd?: string;
  /** What it is started by, such as `ip netns exec NAME`; must become the program, as `exec` does. */
  readonly through?: readonly string[];
  /** The program with its first arguments, where it is not `main.ts`. */
  readonly program?: readonly string[];
  /** Standard input of a command that runs to its end; nothing if absent. */
  readonly stdin?: string;
  /** The test is of what a server is denied; else that makes it fail. */
  readonly mayBeDenied?: boolean;
}

function command(args: readonly string[], options: RunOptions): Deno.Command {
  const { env = {}, cwd, through = [], program = fromMain() } = options;
  const [first = "", ...rest] = [...through, ...program, ...args];
  return new Deno.Command(first, {
    args: rest,
    env: { ...environmentOf(args[0]), ...env },
    ...(cwd !== undefined && { cwd }),
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Runs `mailapp` to its end. */
export async function runMailapp(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const child = command(args, options).spawn();
  if (options.stdin !== undefined) {
    const writer = child.stdin.getWriter();
    // It may end without having read all of it.
    await writer.write(new TextEncoder().encode(options.stdin)).then(() => writer.close()).catch(() => {});
  }
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  const finished = { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  if (!options.mayBeDenied) assertNoDenials(finished.stderr.split("\n"));
  return finished;
}

/** An event of the log, in its JSON form. */
export type LoggedEvent = Readonly<Record<string, unknown>> & { readonly event: string };

/** A server as a child process that logs JSON to standard error. Disposed, it is killed. */
export class RunningMailapp implements AsyncDisposable {
  /** All events so far. */
  readonly events: LoggedEvent[] = [];
  /** What it wrote to standard error that is not an event. */
  readonly other: string[] = [];
  readonly #mayBeDenied: boolean;
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  readonly #waiting = new Set<() => void>();
  readonly #firstLine = Promise.withResolvers<string>();
  #over = false;

  /** Starts `mailapp` with these arguments. */
  constructor(args: readonly string[], options: RunOptions = {}) {
    this.#mayBeDenied = options.mayBeDenied ?? false;
    this.#child = command(args, options).spawn();
    this.#reading = Promise.all([this.#read(), this.#readOutput()]).then(() => {});
  }

  /** The process's id. */
  get pid(): number {
    return this.#child.pid;
  }

  /**
   * Waits for an event of this name, and `where` these fields are so; the one `after` this many of them.
   * Fails with all that was logged if it does not come within five minutes.
   */
  async event(
    name: string,
    { after = 0, where = {} }: {
      readonly after?: number;
      readonly where?: Readonly<Record<string, unknown>>;
    } = {},
  ): Promise<LoggedEvent> {
    const deadline = performance.now() + EVENT_PATIENCE;
    for (;;) {
      const found = this.events.filter((event) =>
        event.event === name && Object.entries(where).every(([key, value]) =>
          event[key] === value
        )
      )[after];
      if (found !== undefined) return found;
      if (this.#over) throw new Error(`ended without ${name}:\n${this.transcript()}`);
      if (performance.now() > deadline) throw new Error(`no ${name} came:\n${this.transcript()}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      const timer = setTimeout(resolve, deadline - performance.now());
      await promise;
      clearTimeout(timer);
      this.#waiting.delete(resolve);
    }
  }

  /** Sends a signal. */
  signal(name: Deno.Signal): void {
    this.#child.kill(name);
  }

  /** Waits for the end; the exit code. */
  async ended(): Promise<number> {
    const { code } = await this.#child.status;
    await this.#reading;
    return code;
  }

  /** The first line of its standard output. */
  output(): Promise<string> {
    return this.#firstLine.promise;
  }

  /** SIGTERM, and the exit code. */
  stop(): Promise<number> {
    this.signal("SIGTERM");
    return this.ended();
  }

  /** What was logged, for messages. */
  transcript(): string {
    return [...this.events.map((event) => JSON.stringify(event)), ...this.other].join("\n");
  }

  /** Kills it if it still runs. Fails if it was denied anything. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#over) {
      try {
        this.#child.kill("SIGKILL");
      } catch {
        // It has ended by itself.
      }
    }
    await this.ended();
    if (!this.#mayBeDenied) assertNoDenials(this.transcript().split("\n"));
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(line);
      this.#wake();
    }
    this.#over = true;
    this.#wake();
  }

  async #readOutput(): Promise<void> {
    let text = "";
    for await (const piece of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      if (text.includes("\n")) continue;
      text += piece;
      if (text.includes("\n")) this.#firstLine.resolve(text.slice(0, text.indexOf("\n")));
    }
    this.#firstLine.resolve(text);
  }

  #take(line: string): void {
    try {
      this.events.push(JSON.parse(line) as LoggedEvent);
    } catch {
      this.other.push(line);
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/** Sends SIGTERM again and again, as an operator who does not wait; those within a moment count once. */
export async function signalUntilEnded(server: RunningMailapp): Promise<void> {
  const ended = server.ended();
  let over = false;
  ended.then(() => over = true);
  await until(() => {
    try {
      if (!over) server.signal("SIGTERM");
    } catch {
      // It has just ended.
    }
    return over;
  }, { what: "the end of the server" });
  assert.equal(await ended, 0);
}

/** `[serve-in.checks]` with nothing in it that asks DNS: for tests of something else. */
export const NO_CHECKS: Readonly<Record<string, boolean | string>> = {
  spf: false,
  dkim: false,
  arc: false,
  dmarc: "off",
};

/** A separate directory with a configuration; removed when disposed. */
export class Workspace implements AsyncDisposable {
  /** The directory. */
  readonly path: string;
  /** As in {@linkcode RunOptions}, of servers that log into files here. */
  mayBeDenied = false;

  /** @ignore Made by {@linkcode Workspace.create}. */
  private constructor(path: string) {
    this.path = path;
  }

  /** Makes the directory. */
  static async create(): Promise<Workspace> {
    return new Workspace(await Deno.makeTempDir({ prefix: "mailapp-test-" }));
  }

  /** The path of something in it. */
  file(...names: string[]): string {
    return join(this.path, ...names);
  }

  /**
   * Writes `config.toml` for a serve-in on loopback, port 0, for example.com with alice and bob below `mail/`, which
   * checks no mail; with these lines in place of, or beside, the usual ones of each table. Gives its path.
   */
  async configure(
    changes: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
  ): Promise<string> {
    const tables: Record<string, Readonly<Record<string, unknown>>> = {
      "": { hostname: "mx.example.com", data_dir: this.file("state") },
      log: { format: "json" },
      "serve-in": {
        listen: ["127.0.0.1"],
        port: 0,
        tls_port: false,
        domains: ["example.com"],
        min_free_space: 0,
        threads: THREADS,
      },
      "serve-in.checks": NO_CHECKS,
      "serve-out": { threads: changes["queue"]?.["store"] === "postgres" ? 1 : THREADS },
      mailboxes: { path: this.file("mail", "{domain}", "{user}"), users: ["alice", "bob"] },
      "mailboxes.aliases": { postmaster: "alice" },
    };
    for (const [name, lines] of Object.entries(changes)) tables[name] = { ...tables[name], ...lines };
    await Deno.writeTextFile(this.file("config.toml"), toml(tables));
    return this.file("config.toml");
  }

  /** The names in a user's `new/`; empty if that is not there. */
  async stored(user: string): Promise<string[]> {
    try {
      const directory = Deno.readDir(this.file("mail", "example.com", user, "new"));
      return (await Array.fromAsync(directory, ({ name }) => name)).sort();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  /** Removes it all. Fails if a server logged there, in place of standard error, that it was denied something. */
  async [Symbol.asyncDispose](): Promise<void> {
    const lines: string[] = [];
    for await (const { name, isFile } of Deno.readDir(this.path)) {
      if (isFile && name.endsWith(".log")) {
        // Not spread: a long log has more lines than a call takes arguments.
        for (const line of (await Deno.readTextFile(this.file(name))).split("\n")) lines.push(line);
      }
    }
    await Deno.remove(this.path, { recursive: true });
    if (!this.mayBeDenied) assertNoDenials(lines);
  }
}
