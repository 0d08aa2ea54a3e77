/**
 * The protocol of the control socket: requests and answers, each a line of JSON.
 *
 * A client sends one line, a JSON object with `mailapp` (the protocol's version, 1) and `command`; the server answers
 * with lines `{"item": …}`, as many as there are, then one line `{"end": …}` or `{"error": "…"}`, and closes.
 *
 * @module
 */
import { basename, dirname, join } from "@std/path";
import type { Clock } from "../base/clock.ts";
import { writeAll } from "../base/write_all.ts";
import type { HostFailure } from "./host_slot.ts";
import type { Targets } from "./mx.ts";
import { OPERATOR_ACTIONS, type OperatorAction } from "./operator.ts";
import { parseFilter, type QueueFilter } from "./queue_filter.ts";
import type { DomainStatus } from "./scheduler_options.ts";

const VERSION = 1;
/** Longest name of who asks, in characters. */
const MAX_NAME = 200;
const WRITE_TIMEOUT = 60_000;
const BATCH = 64 * 1024;

const encoder = new TextEncoder();

/** A host as `explain` asks about it. */
export interface HostQuestion {
  /** The host's name. */
  readonly host: string;
  /** The IP address. */
  readonly address: string;
  /** The TCP port. */
  readonly port: number;
}

/** A running server's state for a domain. */
export interface DomainAnswer {
  /** What waits for it. */
  readonly status: DomainStatus;
  /** The hosts in question that are paused: why, and for how many milliseconds. */
  readonly hosts: readonly (HostQuestion & { readonly failure: HostFailure; readonly forMs: number })[];
}

/** Which settings a running server uses. */
export interface SettingsAnswer {
  /** Names them. */
  readonly settings: string;
}

/** Where a running server would send a domain's mail. */
export interface RouteAnswer extends SettingsAnswer {
  /** The targets, without passwords. */
  readonly found: Targets;
}

/** A piece of a message. */
export interface ContentAnswer {
  /** In base64. */
  readonly data: string;
}

/** What a client may ask. */
export type Request =
  | { readonly command: "list"; readonly filter: QueueFilter }
  | {
    readonly command: "apply";
    readonly action: OperatorAction;
    readonly filter: QueueFilter;
    /** Who asks, for the log; an earlier server does not read it. */
    readonly by?: string;
  }
  | { readonly command: "content"; readonly id: string }
  | { readonly command: "domain"; readonly domain: string; readonly hosts: readonly HostQuestion[] }
  | { readonly command: "route"; readonly domain: string }
  | { readonly command: "settings" };

/** The server refused with a reason, or broke off. */
export class ControlError extends Error {
  /** `message` is the server's reason. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ControlError";
  }
}

/** A request as a line, without its end. */
export function formatRequest(request: Request): string {
  if (!("filter" in request)) return JSON.stringify({ mailapp: VERSION, ...request });
  const { filter: selection, ...rest } = request;
  return JSON.stringify({ mailapp: VERSION, ...rest, selection });
}

/** Reads a request that came over the socket; what is wrong with it otherwise. */
export function parseRequest(line: string): Request | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "not JSON";
  }
  if (!isRecord(value)) return "not a JSON object";
  if (value.mailapp !== VERSION) {
    return `unknown version ${JSON.stringify(value.mailapp)}; this is ${VERSION}`;
  }
  const filter = parseFilter(value.selection);
  switch (value.command) {
    case "list":
      return filter === undefined ? "bad selection" : { command: "list", filter };
    case "apply": {
      const action = OPERATOR_ACTIONS.find((action) => action === value.action);
      if (action === undefined) return "unknown action";
      if (filter === undefined) return "bad selection";
      const { by } = value;
      if (by === undefined) return { command: "apply", action, filter };
      if (typeof by !== "string" || by.length > MAX_NAME) return "bad name";
      return { command: "apply", action, filter, by };
    }
    case "domain": {
      const { domain, hosts } = value;
      if (typeof domain !== "string" || !Array.isArray(hosts) || !hosts.every(isHostQuestion)) {
        return "bad domain";
      }
      return { command: "domain", domain, hosts };
    }
    case "content":
      return typeof value.id === "string" ? { command: "content", id: value.id } : "bad id";
    case "route":
      return typeof value.domain === "string" ? { command: "route", domain: value.domain } : "bad domain";
    case "settings":
      return { command: "settings" };
    default:
      return "unknown command";
  }
}

