/**
 * Our own servers as child processes, as an operator starts them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { NO_CHECKS } from "../mailapp.ts";
import { assertNoDenials, environmentOf, program as fromMain, toml } from "../program.ts";
import type { CertificateFiles } from "./certificates.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { freePort } from "./ports.ts";
import { type RunningProgram, startUntil, until } from "./process.ts";

const READY = /"event":"server\.ready"/;

/** What serve-in is to do. */
export interface ServeInOptions {
  /** `mx.example.test` if absent. */
  readonly hostname?: string;
  /** `["example.test"]` if absent. */
  readonly domains?: readonly string[];
  /** Local-parts; `["alice", "bob"]` if absent. The first is postmaster. */
  readonly users?: readonly string[];
  /** Offers STARTTLS and port 465 with this; without it with its own self-signed certificate. */
  readonly certificate?: CertificateFiles;
  /** More lines of `[serve-in]`. */
  readonly settings?: Readonly<Record<string, Setting>>;
  /** Lines of `[serve-in.checks]`; absent: nothing is checked. */
  readonly checks?: Readonly<Record<string, Setting>>;
  /** Port of the DNS server on 127.0.0.1. */
  readonly dnsPort?: number;
  /** Where the log goes; absent: to the lines of the program. */
  readonly logFile?: string;
  /** Flags of Deno itself, such as `--inspect=127.0.0.1:9229`. */
  readonly denoFlags?: readonly string[];
  /** The group of the Maildirs, which then belong to it and are readable to it; they are made beneath a setgid folder. */
  readonly readerGid?: number;
}

/** A running serve-in. */
export interface ServeIn extends AsyncDisposable {
  /** Listens on 127.0.0.1 and ::1. */
  readonly port: number;
  /** The port for implicit TLS. */
  readonly tlsPort: number;
  readonly folder: Folder;
  readonly program: RunningProgram;
  /** The Maildir of a mailbox. */
  maildir(address: string): string;
}

