/**
 * The control socket: how `mailapp queue` and `mailapp explain` speak with a running serve-out.
 *
 * A Unix socket that only the service user can open. A client sends one line, a JSON object with `mailapp` (the
 * protocol's version, 1) and `command`; the server answers with lines `{"item": …}`, as many as there are, then one
 * line `{"end": …}` or `{"error": "…"}`, and closes.
 *
 * @module
 */
import { basename, dirname, join } from "@std/path";
import type { Logger } from "../base/log.ts";
import type { Clock } from "../base/clock.ts";
import type { HostFailure } from "./host_table.ts";
import {
  type ActionResult,
  OPERATOR_ACTIONS,
  type OperatorAction,
  type QueueOperator,
  type QueueView,
} from "./operator.ts";
import type { Targets } from "./mx.ts";
import { parseFilter, type QueueFilter } from "./queue_filter.ts";
import type { DomainStatus, Scheduler } from "./scheduler.ts";
import { writeAll } from "../base/write_all.ts";

/** The name of the socket in the data directory. */
export const CONTROL_SOCKET = "control.sock";

const VERSION = 1;
// Ids are 32 characters at most, but what is typed for one may be anything.
const IDS_PER_REQUEST = 1000;
const MAX_REQUEST = 1024 * 1024;
// The largest entry has an envelope of 12 MiB and attempts of 40.
const MAX_LINE = 64 * 1024 * 1024;
const MAX_CLIENTS = 16;
const REQUEST_TIMEOUT = 10_000;
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

/** What a running server knows about a domain. */
export interface DomainAnswer {
  /** What waits for it. */
  readonly status: DomainStatus;
  /** The hosts of the question that are left alone for now: why, and for how many milliseconds. */
  readonly hosts: readonly (HostQuestion & { readonly failure: HostFailure; readonly forMs: number })[];
}

/** Where a running server would send a domain's mail. */
export interface RouteAnswer {
  /** The targets; what to log in with is left out. */
  readonly found: Targets;
  /** Names the settings that it goes by. */
  readonly settings: string;
}

type Request =
  | { readonly command: "list"; readonly filter: QueueFilter }
  | { readonly command: "apply"; readonly action: OperatorAction; readonly filter: QueueFilter }
  | { readonly command: "domain"; readonly domain: string; readonly hosts: readonly HostQuestion[] }
  | { readonly command: "route"; readonly domain: string };

/** What a {@linkcode ControlServer} needs. */
export interface ControlServerOptions {
  /** Where the socket is made; an old one there is replaced, so the spool's lock must be held. */
  readonly path: string;
  /** Does what is asked. */
  readonly operator: QueueOperator;
  /** Knows about domains. */
  readonly scheduler: Pick<Scheduler, "domainStatus" | "inspectHost" | "route">;
  /** Names the settings that the server goes by now. */
  readonly settings: () => string;
  /** Times out clients. */
  readonly clock: Clock;
  /** Takes `control.failed`. */
  readonly logger: Logger;
}

/** Answers on the control socket. */
export class ControlServer implements AsyncDisposable {
  readonly #options: ControlServerOptions;
  readonly #listener: Deno.Listener;
  readonly #clients = new Map<Deno.Conn, Promise<void>>();
  readonly #accepting: Promise<void>;

  private constructor(options: ControlServerOptions, listener: Deno.Listener) {
    this.#options = options;
    this.#listener = listener;
    this.#accepting = this.#accept();
  }

