/**
 * The client of the control socket: how commands talk to a running serve-out.
 *
 * @module
 */
import { type Clock, systemClock } from "../base/clock.ts";
import { Watchdog } from "../base/watchdog.ts";
import { writeAll } from "../base/write_all.ts";
import {
  closeQuietly,
  type ContentAnswer,
  ControlError,
  ControlLineReader,
  type DomainAnswer,
  formatRequest,
  GONE,
  type HostQuestion,
  type Request,
  type RouteAnswer,
  type SettingsAnswer,
  shortPath,
} from "./control_protocol.ts";
import type { ActionOptions, ActionResult, OperatorAction, QueueView } from "./operator.ts";
import type { QueueFilter } from "./queue_filter.ts";

// Ids are 32 characters at most, but users may type anything.
const IDS_PER_REQUEST = 1000;
// The largest entry has an envelope of 12 MiB and attempts of 40.
const MAX_LINE = 64 * 1024 * 1024;

/** How long a server may be silent, in milliseconds. */
const SILENCE = 20_000;
/** Likewise while it changes messages on a slow disk, or asks DNS. */
const BUSY_SILENCE = 300_000;

/** Commands for which nothing is changed or queried. */
const READ_ONLY: readonly Request["command"][] = ["list", "content", "settings"];

const encoder = new TextEncoder();

/** How a {@linkcode ControlClient} waits. */
export interface ControlClientOptions {
  /** How long the server may be silent while it is only to read, in milliseconds; default: 20 s. */
  readonly silence?: number;
  /** Tells the time; default: the system's. */
  readonly clock?: Clock;
}

/** Talks to a running server; each call makes its own connection. A server that hangs is a {@linkcode ControlError}. */
export class ControlClient {
  readonly #path: string;
  readonly #silence: number;
  readonly #clock: Clock;

  private constructor(path: string, { silence = SILENCE, clock = systemClock }: ControlClientOptions) {
    this.#path = path;
    this.#silence = silence;
    this.#clock = clock;
  }

  /**
   * Looks for a running server; `undefined` when there is none.
   * @throws {Deno.errors.PermissionDenied} when this account may not use it
   */
  static async find(path: string, options: ControlClientOptions = {}): Promise<ControlClient | undefined> {
    try {
      (await connect(path)).close();
      return new ControlClient(path, options);
    } catch (error) {
      // A data directory that is a file has no socket in it either.
      const { NotFound, NotADirectory, ConnectionRefused } = Deno.errors;
      if ([NotFound, NotADirectory, ConnectionRefused].some((kind) => error instanceof kind)) {
        return undefined;
      }
      throw error;
    }
  }

  async *list(filter: QueueFilter): AsyncGenerator<QueueView, void, void> {
    for (const part of inParts(filter)) yield* this.#ask<QueueView>({ command: "list", filter: part });
  }

  async *apply(
    action: OperatorAction,
    filter: QueueFilter,
    { by }: ActionOptions = {},
  ): AsyncGenerator<ActionResult, void, void> {
    for (const part of inParts(filter)) {
      yield* this.#ask<ActionResult>({
        command: "apply",
        action,
        filter: part,
        ...(by !== undefined && { by }),
      });
    }
  }

  /** The message as it is sent, in pieces; nothing when it is not in the queue. */
  async *content(id: string): AsyncGenerator<Uint8Array, void, void> {
    for await (const { data } of this.#ask<ContentAnswer>({ command: "content", id })) {
      yield Uint8Array.fromBase64(data);
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

  /** The name of the settings that the server uses; `undefined` where it cannot say that, since it is of an earlier version. */
  async settings(): Promise<string | undefined> {
    try {
      for await (const { settings } of this.#ask<SettingsAnswer>({ command: "settings" })) return settings;
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
    }
    return undefined;
  }

  async *#ask<T>(request: Request): AsyncGenerator<T, void, void> {
    const conn = await connect(this.#path).catch((cause) => {
      throw new ControlError("it has just ended", { cause });
    });
    const silence = READ_ONLY.includes(request.command)
      ? this.#silence
      : Math.max(this.#silence, BUSY_SILENCE);
    let isSilent = false;
    const watchdog = new Watchdog(this.#clock, () => {
      isSilent = true;
      closeQuietly(conn);
    });
    try {
      watchdog.deadline = this.#clock.monotonic() + silence;
      // A server that turns a client away says why, and does not wait for the request.
      await writeAll(conn, encoder.encode(formatRequest(request) + "\n")).catch(() => {});
      const lines = new ControlLineReader(conn, MAX_LINE);
      for (;;) {
        watchdog.deadline = this.#clock.monotonic() + silence;
        const line = await lines.read();
        // The caller takes what time it likes.
        watchdog.deadline = Infinity;
        if (line === undefined) break;
        const answer = JSON.parse(line) as { item?: T; error?: string; end?: unknown };
        if (answer.error !== undefined) throw new ControlError(answer.error);
        if (answer.end !== undefined) return;
        if (answer.item !== undefined) yield answer.item;
      }
      throw new ControlError(WENT_AWAY);
    } catch (error) {
      if (isSilent) {
        throw new ControlError(`it has not answered for ${Math.round(silence / 1000)} s`, { cause: error });
      }
      if (!GONE.some((gone) => error instanceof gone)) throw error;
      throw new ControlError(WENT_AWAY, { cause: error });
    } finally {
      watchdog.cancel();
      closeQuietly(conn);
    }
  }
}

/** Splits a selection into parts that each fit into a request. */
function* inParts({ ids, ...rest }: QueueFilter): Generator<QueueFilter, void, void> {
  if (ids === undefined) return yield rest;
  // An id that is not named twice is not answered twice.
  const all = [...new Set(ids)];
  for (let at = 0; at < all.length; at += IDS_PER_REQUEST) {
    yield { ...rest, ids: all.slice(at, at + IDS_PER_REQUEST) };
  }
}

const WENT_AWAY = "it broke off its answer; what it had reported by then is done";

async function connect(path: string): Promise<Deno.Conn> {
  using short = shortPath(path);
  return await Deno.connect({ transport: "unix", path: short.path });
}