function isHostQuestion(value: unknown): value is HostQuestion {
  return isRecord(value) && typeof value.host === "string" && typeof value.address === "string" &&
    typeof value.port === "number";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// The longest socket path in octets that every system takes; with its NUL the limit is 104 or 108.
const MAX_SOCKET_PATH = 103;

/**
 * A path to the same place that is short enough for a socket: unchanged, or through a link that is removed when
 * disposed.
 */
export function shortPath(path: string): { readonly path: string } & Disposable {
  if (encoder.encode(path).length <= MAX_SOCKET_PATH) return { path, [Symbol.dispose]: () => {} };
  const directory = dirname(path);
  // Otherwise the link would hide a missing directory.
  Deno.statSync(directory);
  const temporary = temporaryDirectory(path);
  const link = join(temporary, "d");
  Deno.symlinkSync(directory, link);
  return {
    path: join(link, basename(path)),
    [Symbol.dispose]: () => Deno.removeSync(temporary, { recursive: true }),
  };
}

/** A server with its own permissions may not make a link outside of its directories, and does not ask. */
function temporaryDirectory(path: string): string {
  if (Deno.permissions.querySync({ name: "write" }).state === "granted") return Deno.makeTempDirSync();
  const octets = encoder.encode(path).length;
  throw new Error(
    `the path has ${octets} octets, and that of a socket at most ${MAX_SOCKET_PATH}: make data_dir shorter`,
  );
}

/** Reads lines that end in LF, up to a length. */
export class ControlLineReader {
  readonly #conn: Deno.Conn;
  readonly #max: number;
  readonly #buffer = new Uint8Array(BATCH);
  readonly #decoder = new TextDecoder();
  #pieces: string[] = [];
  #length = 0;
  #lines: string[] = [];

  /** Reads from `conn`; a line of more than `max` characters is an error. */
  constructor(conn: Deno.Conn, max: number) {
    this.#conn = conn;
    this.#max = max;
  }

  /** The next line; `undefined` at the end. */
  async read(): Promise<string | undefined> {
    while (this.#lines.length === 0) {
      const count = await this.#conn.read(this.#buffer);
      if (count === null) return undefined;
      const [first = "", ...others] = this.#decoder.decode(this.#buffer.subarray(0, count), { stream: true })
        .split("\n");
      this.#pieces.push(first);
      this.#length += first.length;
      if (this.#length > this.#max) throw new ControlError("a line too long");
      const last = others.pop();
      if (last === undefined) continue;
      this.#lines = [this.#pieces.join(""), ...others];
      this.#pieces = [last];
      this.#length = last.length;
    }
    return this.#lines.shift();
  }
}

/** Writes lines in batches, and gives up on a client that does not read. */
export class ControlLineWriter {
  readonly #conn: Deno.Conn;
  readonly #clock: Clock;
  #waiting: string[] = [];
  #length = 0;
  /** Whether nothing more can be written. */
  broken = false;

  /** Writes to `conn`. */
  constructor(conn: Deno.Conn, clock: Clock) {
    this.#conn = conn;
    this.#clock = clock;
  }

  /** Writes it as JSON, now or with what follows. */
  async write(line: unknown): Promise<void> {
    const text = JSON.stringify(line) + "\n";
    this.#waiting.push(text);
    this.#length += text.length;
    if (this.#length >= BATCH) await this.#flush();
  }

  /** Writes it, and all that waits. */
  async finish(line: unknown): Promise<void> {
    await this.write(line);
    await this.#flush();
  }

  async #flush(): Promise<void> {
    const bytes = encoder.encode(this.#waiting.join(""));
    this.#waiting = [];
    this.#length = 0;
    const timer = this.#clock.after(WRITE_TIMEOUT, () => closeQuietly(this.#conn));
    try {
      await writeAll(this.#conn, bytes);
    } catch (error) {
      this.broken = true;
      throw error;
    } finally {
      timer.cancel();
    }
  }
}

/** Closes it, whether or not it is open. */
export function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // Closed already.
  }
}

/** The errors of a connection that ends while in use: closed by the peer or, at shutdown, on this side. */
export const GONE = [
  Deno.errors.BrokenPipe,
  Deno.errors.ConnectionReset,
  Deno.errors.BadResource,
  Deno.errors.Interrupted,
] as const;
