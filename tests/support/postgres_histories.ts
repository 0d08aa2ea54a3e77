/**
 * Histories of processes whose queue is in a real PostgreSQL. Statements are lost on their way there, or their answers on
 * the way back. The database's clock is the test's, so that days pass at once.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type { Clock, Timer } from "../../base/clock.ts";
import type { LogFields, Logger } from "../../base/log.ts";
import { CHANNEL } from "../../relay/postgres/channel.ts";
import { Database, DatabaseError, type Sql } from "../../relay/postgres/database.ts";
import { PostgresQueue } from "../../relay/postgres/postgres_queue.ts";
import { parseDatabaseUrl } from "../../relay/postgres/url.ts";
import type { QueueFollower } from "../../relay/queue.ts";
import { Failures, type HistoryProcess, type HistoryQueue, type HostClock } from "./histories.ts";
import { DAY, HOUR, SECOND, World } from "./scheduler_world.ts";
import { StoreClock, StoredQueue } from "./stored_queue.ts";
import type { TimedDatabase } from "./timed_database.ts";

// Milliseconds. Leases end when a history says so, and what looks by itself is woken by it.
const LEASE = 1e12;
const LONGEST_TIMER = 1_500;
const HORIZON = 5_000;
/** The longest wait for an answer to a dot, and for its sequel. */
const DOT_TIMEOUT = 10 * 60 * SECOND;
/** What was due, and was not claimed, is looked at again after this time, then after twice as long. */
const LOOK_AGAIN = [2 * SECOND, 10 * 60 * SECOND] as const;
const MARK = "mark ";

