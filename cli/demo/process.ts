/**
 * Commands of this program as child processes, as the demo runs them.
 *
 * @module
 */
import type { LogFields, LogLevel } from "../../base/log.ts";
import { formatText } from "../../observe/log_format.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";

const STARTUP_PATIENCE = 60_000;
const MAIN = new URL("../../main.ts", import.meta.url).href;

/** An event of a server's log. */
export type LoggedEvent = Readonly<Record<string, unknown>> & { readonly event: string };

/** A server whose log is read. */
export interface DemoServer extends AsyncDisposable {
  /** Resolves when it serves, with where. */
  readonly ready: Promise<readonly LoggedEvent[]>;
  /** Its exit code. */
  readonly ended: Promise<number>;
  /** The first event, past or to come, that is so. */
  event(test: (event: LoggedEvent) => boolean): Promise<LoggedEvent>;
  /** Shows the log from now on, as on a terminal, without the dialogues; nothing is kept any more. */
  showLog(say: (line: string) => void): void;
  /** SIGTERM, and the end. */
  stop(): Promise<number>;
}

function command(args: readonly string[]): string[] {
  return ["run", "-A", "--quiet", "--frozen", "--no-prompt", MAIN, ...args];
}

/** Starts `mailapp serve-in` or `serve-out`; its log must be JSON. `seen` is called at each event. */
export function startServer(
  args: readonly [server: string, ...rest: string[]],
  seen: (event: LoggedEvent) => void,
): DemoServer {
  const [name] = args;
  const child = new Deno.Command(Deno.execPath(), { args: command(args), stdin: "null", stderr: "piped" })
    .spawn();
  const { promise: ready, resolve, reject } = Promise.withResolvers<readonly LoggedEvent[]>();
  let events: LoggedEvent[] | undefined = [];
  const early: string[] = [];
  const waiting = new Set<{ test: (event: LoggedEvent) => boolean; found: (event: LoggedEvent) => void }>();
  let show: ((line: string) => void) | undefined;
  const startup = setTimeout(
    () => reject(new CommandError(`${name} does not start`, EXIT.unavailable)),
    STARTUP_PATIENCE,
  );

  const take = (line: string) => {
    const event = parseEvent(line);
    if (event === undefined) {
      if (show === undefined) early.push(line);
      else show(line);
      return;
    }
    events?.push(event);
    if (event.event === "server.ready") {
      resolve(events?.filter(({ event }) => event === "listener.ready") ?? []);
    }
    for (const waiter of waiting) {
      if (!waiter.test(event)) continue;
      waiting.delete(waiter);
      waiter.found(event);
    }
    if (show === undefined) seen(event);
    else if (event["level"] !== "trace" && event["level"] !== "debug") show(readable(event));
  };
  const reading = (async () => {
    let rest = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) take(line);
    }
  })();
  let running = true;
  const ended = Promise.all([child.status, reading]).then(([{ code }]) => {
    running = false;
    clearTimeout(startup);
    const said = [...early, ...(events ?? []).filter(({ level }) => level === "error").map(readable)].join(
      "\n",
    );
    reject(new CommandError(`${name} ended with exit code ${code}:\n${said}`, EXIT.unavailable));
    return code;
  });
  ready.then(() => clearTimeout(startup), () => {});
  const stop = async () => {
    if (running) child.kill("SIGTERM");
    return await ended;
  };
  return {
    ready,
    ended,
    stop,
    event: async (test) => {
      const past = events?.find(test);
      if (past !== undefined) return past;
      const { promise, resolve: found } = Promise.withResolvers<LoggedEvent>();
      waiting.add({ test, found });
      return await Promise.race([
        promise,
        ended.then((code) => Promise.reject(new CommandError(`${name} ended with ${code}`, EXIT.software))),
      ]);
    },
    showLog(say) {
      show = say;
      events = undefined;
    },
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}

/** Runs a command to its end, with this on standard input; what it printed. @throws {CommandError} when it fails */
export async function runCommand(args: readonly string[], input = ""): Promise<string> {
  await using child = new Deno.Command(Deno.execPath(), {
    args: command(args),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // One that ends without reading says why on standard error.
  const written = writer.write(new TextEncoder().encode(input)).then(() => writer.close()).catch(() => {});
  const { code, stdout, stderr } = await child.output();
  await written;
  const decoder = new TextDecoder();
  if (code === 0) return decoder.decode(stdout);
  throw new CommandError(
    `mailapp ${args.join(" ")}: exit code ${code}\n${decoder.decode(stderr)}`,
    EXIT.software,
  );
}

function parseEvent(line: string): LoggedEvent | undefined {
  try {
    return JSON.parse(line) as LoggedEvent;
  } catch {
    return undefined;
  }
}

/** An event as the server would write it on a terminal. */
export function readable({ time, level, event, ...fields }: LoggedEvent): string {
  return formatText({
    time: Date.parse(String(time)),
    level: level as LogLevel,
    event,
    fields: fields as LogFields,
  });
}