/** Starts serve-in and waits until it answers. */
export async function startServeIn(options: ServeInOptions = {}): Promise<ServeIn> {
  const { hostname = "mx.example.test", domains = ["example.test"], users = ["alice", "bob"] } = options;
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("serve-in"));
  const port = freePort();
  const tlsPort = freePort();
  const mail = await folder.mkdir("mail");
  if (options.readerGid !== undefined) {
    await Deno.chown(mail, null, options.readerGid);
    await Deno.chmod(mail, 0o2775);
  }
  await folder.mkdir("data", { mode: 0o751 });
  const config = await folder.write(
    "config.toml",
    toml({
      "": { hostname, data_dir: folder.at("data") },
      log: { format: "json", file: options.logFile ?? "" },
      tls: { ...options.certificate ?? { self_signed: true } },
      "serve-in": {
        listen: ["127.0.0.1", "::1"],
        port,
        tls_port: tlsPort,
        domains,
        // As on the smallest machine.
        threads: 1,
        ...options.settings,
      },
      "serve-in.checks": options.checks ?? NO_CHECKS,
      dns: options.dnsPort === undefined ? {} : { servers: [`127.0.0.1:${options.dnsPort}`] },
      mailboxes: { path: `${mail}/{domain}/{user}`, users },
      "mailboxes.aliases": { postmaster: users[0] },
    }),
  );
  const program = await startServer("serve-in", config, options);
  stack.defer(() => program.stop());
  const all = stack.move();
  return {
    port,
    tlsPort,
    folder,
    program,
    maildir(address) {
      const at = address.lastIndexOf("@");
      return `${mail}/${address.slice(at + 1)}/${address.slice(0, at)}`;
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** What serve-out is to do. */
export interface ServeOutOptions {
  /** `out.example.test` if absent. */
  readonly hostname?: string;
  /** Its `data/` is taken as it is, and the folder stays afterwards; absent: a new one, which goes. */
  readonly folder?: Folder;
  /** Port of the DNS server on 127.0.0.1. */
  readonly dnsPort?: number;
  /** More lines of `[serve-out]`; MX may lead to loopback. */
  readonly settings?: Readonly<Record<string, Setting>>;
  /** `[queue]`. */
  readonly queue?: Readonly<Record<string, Setting>>;
  /** `[serve-out.routes]`. */
  readonly routes?: Readonly<Record<string, string | Readonly<Record<string, string | number>>>>;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** `[serve-out.tls_policy]`. */
  readonly tlsPolicy?: Readonly<Record<string, string>>;
  /** `[dkim]`: the keys of each domain. */
  readonly dkim?: Readonly<Record<string, readonly { readonly selector: string; readonly key: string }[]>>;
  /** Where the log goes; absent: to the lines of the program. */
  readonly logFile?: string;
  /** Flags of Deno itself, such as `--inspect=127.0.0.1:9229`. */
  readonly denoFlags?: readonly string[];
}

/** A running serve-out. */
export interface ServeOut extends AsyncDisposable {
  /** Listens on 127.0.0.1 and ::1. */
  readonly port: number;
  readonly folder: Folder;
  readonly program: RunningProgram;
  /** The configuration file, for other commands. */
  readonly config: string;
  /** The first event of that name with these fields, logged already or yet to come. @throws {Error} when none comes in time */
  event(name: string, fields?: Readonly<Record<string, unknown>>): Promise<LogEvent>;
  /** The same for the first event of any of these names. */
  anyEvent(names: readonly string[], fields?: Readonly<Record<string, unknown>>): Promise<LogEvent>;
}

/** An event of the log. */
export type LogEvent = Readonly<Record<string, unknown>> & { readonly event: string };

/** Starts serve-out and waits until it answers. */
export async function startServeOut(options: ServeOutOptions = {}): Promise<ServeOut> {
  const folder = options.folder ?? await makeFolder("serve-out");
  const discard = async () => {
    if (options.folder === undefined) await folder[Symbol.asyncDispose]();
  };
  try {
    const port = freePort();
    await folder.mkdir("data", { mode: 0o751 });
    const config = await folder.write(
      "config.toml",
      toml({
        "": { hostname: options.hostname ?? "out.example.test", data_dir: folder.at("data") },
        log: { format: "json", file: options.logFile ?? "" },
        dns: options.dnsPort === undefined ? {} : { servers: [`127.0.0.1:${options.dnsPort}`] },
        // As on the smallest machine.
        "serve-out": { port, allow_private_targets: true, threads: 1, ...options.settings },
        "serve-out.routes": options.routes ?? {},
        queue: options.queue ?? {},
        "serve-out.tls_policy": options.tlsPolicy ?? {},
        dkim: options.dkim ?? {},
      }),
    );
    const program = await startServer("serve-out", config, options);
    return {
      port,
      folder,
      program,
      config,
      event: (name, fields) => anyEvent(program, [name], fields),
      anyEvent: (names, fields) => anyEvent(program, names, fields),
      async [Symbol.asyncDispose]() {
        await program.stop();
        await discard();
      },
    };
  } catch (error) {
    await discard();
    throw error;
  }
}

async function anyEvent(
  program: RunningProgram,
  names: readonly string[],
  fields: Readonly<Record<string, unknown>> = {},
): Promise<LogEvent> {
  let found: LogEvent | undefined;
  await program.line({
    test(line) {
      const event = parseEvent(line);
      if (!event || !names.includes(event.event)) return false;
      if (Object.entries(fields).some(([key, value]) => event[key] !== value)) return false;
      found = event;
      return true;
    },
    toString: () => `${names.join(" or ")} ${JSON.stringify(fields)}`,
  });
  assert.ok(found);
  return found;
}

function parseEvent(line: string): LogEvent | undefined {
  return line.startsWith("{") ? JSON.parse(line) : undefined;
}

async function startServer(
  command: string,
  config: string,
  { logFile, env = {}, denoFlags = [] }: Pick<ServeOutOptions, "logFile" | "env" | "denoFlags">,
): Promise<RunningProgram> {
  const [first = "", ...rest] = fromMain(denoFlags);
  const program = await startUntil(first, {
    args: [...rest, command, "--config", config],
    env: { ...environmentOf(command), ...env },
    ready: ({ line }) =>
      logFile === undefined
        ? line(READY)
        : until(async () => READY.test(await readIfThere(logFile)), { what: `${READY} in ${logFile}` }),
  });
  return {
    ...program,
    async stop(signal) {
      await program.stop(signal);
      assertNoDenials(program.lines);
      if (logFile !== undefined) assertNoDenials((await readIfThere(logFile)).split("\n"));
    },
  };
}

type Table = Readonly<Record<string, string | number>>;
type Setting = string | number | boolean | readonly (string | Table)[] | Table;

async function readIfThere(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