  /**
   * Begins to listen.
   * @throws what the system throws
   */
  static listen(options: ControlServerOptions): ControlServer {
    const { path } = options;
    try {
      Deno.removeSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    // The socket must never have been open to others, not even for a moment.
    const umask = Deno.umask(0o177);
    try {
      using short = shortPath(path);
      return new ControlServer(options, Deno.listen({ transport: "unix", path: short.path }));
    } finally {
      Deno.umask(umask);
    }
  }

  /** Stops listening, cuts off clients and removes the socket. */
  async close(): Promise<void> {
    this.#listener.close();
    await this.#accepting;
    for (const conn of this.#clients.keys()) closeQuietly(conn);
    await Promise.all(this.#clients.values());
    await Deno.remove(this.#options.path).catch(() => {});
  }

  /** The same as {@linkcode ControlServer.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #accept(): Promise<void> {
    for (;;) {
      let conn: Deno.Conn;
      try {
        conn = await this.#listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) return;
        // Out of descriptors, most likely.
        this.#options.logger.error("control.failed", { error: String(error) });
        await new Promise<void>((resolve) => void this.#options.clock.after(1000, resolve));
        continue;
      }
      if (this.#clients.size >= MAX_CLIENTS) {
        closeQuietly(conn);
        continue;
      }
      const done = this.#serve(conn).catch((error) => {
        // A client that goes away in the middle is nothing special.
        if (GONE.some((gone) => error instanceof gone)) return;
        this.#options.logger.warn("control.failed", { error: String(error) });
      }).finally(() => {
        closeQuietly(conn);
        this.#clients.delete(conn);
      });
      this.#clients.set(conn, done);
    }
  }

  async #serve(conn: Deno.Conn): Promise<void> {
    const { clock } = this.#options;
    const out = new LineWriter(conn, clock);
    const timer = clock.after(REQUEST_TIMEOUT, () => closeQuietly(conn));
    let line: string | undefined;
    try {
      line = await new LineReader(conn, MAX_REQUEST).read();
    } finally {
      timer.cancel();
    }
    const request = line === undefined ? "no request" : parseRequest(line);
    if (typeof request === "string") return await out.finish({ error: request });
    try {
      let count = 0;
      for await (const item of this.#answer(request)) {
        count++;
        await out.write({ item });
      }
      await out.finish({ end: { count } });
    } catch (error) {
      if (!out.broken) await out.finish({ error: String(error) });
      throw error;
    }
  }

  async *#answer(request: Request): AsyncGenerator<QueueView | ActionResult | DomainAnswer | RouteAnswer> {
    const { operator, scheduler, settings } = this.#options;
    switch (request.command) {
      case "list":
        return yield* operator.list(request.filter);
      case "apply":
        return yield* operator.apply(request.action, request.filter);
      case "domain": {
        const hosts = request.hosts.flatMap((host) => {
          const resting = scheduler.inspectHost(host);
          return resting === undefined ? [] : { ...host, ...resting };
        });
        yield { status: scheduler.domainStatus(request.domain), hosts };
        break;
      }
      case "route":
        yield { found: withoutPasswords(await scheduler.route(request.domain)), settings: settings() };
    }
  }
}

/** The server said why it does not do it, or went away before it had said all. */
export class ControlError extends Error {
  /** Makes it from what the server said. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ControlError";
  }
}

/** Speaks with a running server; each call is a connection of its own. */
export class ControlClient {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /**
   * Finds out whether a server is there; `undefined` when none is.
   * @throws {Deno.errors.PermissionDenied} when it is there and not for us
   */
  static async find(path: string): Promise<ControlClient | undefined> {
    try {
      (await connect(path)).close();
      return new ControlClient(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused) {
        return undefined;
      }
      throw error;
    }
  }

  async *list(filter: QueueFilter): AsyncGenerator<QueueView, void, void> {
    for (const part of inParts(filter)) yield* this.#ask<QueueView>({ command: "list", filter: part });
  }

  async *apply(action: OperatorAction, filter: QueueFilter): AsyncGenerator<ActionResult, void, void> {
    for (const part of inParts(filter)) {
      yield* this.#ask<ActionResult>({ command: "apply", action, filter: part });
    }
  }

  /** What the server knows about a domain and these hosts of it. */
  async domain(domain: string, hosts: readonly HostQuestion[]): Promise<DomainAnswer> {
    const questions = hosts.map(({ host, address, port }) => ({ host, address, port }));
    for await (const answer of this.#ask<DomainAnswer>({ command: "domain", domain, hosts: questions })) {
      return answer;
    }
    throw new ControlError("no answer");
  }

  /**
   * Where the server would send a domain's mail.
   * @throws {ControlError} where it cannot say that, since it is of an earlier version
   */
  async route(domain: string): Promise<RouteAnswer> {
    for await (const answer of this.#ask<RouteAnswer>({ command: "route", domain })) return answer;
    throw new ControlError("no answer");
  }

  async *#ask<T>(request: Request): AsyncGenerator<T, void, void> {
    const conn = await connect(this.#path).catch((cause) => {
      throw new ControlError("it has just ended", { cause });
    });
    try {
      await writeAll(conn, encoder.encode(formatRequest(request) + "\n"));
      const lines = new LineReader(conn, MAX_LINE);
      for (let line = await lines.read(); line !== undefined; line = await lines.read()) {
        const answer = JSON.parse(line) as { item?: T; error?: string; end?: unknown };
        if (answer.error !== undefined) throw new ControlError(answer.error);
        if (answer.end !== undefined) return;
        if (answer.item !== undefined) yield answer.item;
      }
      throw new ControlError(WENT_AWAY);
    } catch (error) {
      if (!GONE.some((gone) => error instanceof gone)) throw error;
      throw new ControlError(WENT_AWAY, { cause: error });
    } finally {
      closeQuietly(conn);
    }
  }
}

/** A selection in as many parts as it takes for each to fit into a request. */
function* inParts({ ids, ...rest }: QueueFilter): Generator<QueueFilter, void, void> {
  if (ids === undefined) return yield rest;
  // One that is not named twice is not answered twice.
  const all = [...new Set(ids)];
  for (let at = 0; at < all.length; at += IDS_PER_REQUEST) {
    yield { ...rest, ids: all.slice(at, at + IDS_PER_REQUEST) };
  }
}

const WENT_AWAY = "it broke off its answer; what it had told by then is done";

// How a connection ends under the one who uses it: closed on the other side or, at the end of the server, on this one.
const GONE = [
  Deno.errors.BrokenPipe,
  Deno.errors.ConnectionReset,
  Deno.errors.BadResource,
  Deno.errors.Interrupted,
] as const;

async function connect(path: string): Promise<Deno.Conn> {
  using short = shortPath(path);
  return await Deno.connect({ transport: "unix", path: short.path });
}

// What every system takes in octets, for the NUL behind it is 104 or 108.
const MAX_SOCKET_PATH = 103;

/** The same place by a path that a socket may have: as it is, or through a link that goes when disposed. */
function shortPath(path: string): { readonly path: string } & Disposable {
  if (encoder.encode(path).length <= MAX_SOCKET_PATH) return { path, [Symbol.dispose]: () => {} };
  const directory = dirname(path);
  // Else the link would hide that there is nothing.
  Deno.statSync(directory);
  const temporary = Deno.makeTempDirSync();
  const link = join(temporary, "d");
  Deno.symlinkSync(directory, link);
  return {
    path: join(link, basename(path)),
    [Symbol.dispose]: () => Deno.removeSync(temporary, { recursive: true }),
  };
}

function formatRequest(request: Request): string {
  if (!("filter" in request)) return JSON.stringify({ mailapp: VERSION, ...request });
  const { filter: selection, ...rest } = request;
  return JSON.stringify({ mailapp: VERSION, ...rest, selection });
}

/** Checks what came over the socket; what is wrong with it otherwise. */
function parseRequest(line: string): Request | string {
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
      return filter === undefined ? "bad selection" : { command: "apply", action, filter };
    }
    case "domain": {
      const { domain, hosts } = value;
      if (typeof domain !== "string" || !Array.isArray(hosts) || !hosts.every(isHostQuestion)) {
        return "bad domain";
      }
      return { command: "domain", domain, hosts };
    }
    case "route":
      return typeof value.domain === "string" ? { command: "route", domain: value.domain } : "bad domain";
    default:
      return "unknown command";
  }
}

function withoutPasswords(found: Targets): Targets {
  if (found.kind !== "targets") return found;
  return { ...found, targets: found.targets.map(({ auth: _, ...target }) => target) };
}

function isHostQuestion(value: unknown): value is HostQuestion {
  return isRecord(value) && typeof value.host === "string" && typeof value.address === "string" &&
    typeof value.port === "number";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Reads lines that end in LF, up to a length. */
class LineReader {
  readonly #conn: Deno.Conn;
  readonly #max: number;
  readonly #buffer = new Uint8Array(BATCH);
  readonly #decoder = new TextDecoder();
  #pieces: string[] = [];
  #length = 0;
  #lines: string[] = [];

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
class LineWriter {
  readonly #conn: Deno.Conn;
  readonly #clock: Clock;
  #waiting: string[] = [];
  #length = 0;
  /** Whether nothing more can be written. */
  broken = false;

  constructor(conn: Deno.Conn, clock: Clock) {
    this.#conn = conn;
    this.#clock = clock;
  }

  async write(line: unknown): Promise<void> {
    const text = JSON.stringify(line) + "\n";
    this.#waiting.push(text);
    this.#length += text.length;
    if (this.#length >= BATCH) await this.#flush();
  }

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

function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // Closed already.
  }
}
