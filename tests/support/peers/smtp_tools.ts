/**
 * Postfix's own test programs: smtp-source sends, smtp-sink takes.
 *
 * @module
 */
import { freePort, untilListening } from "./ports.ts";
import { type RunningProgram, runOk, startUntil } from "./process.ts";

/** What smtp-source sends, and how. */
export interface SmtpSourceOptions {
  /** `[::1]` is written `inet:[::1]` by smtp-source; a plain address will do here. */
  readonly host?: string;
  readonly port: number;
  readonly from?: string;
  readonly to: string;
  /** Sessions at the same time. */
  readonly sessions?: number;
  readonly messages?: number;
  /** Octets a message. */
  readonly size?: number;
  /** A file with the message to send instead, its lines ending in LF. */
  readonly file?: string;
  /** Sends many messages over a connection rather than one. */
  readonly keep?: boolean;
  /** Milliseconds; 120,000 if absent. */
  readonly within?: number;
}

/** Sends messages and returns how many milliseconds it took. @throws {Error} when a message is refused */
export async function smtpSource(options: SmtpSourceOptions): Promise<number> {
  const { host = "127.0.0.1", sessions = 1, messages = 1, size = 4096, keep = false } = options;
  const begin = performance.now();
  await runOk("smtp-source", {
    args: [
      ...keep ? ["-d"] : [],
      ...["-s", String(sessions), "-m", String(messages)],
      ...options.file === undefined ? ["-l", String(size)] : ["-F", options.file],
      ...["-f", options.from ?? "sender@client.test", "-t", options.to, "-M", "client.test"],
      `inet:[${host}]:${options.port}`,
    ],
    within: options.within ?? 120_000,
  });
  return performance.now() - begin;
}

/** A server that throws away what it takes. */
export interface SmtpSink extends AsyncDisposable {
  /** Listens on one address. */
  readonly port: number;
  readonly program: RunningProgram;
}

/**
 * Starts smtp-sink.
 * @param args its flags, such as `-q rcpt` (hang up), `-f data` (5xx), `-r data` (4xx), `-W data:2` (delay)
 */
export async function startSmtpSink(
  args: readonly string[] = [],
  options: { readonly host?: string; readonly port?: number; readonly backlog?: number } = {},
): Promise<SmtpSink> {
  const { host = "127.0.0.1", port = freePort(), backlog = 1000 } = options;
  const program = await startUntil("smtp-sink", {
    args: ["-u", "nobody", ...args, `inet:[${host}]:${port}`, String(backlog)],
    ready: () => untilListening(port, host),
  });
  return { port, program, [Symbol.asyncDispose]: () => program.stop() };
}
