/**
 * The queue in PostgreSQL, for several hosts. What a crash leaves at each point is in docs/queue.md.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import { systemClock } from "../../base/clock.ts";
import { reply, SmtpError } from "../../smtp/reply.ts";
import { StagingArea } from "../../storage/staging.ts";
import type { NewEntry, Queue, QueuedMessage, QueueDraft, QueueSummary, SharedQueue } from "../queue.ts";
import type { QueueEntry } from "../queue_entry.ts";
import type { QueueFilter } from "../queue_filter.ts";
import { isQueueId } from "../stored/format.ts";
import { SpoolFormatError } from "../stored/format_values.ts";
import { FreshMessages } from "../stored/fresh_messages.ts";
import { QueueIds } from "../stored/queue_ids.ts";
import { Additions } from "./additions.ts";
import { CHANNEL } from "./channel.ts";
import { Changes } from "./changes.ts";
import { Claims } from "./claims.ts";
import { Database } from "./database.ts";
import { PostgresDraft, PostgresMessage } from "./draft.ts";
import { HostLease } from "./host_lease.ts";
import { HostSlots } from "./host_slots.ts";
import { viewHosts } from "./hosts.ts";
import { offerOf } from "./offers.ts";
import { idsAfter, type Insertion, readRow, readRows } from "./entries.ts";
import type { EntryView, PostgresQueueOptions } from "./queue_options.ts";
import { QueueTimes } from "./queue_times.ts";
import { type Offset, readEntry, summarizeEntry } from "./rows.ts";
import { checkSchema } from "./schema.ts";

const EPOCH = Date.UTC(2020);
const ID_TAIL = 10;
const MAX_FRESH = 256 * 1024;
const MAX_FRESH_TOTAL = 16 * 1024 ** 2;
const PAGE = 1000;

/** An open queue; closing it lets others have what this process owns. */
export class PostgresQueue implements Queue, AsyncDisposable {
  readonly shared: SharedQueue;
  readonly #options: PostgresQueueOptions;
  readonly #database: Database;
  readonly #renewals: Database;
  readonly #clock: Clock;
  readonly #lease: HostLease;
  readonly #claims: Claims;
  readonly #slots: HostSlots;
  readonly #additions: Additions;
  readonly #ids: QueueIds;
  readonly #staging: StagingArea;
  readonly #fresh = new FreshMessages(MAX_FRESH_TOTAL, () => {});
  readonly #changes: Changes;
  readonly #times: QueueTimes;
  #listener: AsyncDisposable | undefined;

