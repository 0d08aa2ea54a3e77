/**
 * The control socket, by which `mailapp queue` and `mailapp explain` talk to a running serve-out: a Unix socket that
 * only the service's account can open.
 *
 * @module
 */
import type { Logger } from "../base/log.ts";
import type { Clock } from "../base/clock.ts";
import {
  closeQuietly,
  type ContentAnswer,
  ControlLineReader,
  ControlLineWriter,
  type DomainAnswer,
  GONE,
  parseRequest,
  type Request,
  type RouteAnswer,
  type SettingsAnswer,
  shortPath,
} from "./control_protocol.ts";
import type { ActionResult, QueueOperator, QueueView } from "./operator.ts";
import type { Targets } from "./mx.ts";
import type { Scheduler } from "./scheduler.ts";
import { acceptAll } from "../net/accept.ts";

const MAX_REQUEST = 1024 * 1024;
const MAX_CLIENTS = 16;
const BUSY = `${MAX_CLIENTS} others are being served; try again later`;
const REQUEST_TIMEOUT = 10_000;

/** What a {@linkcode ControlServer} needs. */
export interface ControlServerOptions {
  /** Where the socket is made; an old one there is replaced, so the spool's lock must be held. */
  readonly path: string;
  /** Executes the requests. */
  readonly operator: Pick<QueueOperator, "list" | "apply" | "content">;
  /** Answers questions about domains. */
  readonly scheduler: Pick<Scheduler, "domainStatus" | "inspectHost" | "route">;
  /** Names the server's current settings. */
  readonly settings: () => string;
  /** Times out clients. */
  readonly clock: Clock;
  /** Takes `control.failed`, and what {@linkcode acceptAll} says. */
  readonly logger: Logger;
  /** Listens on a Unix socket; default: `Deno.listen()`. */
  readonly listenOn?: (path: string) => Deno.Listener;
}

/** Answers on the control socket. */
export class ControlServer implements AsyncDisposable {
  readonly #options: ControlServerOptions;
  readonly #listener: Deno.Listener;
  readonly #clients = new Map<Deno.Conn, Promise<void>>();
  readonly #accepting: Promise<void>;
  #refused = 0;
  #closed = false;

  private constructor(options: ControlServerOptions, listener: Deno.Listener) {
    this.#options = options;
    this.#listener = listener;
    this.#accepting = acceptAll(listener, {
      admit: (conn) => this.#admit(conn),
      ended: () => this.#closed,
      clock: options.clock,
      logger: options.logger.with({ socket: options.path }),
    });
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
      const { listenOn = (path) => Deno.listen({ transport: "unix", path }) } = options;
      return new ControlServer(options, listenOn(short.path));
    } finally {
      Deno.umask(umask);
    }
  }

  /** Stops listening, cuts off clients and removes the socket. */
  async close(): Promise<void> {
    this.#closed = true;
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

  #admit(conn: Deno.Conn): void {
    if (this.#clients.size >= MAX_CLIENTS) return void this.#refuse(conn);
    const done = this.#serve(conn).catch((error) => {
      // A client that disconnects early is not an error.
      if (GONE.some((gone) => error instanceof gone)) return;
      this.#options.logger.warn("control.failed", { error: String(error) });
    }).finally(() => {
      closeQuietly(conn);
      this.#clients.delete(conn);
    });
    this.#clients.set(conn, done);
  }

  /** Tells the reason, to as many clients as are served. */
  async #refuse(conn: Deno.Conn): Promise<void> {
    if (this.#refused >= MAX_CLIENTS) return closeQuietly(conn);
    this.#refused++;
    try {
      await new ControlLineWriter(conn, this.#options.clock).finish({ error: BUSY });
    } catch {
      // Gone already.
    } finally {
      this.#refused--;
      closeQuietly(conn);
    }
  }

  async #serve(conn: Deno.Conn): Promise<void> {
    const { clock } = this.#options;
    const out = new ControlLineWriter(conn, clock);
    const timer = clock.after(REQUEST_TIMEOUT, () => closeQuietly(conn));
    let line: string | undefined;
    try {
      line = await new ControlLineReader(conn, MAX_REQUEST).read();
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

  async *#answer(
    request: Request,
  ): AsyncGenerator<QueueView | ActionResult | ContentAnswer | DomainAnswer | RouteAnswer | SettingsAnswer> {
    const { operator, scheduler, settings } = this.#options;
    switch (request.command) {
      case "list":
        return yield* operator.list(request.filter);
      case "apply":
        return yield* operator.apply(request.action, request.filter, request);
      case "content":
        for await (const piece of operator.content(request.id)) yield { data: piece.toBase64() };
        return;
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
        break;
      case "settings":
        yield { settings: settings() };
    }
  }
}

function withoutPasswords(found: Targets): Targets {
  if (found.kind !== "targets") return found;
  return { ...found, targets: found.targets.map(({ auth: _, ...target }) => target) };
}
