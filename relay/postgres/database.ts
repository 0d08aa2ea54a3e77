/**
 * Connections to PostgreSQL. No statement is waited for without end: one that is not answered in time takes its
 * connections with it, as after a cut of the network.
 *
 * @module
 */
import postgres from "postgres";
import { errorText } from "../../base/error_text.ts";
import type { Clock } from "../../base/clock.ts";
import { systemClock } from "../../base/clock.ts";
import { clientOptions, type Credentials } from "./credentials.ts";
import { codeOf, examine, explain, type Findings } from "./diagnosis.ts";
import { Sockets } from "./sockets.ts";

/** What statements are written with. */
export type Sql = postgres.Sql;

/** How to connect. */
export interface DatabaseOptions extends Credentials {
  /** Connections for statements at a time, at least 1; default 8. */
  readonly connections?: number;
  /** Measures waits; default: the system's clock. */
  readonly clock?: Clock;
}

/**
 * A statement failed for a reason that lies not in it: the database cannot be reached, is full, or not to be written
 * to now. Without `isCertain` it may have taken effect all the same.
 */
export class DatabaseError extends Error {
  /** Whether it is certain that the statement had no effect. */
  readonly isCertain: boolean;
  /** Whether the database has no room. */
  readonly isFull: boolean;
  /** Whether somebody else has locked what was to be changed. */
  readonly isLocked: boolean;

  /** `cause` is what was thrown. */
  constructor(cause: unknown, { isCertain }: { readonly isCertain: boolean }) {
    super(`the database of the queue: ${explain(cause)}`, { cause });
    this.name = "DatabaseError";
    this.isCertain = isCertain;
    const code = codeOf(cause);
    this.isFull = code === "53100" || code === "53200";
    this.isLocked = code === LOCKED;
  }
}

/** A statement waited too long for a lock (SQLSTATE). */
const LOCKED = "55P03";
// Milliseconds. No statement of ours holds a lock for long; somebody at the database may.
const LOCKED_FOR = 2_000;
// Milliseconds. A statement of ours takes some; a synchronous standby that is away makes it wait.
const ANSWER_WITHIN = 15_000;
// Milliseconds without a first answer after which the servers are examined.
const EXAMINE_AFTER = 1_000;
// The factor by which the time limit is longer for a statement that waits for others.
const MOST_TURNS = 4;
/** Errors from before a statement can have been sent. */
const NOT_SENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "CONNECT_TIMEOUT",
  "ENOENT",
]);