  private constructor(options: PostgresQueueOptions) {
    const { clock = systemClock, logger, hostname, program, lease = 30_000 } = options;
    this.#options = options;
    this.#clock = clock;
    const database = this.#database = new Database(options);
    const needsStandby = options.needsStandby !== false;
    const withdrawn = (id: string) => this.#claims.forget(id);
    this.#additions = new Additions(database, { clock, needsStandby, withdrawn });
    this.#staging = new StagingArea({ directory: options.directory });
    // No load may keep the lease from being renewed.
    this.#renewals = new Database({ ...options, connections: 1 });
    this.#lease = new HostLease({
      ...{ clock, logger, lease, program },
      database: this.#renewals,
      name: hostname,
      needsStandby,
      lost: () => this.#lost(),
      begun: () => this.#begun(),
    });
    const times = this.#times = new QueueTimes(clock, () => this.#lease.now());
    this.#claims = new Claims({
      ...{ database, clock, logger },
      lease: this.#lease,
      sweepEvery: lease / 3,
      summarize: (claimed) =>
        offerOf(claimed, {
          ...{ clock, logger, offset: times.offset },
          now: () => this.#lease.now(),
          ageOf: (entry) => this.ageOf(entry),
          read: (id) => this.#read(id),
        }),
      givenBack: (id) => {
        this.#fresh.delete(id);
        this.#changes.forget(id);
      },
    });
    this.#changes = new Changes({
      ...{ database, clock, lease, times },
      claims: this.#claims,
      owner: this.#lease,
      fresh: this.#fresh,
      resendAfter: () => (options.dotTimeout?.() ?? 600_000) + this.#resendAfter + lease,
    });
    this.#slots = new HostSlots({
      ...{ database, clock, logger },
      owner: () => this.#lease.id,
    });
    this.#ids = new QueueIds({
      now: () => this.#lease.now(),
      random: (buffer) => void crypto.getRandomValues(buffer),
    });
    this.shared = {
      hosts: this.#slots,
      follow: (follower) => void (this.#claims.follower = follower),
      unfollow: () => void (this.#claims.follower = undefined),
      giveBack: ({ id }, wait) => this.#claims.giveBack(id, wait),
      wasAdded: (id) => this.#wasAdded(id),
    };
  }

  /**
   * Connects, and becomes one of the owners.
   * @throws {DatabaseError} when the database cannot be reached
   * @throws {SchemaError} when its tables are not there, or of another version
   * @throws {DurabilityError} when it has no synchronous standby and needs one
   */
  static async open(options: PostgresQueueOptions): Promise<PostgresQueue> {
    const queue = new PostgresQueue(options);
    try {
      await checkSchema(queue.#database);
      await queue.#lease.begin();
    } catch (error) {
      await queue[Symbol.asyncDispose]();
      throw error;
    }
    queue.#listener = queue.#database.listen(CHANNEL, (payload) => {
      if (!payload) queue.#claims.look();
      queue.#slots.notified(payload);
    });
    return queue;
  }

  /**
   * Connects only to look; changes nothing, and owns nothing.
   * @throws {DatabaseError} and {@linkcode SchemaError} as {@linkcode PostgresQueue.open} does
   */
  static async view(options: PostgresQueueOptions): Promise<PostgresQueue> {
    const queue = new PostgresQueue(options);
    try {
      await checkSchema(queue.#database);
      await queue.#lease.measure();
    } catch (error) {
      await queue[Symbol.asyncDispose]();
      throw error;
    }
    return queue;
  }

  /** The folder for messages that are being received. */
  get directory(): string {
    return this.#options.directory;
  }

  newId(): string {
    return this.#ids.next();
  }

  ageOf({ id, acceptedAt }: Pick<QueueEntry, "id" | "acceptedAt">): number {
    const told = Number.parseInt(id.slice(0, -ID_TAIL), 36);
    return Math.max(0, this.#lease.now() - (told >= EPOCH ? told : acceptedAt + this.#times.offset));
  }

  /** See {@linkcode Queue.begin}. `remember`: {@linkcode SharedQueue.wasAdded} tells of it like of a notice. */
  begin(id: string, { remember = false }: { readonly remember?: boolean } = {}): QueueDraft {
    return this.#begin(id, { remember, isRetried: false });
  }

  #begin(id: string, options: Pick<Insertion["body"], "remember" | "isRetried">): QueueDraft {
    if (!isQueueId(id)) throw new TypeError(`not a queue id: ${id}`);
    return new PostgresDraft(id, {
      staged: this.#staging.stage(),
      store: (entry, body) => this.#store(entry, { ...body, ...options }),
    });
  }

  async add(entry: NewEntry, message: Uint8Array): Promise<void> {
    // The scheduler adds a notice until it is there, always under the id that its entry names.
    await using draft = this.#begin(entry.id, { remember: false, isRetried: entry.reversePath === "" });
    await draft.write(message);
    await draft.commit(entry, new Uint8Array());
  }

  /**
   * Tries whether the database is there.
   * @throws {DatabaseError} why not
   */
  async probe(): Promise<void> {
    if (this.#lease.id === undefined) await this.#lease.check();
    await this.#database.run((sql) => sql`SELECT 1`);
  }

  /** Nothing: entries are offered by {@linkcode SharedQueue.follow}. */
  async *scan(): AsyncGenerator<QueueSummary, void, void> {}

  /** See {@linkcode Queue.ids}: of all hosts. */
  async *ids({ domain }: QueueFilter = {}): AsyncGenerator<string, void, void> {
    let after = "";
    for (;;) {
      const ids = await idsAfter(this.#database, { after, domain, most: PAGE });
      yield* ids;
      after = ids.at(-1) ?? "";
      if (ids.length < PAGE) return;
    }
  }

  async load(id: string): Promise<QueueEntry | undefined> {
    if (!isQueueId(id)) return undefined;
    if (!this.#claims.has(id) && !await this.#claims.claimOne(id)) return undefined;
    const fresh = this.#fresh.takeEntry(id);
    if (fresh !== undefined) return fresh;
    const entry = await this.#read(id);
    if (entry !== undefined) this.#changes.read(entry);
    return entry;
  }

  /**
   * Makes this process the owner of an entry, for which another one is asked if it has it.
   * @returns whether it is ours within some seconds
   */
  async obtain(id: string): Promise<boolean> {
    return isQueueId(id) && await this.#claims.obtain(id);
  }

  /** Entries in their current state, whoever owns them, in the order of their ids. */
  async peek(
    ids: readonly string[],
    { unreadable }: {
      /** Called with those that cannot be read. */
      readonly unreadable?: (id: string, error: string) => void;
    } = {},
  ): Promise<EntryView[]> {
    const rows = await readRows(this.#database, ids.filter(isQueueId));
    return rows.flatMap((row) => {
      const { id, host, sending } = row;
      try {
        return { entry: readEntry(row, this.#reading).entry, ...(host !== null && { host }), sending };
      } catch (error) {
        if (!(error instanceof SpoolFormatError)) throw error;
        unreadable?.(id, error.message);
        return [];
      }
    });
  }

  update(entry: QueueEntry): Promise<void> {
    return this.#changes.update(entry);
  }

  remove(id: string): Promise<void> {
    return isQueueId(id) ? this.#changes.remove(id) : Promise.resolve();
  }

  dotSent(id: string, dot: Parameters<Queue["dotSent"]>[1]): Promise<void> {
    return this.#changes.dotSent(id, dot);
  }

  dotAnswered(id: string, answer: Parameters<Queue["dotAnswered"]>[1]): Promise<void> {
    return this.#changes.dotAnswered(id, answer);
  }

  /**
   * See {@linkcode Queue.open}.
   * @throws {Deno.errors.NotFound} when it is gone
   */
  async open(id: string): Promise<QueuedMessage> {
    const fresh = this.#fresh.open(id);
    if (fresh !== undefined) return fresh;
    const row = isQueueId(id) ? await readRow(this.#database, id) : undefined;
    if (row === undefined) throw new Deno.errors.NotFound(`no message ${id} in the queue`);
    const { entry, messageCheck } = readEntry(row, this.#reading);
    return new PostgresMessage({
      size: entry.size,
      check: messageCheck,
      damaged: (reason) => void this.#putAside(id, reason),
      part: async (number) =>
        (await this.#database.run((sql) =>
          sql<{ bytes: Uint8Array }[]>`
            SELECT bytes FROM mailapp.body WHERE entry = ${id} AND part = ${number}`
        ))[0]?.bytes,
    });
  }

  /** What each host has, and what none has. */
  counts(): ReturnType<typeof viewHosts> {
    return viewHosts(this.#database);
  }

  /** Resolves when what was given back is free for others. */
  returned(): Promise<void> {
    return this.#claims.returned();
  }

  /** Finishes what is being written, lets others have all that this process owns, and disconnects. Safe to call twice. */
  async close(): Promise<void> {
    await this.#changes.idle();
    await this.#additions[Symbol.asyncDispose]();
    await this.#listener?.[Symbol.asyncDispose]();
    this.#listener = undefined;
    await this.#claims[Symbol.asyncDispose]();
    await this.#slots[Symbol.asyncDispose]();
    await this.#lease[Symbol.asyncDispose]();
    await this.#database[Symbol.asyncDispose]();
    await this.#renewals[Symbol.asyncDispose]();
  }

  /** The same as {@linkcode PostgresQueue.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #reading(): Offset & { readonly now: number; readonly resendAfter: number } {
    return { offset: this.#times.offset, now: this.#clock.now(), resendAfter: this.#resendAfter };
  }

  get #resendAfter(): number {
    return this.#options.resendAfter?.() ?? 60_000;
  }

  /** Stores a message with all that belongs to it, in one transaction. */
  async #store(entry: NewEntry, body: Insertion["body"]): Promise<QueueSummary> {
    const { id } = entry;
    const owner = this.#lease.id;
    if (owner === undefined) throw new SmtpError(UNREACHABLE);
    // Before it is there, so that it is not taken for an unknown one.
    this.#claims.note(id, { offered: true });
    let message: Uint8Array | undefined;
    try {
      message = await this.#additions.store({ entry, body, owner, offset: this.#times.offset });
    } catch (error) {
      // One that is still to be withdrawn is not free for others meanwhile.
      if (!this.#additions.isInDoubt(id)) this.#claims.forget(id);
      throw error;
    }
    // It may have taken longer than the lease; the next owner has it then, and offers it to its own follower.
    if (this.#lease.id === owner) {
      this.#changes.added(entry);
      if (message !== undefined && message.length <= MAX_FRESH) {
        const kept = structuredClone(entry);
        this.#times.remember(kept);
        this.#fresh.add(kept, message);
      }
    }
    return summarizeEntry(entry, this.ageOf(entry));
  }

  async #wasAdded(id: string): Promise<boolean> {
    const rows = await this.#database.run((sql) =>
      sql`
        SELECT FROM mailapp.notice WHERE id = ${id}
        UNION ALL SELECT FROM mailapp.entry WHERE id = ${id} AND head IS NOT NULL`
    );
    return rows.length > 0;
  }

  async #read(id: string): Promise<QueueEntry | undefined> {
    const row = await readRow(this.#database, id);
    if (row === undefined) return undefined;
    try {
      const { entry } = readEntry(row, this.#reading);
      this.#times.remember(entry);
      return entry;
    } catch (error) {
      if (!(error instanceof SpoolFormatError)) throw error;
      await this.#putAside(id, error.message);
      return undefined;
    }
  }

  /** Marks an entry that cannot be read, so that no host tries it until an operator has repaired it. */
  async #putAside(id: string, reason: string): Promise<void> {
    this.#options.logger.error("queue.unreadable", { id, error: reason });
    this.#claims.forget(id);
    this.#fresh.delete(id);
    await this.#database.run((sql) =>
      sql`
        UPDATE mailapp.entry SET unreadable = ${reason}, owner = NULL, due_at = 'infinity' WHERE id = ${id}`
    ).catch(() => {});
  }

  #lost(): void {
    this.#fresh.clear();
    this.#changes.lost();
    this.#slots.lost();
    this.#claims.lost();
  }

  /** There is a database again, and a lease. */
  #begun(): void {
    this.#claims.look();
    void this.#additions.withdraw();
  }
}

const UNREACHABLE = reply(451, "4.3.0", "The queue cannot be reached; try again later");