/** Statements that a history lets fail, by their texts. */
const STATEMENTS: readonly (readonly [string, RegExp])[] = [
  ["add", /INSERT INTO mailapp\.entry \(id, head/],
  ["take id", /INSERT INTO mailapp\.entry \(id, reverse_path/],
  ["update", /WITH covered AS/],
  ["remove", /WITH gone AS/],
  ["dotSent", /INSERT INTO mailapp\.dot/],
  ["dotAnswered", /WITH answered AS/],
  ["claim", /WITH free AS \(\s*SELECT id FROM mailapp\.entry/],
  ["give back", /UPDATE mailapp\.entry AS e SET owner = NULL/],
  ["lease", /(?:UPDATE|INSERT INTO) mailapp\.host/],
  ["slot", /mailapp\.slot/],
];
const OTHER = "other";

/** What can fail. */
export const STATEMENT_KINDS: readonly string[] = [...STATEMENTS.map(([kind]) => kind), OTHER];

/** The queue of one history. */
export class PostgresHistoryQueue implements HistoryQueue {
  readonly database: TimedDatabase;
  readonly clock = new StoreClock({ turn: () => new Promise((resolve) => void setImmediate(resolve)) });
  readonly recorded = new Set<string>();
  readonly live = new Set<PostgresProcess>();
  #count = 0;
  /** How many statements there were, and how many when it was last looked for their sequels. */
  statements = 0;
  #seen = -1;
  #mark = 0;
  #shown = -1;
  #showing: Promise<void> = Promise.resolve();
  #lookTimer: Timer | undefined;
  #lookedAt = -1;
  #lookAgain: number = LOOK_AGAIN[0];

  private constructor(database: TimedDatabase) {
    this.database = database;
    this.clock.settled = () => this.#settled();
  }

  /** An empty one. */
  static async on(database: TimedDatabase): Promise<PostgresHistoryQueue> {
    await database.clear();
    const queue = new PostgresHistoryQueue(database);
    await queue.showTime();
    return queue;
  }

  async start(clock: HostClock, latest: World | undefined): Promise<HistoryProcess> {
    const process = await PostgresProcess.start(this, { clock, latest, name: `host${++this.#count}.test` });
    this.live.add(process);
    return process;
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    if (ms >= 20 * SECOND) await this.wake();
  }

  async finish(): Promise<void> {
    for (let passed = 0; passed < 7 * DAY; passed += HOUR) {
      await this.pass(HOUR);
      if ((await this.left()).length === 0) break;
    }
    await this.pass(DAY);
    this.#lookTimer?.cancel();
  }

  async left(): Promise<readonly unknown[]> {
    return [
      ...await this.database.sql`
      SELECT id, state, owner, due_at, dot_until, unreadable, (SELECT at FROM fake.time) AS now FROM mailapp.entry
      WHERE head IS NOT NULL`,
      ...await this.database.sql`
      SELECT 'recipient' AS remains, entry FROM mailapp.recipient UNION ALL SELECT 'body', entry FROM mailapp.body
      UNION ALL SELECT 'dot', entry FROM mailapp.dot`,
    ];
  }

  /** Lets processes do what they do from time to time. */
  async wake(which: Iterable<PostgresProcess> = this.live): Promise<void> {
    for (const process of [...which]) process.wake();
    await this.clock.advance(0);
  }

  /** Sets the database's clock by the one of the history. */
  showTime(): Promise<void> {
    const elapsed = this.clock.monotonic();
    if (elapsed !== this.#shown) {
      this.#shown = elapsed;
      this.#showing = this.#showing.then(() => this.database.setTime(Date.UTC(2026, 0, 1) + elapsed));
    }
    return this.#showing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.all([...this.live].map((process) => process.kill())).then(() => {});
  }

  /** Whether something has happened meanwhile. */
  async #settled(): Promise<boolean> {
    if (this.statements === this.#seen || this.live.size === 0) return false;
    const before = this.statements;
    if (await this.#notify()) return true;
    await this.showTime();
    const wait = await this.database.untilDue(HORIZON);
    this.#seen = before;
    this.#lookTimer?.cancel();
    if (wait === Infinity) return this.statements !== before;
    const now = this.clock.monotonic();
    if (wait > 0) {
      this.#lookAgain = LOOK_AGAIN[0];
      this.#lookTimer = this.clock.afterForStore(wait, () => this.#look());
      return this.statements !== before;
    }
    if (this.#lookedAt !== now) {
      this.#lookedAt = now;
      this.#look();
      return true;
    }
    this.#lookTimer = this.clock.afterForStore(this.#lookAgain, () => this.#look());
    this.#lookAgain = Math.min(2 * this.#lookAgain, LOOK_AGAIN[1]);
    return this.statements !== before;
  }

  #look(): void {
    for (const process of this.live) process.look();
  }

  /** Waits for the notifications that were sent until now. @returns whether there were any */
  async #notify(): Promise<boolean> {
    const mark = `${MARK}${++this.#mark}`;
    const all = Promise.all(Array.from(this.live, (process) => process.reached(mark)));
    await this.database.sql`SELECT pg_notify(${CHANNEL}, ${mark})`;
    return (await all).some((notified) => notified);
  }
}

/** One process. */
class PostgresProcess implements HistoryProcess {
  readonly failures = new Failures();
  readonly accepts = true;
  readonly name: string;
  #world: World | undefined;
  readonly #history: PostgresHistoryQueue;
  readonly #clock: HostClock;
  #queue: PostgresQueue | undefined;
  #follower: QueueFollower | undefined;
  readonly #databases = new Set<AsyncDisposable>();
  readonly #timers = new Set<Timer>();
  /** What it does from time to time. */
  readonly #sleeping = new Set<() => void>();
  readonly #listening = Promise.withResolvers<void>();
  #notified = false;
  readonly #marks = new Map<string, () => void>();
  #isDead = false;

  private constructor(
    history: PostgresHistoryQueue,
    { clock, name }: { readonly clock: HostClock; readonly name: string },
  ) {
    this.#history = history;
    this.#clock = clock;
    this.name = name;
  }

  get world(): World {
    if (this.#world === undefined) throw new Error("not started");
    return this.#world;
  }

  static async start(
    history: PostgresHistoryQueue,
    { clock, latest, name }: {
      readonly clock: HostClock;
      readonly latest: World | undefined;
      readonly name: string;
    },
  ): Promise<PostgresProcess> {
    const process = new PostgresProcess(history, { clock, name });
    const queue = process.#queue = await process.#open();
    const { follow, unfollow } = queue.shared;
    queue.shared.follow = (follower) => follow(process.#follower = follower);
    queue.shared.unfollow = () => {
      process.#follower = undefined;
      unfollow();
    };
    const stored = new StoredQueue({
      queue,
      read: () => Promise.resolve([]),
      end: () => process.#end(),
    }, { counted: (call) => call() });
    process.#world = new World({}, {
      stored: { storage: { clock: history.clock } as never, queue: stored },
      hostClock: clock,
      ...(latest && { sharedWith: latest }),
    });
    return process;
  }

  async #open(): Promise<PostgresQueue> {
    starting = this;
    try {
      const queue = await PostgresQueue.open({
        url: parseDatabaseUrl(this.#history.database.url),
        directory: "/nonexistent",
        hostname: this.name,
        program: "test",
        logger: this.#logger(),
        lease: LEASE,
        dotTimeout: () => DOT_TIMEOUT - LEASE,
        needsStandby: false,
        connections: 2,
        clock: {
          now: () => this.#clock.now(),
          monotonic: () => this.#clock.monotonic(),
          after: (ms, callback) => this.#after(ms, callback),
        } satisfies Clock,
      });
      await this.#listening.promise;
      return queue;
    } finally {
      starting = undefined;
    }
  }

  async expire(): Promise<void> {
    const { database, live } = this.#history;
    await database.sql`UPDATE mailapp.host SET lease_until = '-infinity' WHERE name = ${this.name}`;
    this.#history.statements++;
    await this.#history.wake([...live].filter((one) => one !== this));
  }

  async revive(): Promise<void> {
    // It finds that it has no lease, and joins a second later.
    await this.#history.wake([this]);
    await this.#history.pass(SECOND);
    await this.#history.wake([this]);
  }

  async kill(): Promise<void> {
    if (this.#isDead) return;
    this.#isDead = true;
    this.#history.live.delete(this);
    for (const timer of this.#timers) timer.cancel();
    this.#sleeping.clear();
    // It logs nothing any more.
    (this.world.log as unknown[]).push = () => 0;
    for (const reached of this.#marks.values()) reached();
    await (this.world.queue as StoredQueue).end();
    await this.expire();
  }

  /** Does what it does from time to time, now. */
  wake(): void {
    const all = [...this.#sleeping];
    this.#sleeping.clear();
    for (const callback of all) callback();
  }

  /** Looks for what is due. */
  look(): void {
    if (this.#follower !== undefined) this.#queue?.shared.follow(this.#follower);
  }

  /** Resolves when it has had the notifications before a mark. @returns whether there were any since the last mark */
  async reached(mark: string): Promise<boolean> {
    await new Promise<void>((resolve) => void this.#marks.set(mark, resolve));
    this.#marks.delete(mark);
    const notified = this.#notified;
    this.#notified = false;
    return notified;
  }

  /** Takes a notification from the database. */
  notified(payload: string | undefined, callback: (payload: string | undefined) => void): void {
    if (payload?.startsWith(MARK)) return this.#marks.get(payload)?.();
    if (payload === undefined) this.#listening.resolve();
    if (this.#isDead) return;
    this.#notified = true;
    callback(payload);
  }

  /** Keeps what is to be closed. */
  owns(resource: AsyncDisposable): void {
    this.#databases.add(resource);
  }

  /** Runs statements. */
  async run<T>(call: () => Promise<T>): Promise<T> {
    const history = this.#history;
    this.#checkAlive();
    history.statements++;
    const result = await history.clock.counted(async () => {
      await history.showTime();
      return await call().finally(() => void history.statements++);
    });
    this.#checkAlive();
    return result;
  }

  /** Statements of which some fail. */
  failing(sql: Sql): Sql {
    return new Proxy(sql, {
      apply: (target, self, [text, ...values]) => {
        const call = (to: Sql = target): Promise<unknown> => Reflect.apply(to, self, [text, ...values]);
        if (!Array.isArray(text)) return call();
        const words = text.join("?");
        const lost = this.failures.take(STATEMENTS.find(([, pattern]) => pattern.test(words))?.[0] ?? OTHER);
        if (lost === undefined) return call();
        if (lost === "commit") return Promise.reject(connectionLost());
        if (lost === "late") {
          void this.#history.clock.counted(async () => {
            for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => void setImmediate(resolve));
            await call(this.#history.database.sql as Sql).then(() => {}, () => {});
            this.#history.statements++;
          });
          return Promise.reject(connectionLost());
        }
        return call().then(() => Promise.reject(connectionLost()), () => Promise.reject(connectionLost()));
      },
    });
  }

  #checkAlive(): void {
    if (this.#isDead) throw new DatabaseError(new Error("the process was killed"), { isCertain: true });
  }

  async #end(): Promise<void> {
    if (!this.#isDead) {
      await this.#queue?.close();
      this.#history.live.delete(this);
      return;
    }
    for (const one of this.#databases) await one[Symbol.asyncDispose]();
  }

  #after(ms: number, callback: () => void): Timer {
    if (this.#isDead) return { cancel() {} };
    if (ms > LONGEST_TIMER) {
      const sleeper = () => callback();
      this.#sleeping.add(sleeper);
      return { cancel: () => void this.#sleeping.delete(sleeper) };
    }
    const timer: Timer = this.#history.clock.afterForStore(ms, () => {
      this.#timers.delete(timer);
      callback();
    });
    this.#timers.add(timer);
    return timer;
  }

  #logger(): Logger {
    const write = (event: string, { dot_sent_no_reply, recipient }: LogFields = {}) => {
      if (!this.#isDead && event === "attempt.deferred" && dot_sent_no_reply) {
        this.#history.recorded.add(String(recipient));
      }
    };
    const logger: Logger = {
      ...{ error: write, warn: write, info: write, debug: write, trace: write },
      enabled: () => true,
      with: () => logger,
    };
    return logger;
  }
}

function connectionLost(): Error {
  return Object.assign(new Error("the connection is lost"), { code: "CONNECTION_CLOSED" });
}

/** Which process a database belongs to; those that are new are of the one that starts. */
const owners = new WeakMap<Database, PostgresProcess>();
let starting: PostgresProcess | undefined;

function ownerOf(database: Database): PostgresProcess | undefined {
  const owner = owners.get(database) ?? starting;
  if (owner === undefined || owners.has(database)) return owner;
  owners.set(database, owner);
  owner.owns(database);
  return owner;
}

const { run, listen } = Database.prototype;
type Run = (
  work: (sql: Sql) => Promise<unknown>,
  options?: Parameters<Database["run"]>[1],
) => Promise<unknown>;
(Database.prototype as { run: Run }).run = function (this: Database, work, options) {
  const owner = ownerOf(this);
  if (owner === undefined) return run.call(this, work, options);
  return owner.run(() => run.call(this, (sql: Sql) => work(owner.failing(sql)), options));
};
Database.prototype.listen = function (this: Database, channel, callback) {
  const owner = ownerOf(this);
  if (owner === undefined) return listen.call(this, channel, callback);
  const listener = listen.call(this, channel, (payload) => owner.notified(payload, callback));
  owner.owns(listener);
  return listener;
};
