/**
 * Where tests of the scheduler have their queue when it is not in memory: a spool, or a database of a real PostgreSQL.
 *
 * @module
 */
import type { Timer } from "../../base/clock.ts";
import { silentLogger } from "../../base/log.ts";
import type { QueueEntry } from "../../relay/queue_entry.ts";
import type { QueueFollower } from "../../relay/queue.ts";
import { CHANNEL } from "../../relay/postgres/channel.ts";
import { Database } from "../../relay/postgres/database.ts";
import { HostSlots } from "../../relay/postgres/host_slots.ts";
import { PostgresQueue } from "../../relay/postgres/postgres_queue.ts";
import { parseDatabaseUrl } from "../../relay/postgres/url.ts";
import { Spool } from "../../relay/spool/spool.ts";
import type postgres from "postgres";
import { makeFolder } from "./peers/folder.ts";
import type { PostgresServer } from "./postgres_server.ts";
import { type Storage, type Store, StoreClock, storeClock } from "./stored_queue.ts";
import { TimedDatabase } from "./timed_database.ts";
import { unsyncedFileSystem } from "./unsynced_file_system.ts";

/** A spool in its own directory. */
export async function spoolStorage(): Promise<Storage> {
  const folder = await makeFolder("scheduler-spool");
  const clock = new StoreClock();
  return {
    clock,
    async open() {
      const spool = await Spool.open({
        directory: folder.at("spool"),
        logger: silentLogger,
        clock: storeClock(clock),
        fileSystem: unsyncedFileSystem,
        // As long as this clock has gone, the machine has been up.
        uptime: () => clock.monotonic(),
        boot: "test",
      });
      return { queue: spool, read: () => readAll(spool), end: () => spool.close() };
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

async function readAll(spool: Spool): Promise<QueueEntry[]> {
  const entries: QueueEntry[] = [];
  for (const id of (await Array.fromAsync(spool.ids())).sort()) {
    const entry = await spool.load(id);
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}

// Milliseconds. No lease runs out, and nothing looks by itself: the world tells the queue when something is due.
const LEASE = 1e12;
const LONGEST_OWN_TIMER = 1_500;
/** Where it looks by itself, it does so as often as this, and for so long. */
const LOOK_EVERY = 2_000;
const LOOK_FOR = 30_000;
const HORIZON = 5_000;

/** Queues for one test after the other, in a database whose time is that of a test's clock. */
export class PostgresStorages implements AsyncDisposable {
  readonly #database: TimedDatabase;

  private constructor(database: TimedDatabase) {
    this.#database = database;
  }

  /** Connects to the database of such tests on this server. */
  static async on(server: PostgresServer): Promise<PostgresStorages> {
    return new PostgresStorages(await TimedDatabase.on(server));
  }

  /** An empty queue. `looks`: at first it looks by itself, as on a host. */
  async next({ looks = false }: { readonly looks?: boolean } = {}): Promise<Storage> {
    const database = this.#database;
    await database.clear();
    const clock = new StoreClock();
    const now = clock.now();
    clock.moved = () => database.setTime(now + clock.monotonic());
    await clock.moved();
    return {
      clock,
      open: () => this.#open(clock, { looks }),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  async #open(clock: StoreClock, { looks }: { readonly looks: boolean }): Promise<Store> {
    const database = this.#database;
    const { sql, url } = database;
    counting = clock;
    const queue = await PostgresQueue.open({
      url: parseDatabaseUrl(url),
      directory: "/nonexistent",
      hostname: "host.test",
      program: "test",
      logger: silentLogger,
      lease: LEASE,
      needsStandby: false,
      connections: 2,
      clock: storeClock(clock, (ms, callback) => {
        const longest = looks && clock.monotonic() < LOOK_FOR ? LOOK_EVERY : LONGEST_OWN_TIMER;
        return ms <= longest ? clock.afterForStore(ms, callback) : { cancel() {} };
      }),
    });
    let follower: QueueFollower | undefined;
    const { follow, unfollow } = queue.shared;
    queue.shared.follow = (one) => follow(follower = one);
    queue.shared.unfollow = () => {
      follower = undefined;
      unfollow();
    };
    let timer: Timer | undefined;
    clock.settled = async () => {
      timer?.cancel();
      if (follower === undefined) return false;
      if (await notifications.arrive(sql)) return true;
      const wait = await database.untilDue(HORIZON);
      if (wait === Infinity) return false;
      const look = () => void (follower !== undefined && follow(follower));
      if (wait <= 0) look();
      else timer = clock.afterForStore(wait, look);
      return wait <= 0;
    };
    return {
      queue,
      async read() {
        const views = await queue.peek((await Array.fromAsync(queue.ids())).sort());
        return views.map(({ entry }) => entry);
      },
      async end() {
        timer?.cancel();
        clock.settled = () => Promise.resolve(false);
        await queue.close();
        // As if its lease, and the waits for answers to its dots, were over.
        await sql`UPDATE mailapp.entry SET dot_until = NULL`;
        await sql`UPDATE mailapp.dot SET until = '-infinity'`;
      },
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#database[Symbol.asyncDispose]();
  }
}

/** The notifications that the open queue gets: they come by themselves, some time after the statement that sent them. */
const notifications = {
  count: 0,
  mark: 0,
  reached: () => {},

  /** Resolves when those have come that were sent until now; whether there were any since the last time. */
  async arrive(sql: postgres.Sql): Promise<boolean> {
    for (let isReached = false; !isReached;) {
      const mark = Promise.withResolvers<void>();
      this.reached = mark.resolve;
      await sql`SELECT pg_notify(${CHANNEL}, ${`${MARK}${++this.mark}`})`;
      // It is lost while the queue has not begun to listen.
      let timer: ReturnType<typeof setTimeout> | undefined;
      const lost = new Promise<boolean>((resolve) => timer = setTimeout(() => resolve(false), 200));
      isReached = await Promise.race([mark.promise.then(() => true), lost]);
      clearTimeout(timer);
    }
    const { count } = this;
    this.count = 0;
    return count > 0;
  },
};
const MARK = "mark ";
const notified = HostSlots.prototype.notified;
HostSlots.prototype.notified = function (this: HostSlots, payload) {
  if (payload === `${MARK}${notifications.mark}`) notifications.reached();
  if (payload?.startsWith(MARK)) return;
  notifications.count++;
  notified.call(this, payload);
};

/** Counts the statements of the queue that is open. */
let counting: StoreClock | undefined;
const run = Database.prototype.run as (...args: unknown[]) => Promise<unknown>;
(Database.prototype as { run: typeof run }).run = function (this: Database, ...args) {
  const call = () => run.apply(this, args);
  return counting === undefined ? call() : counting.counted(call);
};