/** A database, connected to when needed. */
export class Database implements AsyncDisposable {
  readonly #options: DatabaseOptions;
  readonly #clock: Clock;
  /** Statements that wait for the disk, and those that need not. */
  readonly #clients: { durable: Sql | undefined; lazy: Sql | undefined } = {
    durable: undefined,
    lazy: undefined,
  };
  readonly #answeredAt = { durable: -Infinity, lazy: -Infinity };
  /** Whether there was ever an answer. */
  #reached = false;
  readonly #sockets = new Map<Sql, Sockets>();
  #examining: Promise<Findings> | undefined;
  #waitsCancelled = 0;
  #closed = false;

  /** Connects to nothing yet. */
  constructor(options: DatabaseOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /**
   * Runs statements, each of which is a separate transaction unless they begin one. What they changed is durable when
   * this resolves, on a synchronous standby too where the database has one.
   * @param options `lazy`: durable some time later, in order; `within`: milliseconds
   * @throws {DatabaseError}
   */
  async run<T>(
    work: (sql: Sql) => Promise<T>,
    { lazy = false, within = ANSWER_WITHIN }: { readonly lazy?: boolean; readonly within?: number } = {},
  ): Promise<T> {
    if (this.#closed) throw new DatabaseError(new Error("closed"), { isCertain: true });
    const kind = lazy ? "lazy" : "durable";
    if (this.#clients[kind] === undefined) this.#answeredAt[kind] = -Infinity;
    const sql = this.#clients[kind] ??= this.#connect(kind);
    const waitsCancelled = this.#waitsCancelled;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const began = this.#clock.monotonic();
    let found: Findings | undefined;
    const watch = () => {
      const now = this.#clock.monotonic();
      // While others are answered it only waits for its turn.
      const isBusy = now - this.#answeredAt[kind] < within && now - began < MOST_TURNS * within;
      if (!isBusy) return reject(new Error(`no answer within ${within} ms`));
      timer = this.#clock.after(within, watch);
    };
    // Its client tries servers without end, and says of none what is wrong with it.
    const isConnected = this.#answeredAt[kind] > -Infinity;
    const lookAfter = isConnected ? 2 * within / 3 : Math.min(within / 3, EXAMINE_AFTER);
    let timer = this.#clock.after(lookAfter, () => {
      timer = this.#clock.after(within - lookAfter, watch);
      void this.#examine().then((findings) => {
        found = findings;
        if (!this.#reached && findings.troubles.length > 0) reject(new Error("no server can be used"));
      });
    });
    try {
      const result = await Promise.race([work(sql), late]);
      this.#reached = true;
      this.#answeredAt[kind] = this.#clock.monotonic();
      // Then a COMMIT says yes to what the standby does not have.
      if (!lazy && waitsCancelled !== this.#waitsCancelled) {
        throw new Error("a wait for the standby was cancelled");
      }
      return result;
    } catch (error) {
      if (error instanceof DatabaseError) throw error;
      const isServers = error instanceof postgres.PostgresError;
      // An error in one of our statements is a bug.
      if (isServers && !isOutage(error) && !isConfiguration(error)) throw error;
      if (!isServers && !NOT_SENT.has(codeOf(error)) && this.#clients[kind] === sql) this.#drop(kind);
      const isCertain = isServers
        ? error.severity === "ERROR" || error.code === "57P03" || isConfiguration(error)
        : NOT_SENT.has(codeOf(error));
      if (!this.#reached) found ??= await this.#examine();
      throw new DatabaseError(withReason(error, { found, lazy }), { isCertain });
    } finally {
      timer.cancel();
    }
  }

  /**
   * Calls back with each notification on a channel, and whenever some may have been missed.
   * @returns ends it
   */
  listen(channel: string, callback: (payload: string | undefined) => void): AsyncDisposable {
    const sql = this.#connect("durable", 1);
    const listening = sql.listen(channel, callback, () => callback(undefined));
    listening.catch(() => {});
    return { [Symbol.asyncDispose]: () => this.#end(sql, 0) };
  }

  /** Ends all connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await Promise.all(
      [this.#clients.durable, this.#clients.lazy].map((sql) => sql && this.#end(sql, 1)),
    );
  }

  #examine(): Promise<Findings> {
    return this.#examining ??= examine(this.#options).catch(() => ({ troubles: [] })).finally(() =>
      this.#examining = undefined
    );
  }

  #drop(kind: "durable" | "lazy"): void {
    const sql = this.#clients[kind];
    if (sql !== undefined) this.#end(sql, 0).catch(() => {});
    this.#clients[kind] = undefined;
  }

  /** @param timeout Seconds */
  #end(sql: Sql, timeout: number): Promise<void> {
    this.#sockets.get(sql)?.close();
    this.#sockets.delete(sql);
    return sql.end({ timeout });
  }

  #connect(kind: "durable" | "lazy", most = this.#options.connections ?? 8): Sql {
    const { url: { hosts } } = this.#options;
    const sockets = new Sockets(hosts, this.#clock);
    const reachable = hosts.flatMap((one) => "host" in one ? [one] : []);
    const sql = postgres(
      {
        ...clientOptions(this.#options),
        socket: () => sockets.open(),
        // With several it goes on to the next one after a failure.
        host: reachable.length === 0 ? ["localhost"] : reachable.map(({ host }) => host),
        port: hosts.map(({ port }) => port),
        max: kind === "durable" ? most : 2,
        // After the loss of a primary, the standby that has been promoted is the one. Its client takes a standby for
        // "read-write".
        target_session_attrs: "primary",
        connection: {
          application_name: "mailapp",
          synchronous_commit: kind === "durable" ? "on" : "off",
          // Somewhat sooner than we give up.
          statement_timeout: ANSWER_WITHIN - 1000,
          lock_timeout: LOCKED_FOR,
          idle_in_transaction_session_timeout: ANSWER_WITHIN,
          // Each statement of ours finds its rows by an index. Plans are kept, also those that were made for empty tables.
          enable_seqscan: "off",
          enable_hashjoin: "off",
          enable_mergejoin: "off",
          // Compiling takes longer than any of them.
          jit: "off",
        },
        onnotice: (notice: postgres.Notice) => {
          if (isWaitCancelled(notice)) this.#waitsCancelled++;
        },
      } as unknown as Parameters<typeof postgres>[0],
    );
    this.#sockets.set(sql, sockets);
    return sql;
  }
}

/** An error with what an examination has found, where the error does not say it. */
function withReason(
  error: unknown,
  { found, lazy }: { readonly found: Findings | undefined; readonly lazy: boolean },
): unknown {
  const { troubles = [], standbys = "" } = found ?? {};
  if (troubles.length > 0) return new Error(troubles.join("; "), { cause: error });
  if (codeOf(error) !== "" || lazy || standbys === "") return error;
  const reason = `though the server can be used: is a synchronous standby missing? It has ` +
    `synchronous_standby_names = '${standbys}', and pg_stat_replication shows those that are there`;
  return new Error(`${errorText(error)}, ${reason}`, { cause: error });
}

/** Whether a warning says that a commit no longer waits for the standby; its text is in the server's language. */
export function isWaitCancelled({ routine, message = "" }: postgres.Notice): boolean {
  return routine === "SyncRepWaitForLSN" || /\bsynchronous replication\b/.test(message);
}

/** Whether the server says that it cannot serve at present. */
function isOutage({ code }: { readonly code: string }): boolean {
  // Connection, resources, operator's intervention, system, deadlock; a lock; and a standby, which cannot be written to.
  return /^(?:08|53|57|58|40)/.test(code) || code === LOCKED || code === "25006";
}

/** Whether the server says that this account or database cannot be used. */
function isConfiguration({ code }: { readonly code: string }): boolean {
  return code.startsWith("28") || code === "3D000" || code === "42501";
}
