/**
 * The queue in PostgreSQL, for several hosts. What a crash leaves at each point is in docs/queue.md.
 *
 * Longer than other files: each method checks and updates what this process remembers of its entries, and that must be
 * read together.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import { systemClock } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import { SerialByKey } from "../../base/serial.ts";
import { reply, SmtpError } from "../../smtp/reply.ts";
import { StagingArea } from "../../storage/staging.ts";
import { type NewEntry, NotHeldError } from "../queue.ts";
import type { Queue, QueuedMessage, QueueDraft, QueueSummary, SharedQueue } from "../queue.ts";
import type { QueueEntry } from "../queue_entry.ts";
import type { QueueFilter } from "../queue_filter.ts";
import { coverage } from "../stored/entry.ts";
import { isQueueId } from "../stored/format.ts";
import { SpoolFormatError } from "../stored/format_values.ts";
import { FreshMessages } from "../stored/fresh_messages.ts";
import { QueueIds } from "../stored/queue_ids.ts";
import { CHANNEL, Claims } from "./claims.ts";
import { Database, type DatabaseOptions, type Sql } from "./database.ts";
import { PostgresDraft, PostgresMessage } from "./draft.ts";
import { HostLease } from "./host_lease.ts";
import { offerOf } from "./offers.ts";
import { insertEntry, type Insertion, isThereAfterAll, readRow, want, withdraw } from "./entries.ts";
import { dueAt, type Offset, readEntry, recipientRows, stateText, summarizeEntry } from "./rows.ts";
import { checkSchema } from "./schema.ts";
import { deleteEntry, insertDots, settleDots, updateEntry } from "./statements.ts";

/** How to open a queue in PostgreSQL. */
export interface PostgresQueueOptions extends DatabaseOptions {
  /** A folder of this host for messages that are being received and too large for memory; made when needed. */
  readonly directory: string;
  /** What `queue hosts` calls this process. */
  readonly hostname: string;
  /** The version of the program. */
  readonly program: string;
  /** Where damage, failures and changes of owners are told. */
  readonly logger: Logger;
  /** Milliseconds for which this process owns its entries without renewing that; at least 3,000, default 30,000. */
  readonly lease?: number;
  /** The longest wait for the answer to a final dot, in milliseconds; default 600,000. */
  readonly dotTimeout?: () => number;
  /** Milliseconds from a dot without an answer to the next attempt, at least; default 60,000. */
  readonly resendAfter?: () => number;
  /** Whether `synchronous_standby_names` must be set; default true. */
  readonly needsStandby?: boolean;
  /** Whether {@linkcode Queue.load} asks the owner of an entry for it, and waits for some seconds. */
  readonly asks?: boolean;
}

/** An entry as anybody may see it. */
export interface EntryView {
  readonly entry: QueueEntry;
  /** The host that has it; absent: none. */
  readonly host?: string;
  /** Recipients (indices) whose final dot has no answer yet. */
  readonly sending: readonly number[];
}

/** The database does not keep what it was to keep. */
export class DurabilityError extends Error {
  /** `message` says what to do. */
  constructor(message: string) {
    super(message);
    this.name = "DurabilityError";
  }
}

const EPOCH = Date.UTC(2020);
const ID_TAIL = 10;
const MAX_FRESH = 256 * 1024;
const MAX_FRESH_TOTAL = 16 * 1024 ** 2;
const PAGE = 1000;
// Milliseconds. A host looks every other second at the latest.
const OBTAIN_WITHIN = 5_000;
const OBTAIN_AGAIN = 100;

/** An open queue; closing it lets others have what this process owns. */
export class PostgresQueue implements Queue, AsyncDisposable {
  readonly shared: SharedQueue;
  readonly #options: PostgresQueueOptions;
  readonly #database: Database;
  readonly #renewals: Database;
  readonly #clock: Clock;
  readonly #lease: HostLease;
  readonly #claims: Claims;
  readonly #ids: QueueIds;
  readonly #staging: StagingArea;
  readonly #fresh = new FreshMessages(MAX_FRESH_TOTAL, () => {});
  /** Changes of one entry, one after the other. */
  readonly #changes = new SerialByKey();
  /** Final dots of this process without an answer yet, by entry and recipient, with the owner that sent them. */
  readonly #dots = new Map<string, string>();
  /** How many recipients of an entry are durably relayed, and how many there are. */
  readonly #relayed = new Map<string, { readonly of: number; count: number }>();
  /** Messages that were refused while it was unknown whether they had been stored. */
  readonly #withdrawn = new Set<string>();
  #offset = 0;
  #listener: AsyncDisposable | undefined;

  private constructor(options: PostgresQueueOptions) {
    const { clock = systemClock, logger, hostname, program, lease = 30_000 } = options;
    this.#options = options;
    this.#clock = clock;
    const database = this.#database = new Database(options);
    this.#staging = new StagingArea({ directory: options.directory });
    // No load may keep the lease from being renewed.
    this.#renewals = new Database({ ...options, connections: 1 });
    this.#lease = new HostLease({
      ...{ clock, logger, lease, program },
      database: this.#renewals,
      name: hostname,
      lost: () => this.#lost(),
      begun: () => this.#begun(),
    });
    this.#claims = new Claims({
      ...{ database, clock, logger },
      lease: this.#lease,
      sweepEvery: lease / 3,
      summarize: (claimed) =>
        offerOf(claimed, {
          ...{ clock, logger, ...this.#shift },
          now: () => this.#lease.now(),
          ageOf: (entry) => this.ageOf(entry),
          read: (id) => this.#read(id),
        }),
    });
    this.#ids = new QueueIds({
      now: () => this.#lease.now(),
      random: (buffer) => void crypto.getRandomValues(buffer),
    });
    this.shared = {
      follow: (follower) => void (this.#claims.follower = follower),
      unfollow: () => void (this.#claims.follower = undefined),
      giveBack: ({ id }, wait) => this.#giveBack(id, wait),
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
      await queue.#checkStandby();
      await queue.#lease.begin();
    } catch (error) {
      await queue[Symbol.asyncDispose]();
      throw error;
    }
    // Fixed from here on: times that are compared must be shifted alike.
    queue.#offset = queue.#lease.now() - queue.#clock.now();
    queue.#listener = queue.#database.listen(CHANNEL, () => queue.#claims.look());
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
    queue.#offset = queue.#lease.now() - queue.#clock.now();
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
    return Math.max(0, this.#lease.now() - (told >= EPOCH ? told : acceptedAt + this.#offset));
  }

  /** See {@linkcode Queue.begin}. `remember`: {@linkcode SharedQueue.wasAdded} tells of it like of a notice. */
  begin(id: string, { remember = false }: { readonly remember?: boolean } = {}): QueueDraft {
    if (!isQueueId(id)) throw new TypeError(`not a queue id: ${id}`);
    return new PostgresDraft(id, {
      staged: this.#staging.stage(),
      store: (entry, body) => this.#store(entry, { ...body, remember }),
    });
  }

  async add(entry: NewEntry, message: Uint8Array): Promise<void> {
    await using draft = this.begin(entry.id);
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
      const from = after;
      const rows = await this.#database.run((sql) =>
        sql<{ id: string }[]>`
          SELECT id FROM mailapp.entry AS e WHERE id > ${from} AND head IS NOT NULL AND unreadable IS NULL
            AND (${domain ?? null}::text IS NULL OR EXISTS (
              SELECT FROM mailapp.recipient AS r WHERE r.entry = e.id AND r.domain = ${domain ?? null}::text))
          ORDER BY id LIMIT ${PAGE}`
      );
      for (const { id } of rows) yield id;
      after = rows.at(-1)?.id ?? "";
      if (rows.length < PAGE) return;
    }
  }

  async load(id: string): Promise<QueueEntry | undefined> {
    if (!isQueueId(id)) return undefined;
    if (!this.#claims.has(id) && !await (this.#options.asks ? this.#obtain(id) : this.#claim(id))) {
      return undefined;
    }
    return this.#fresh.takeEntry(id) ?? await this.#read(id);
  }

  /** An entry in its current state, whoever owns it. */
  async peek(id: string): Promise<EntryView | undefined> {
    const row = isQueueId(id) ? await readRow(this.#database, id) : undefined;
    if (row === undefined) return undefined;
    const { host, sending } = row;
    return { entry: readEntry(row, this.#reading).entry, ...(host !== null && { host }), sending };
  }

  update(entry: QueueEntry): Promise<void> {
    const { id } = entry;
    const state = stateText(entry, this.#shift);
    const rows = JSON.stringify(recipientRows(entry, this.#shift));
    const due = dueAt(entry, this.#shift);
    const covered = entry.recipients.flatMap((recipient, index) => {
      const { final, dots } = coverage(recipient);
      const times: readonly (number | null)[] = final ? [null] : dots;
      return times.map((at) => ({ recipient: index, at }));
    });
    return this.#changes.run(id, async () => {
      const owner = this.#ownerOf(id);
      this.#fresh.delete(id);
      await this.#expectOne(id, (sql) => updateEntry(sql, { id, owner, state, rows, due, covered }));
    });
  }

  remove(id: string): Promise<void> {
    if (!isQueueId(id)) return Promise.resolve();
    return this.#changes.run(id, async () => {
      if (!this.#claims.has(id)) {
        const found = await this.#database.run((sql) => sql`SELECT FROM mailapp.entry WHERE id = ${id}`);
        if (found.length === 0) return;
      }
      const owner = this.#ownerOf(id);
      const { of, count } = this.#relayed.get(id) ?? { of: 1, count: 0 };
      // If this were lost, what is durable of its dots would lead to it again.
      await this.#expectOne(id, (sql) => deleteEntry(sql, { id, owner }), { lazy: count >= of });
      this.#claims.forget(id);
      this.#fresh.delete(id);
      this.#relayed.delete(id);
    });
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

  dotSent(
    id: string,
    { recipients, host, address, at }: {
      recipients: readonly number[];
      host: string;
      address: string;
      at: number;
    },
  ): Promise<void> {
    const { dotTimeout = () => 600_000, lease = 30_000 } = this.#options;
    return this.#changes.run(id, async () => {
      const owner = this.#ownerOf(id);
      const began = this.#clock.monotonic();
      const wait = dotTimeout() + this.#resendAfter + lease;
      await this.#expectOne(id, (sql) => insertDots(sql, { id, owner, recipients, host, address, at, wait }));
      for (const number of recipients) this.#dots.set(`${id} ${number}`, owner);
      // Whoever slept meanwhile must not send a dot that others take for one of long ago.
      if (this.#clock.monotonic() - began >= lease) throw new NotHeldError(id);
    });
  }

  dotAnswered(
    id: string,
    { recipients, relayed }: { recipients: readonly number[]; relayed: boolean },
  ): Promise<void> {
    return this.#changes.run(id, async () => {
      // The owner that sent it, even if the lease is gone: until another has the entry the answer is worth having.
      const owner = this.#dots.get(`${id} ${recipients[0]}`) ?? this.#ownerOf(id);
      await this.#expectOne(id, (sql) => settleDots(sql, { id, owner, recipients, relayed }));
      for (const number of recipients) this.#dots.delete(`${id} ${number}`);
      const known = this.#relayed.get(id);
      if (relayed && known !== undefined) known.count += recipients.length;
    });
  }

  /** Resolves when what was given back is free for others. */
  returned(): Promise<void> {
    return this.#claims.returned();
  }

  /** Finishes what is being written, lets others have all that this process owns, and disconnects. Safe to call twice. */
  async close(): Promise<void> {
    await this.#changes.idle();
    await this.#listener?.[Symbol.asyncDispose]();
    this.#listener = undefined;
    await this.#claims[Symbol.asyncDispose]();
    await this.#lease[Symbol.asyncDispose]();
    await this.#database[Symbol.asyncDispose]();
    await this.#renewals[Symbol.asyncDispose]();
  }

  /** The same as {@linkcode PostgresQueue.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #shift(): Offset {
    return { offset: this.#offset };
  }

  get #reading(): Offset & { readonly now: number; readonly resendAfter: number } {
    return { offset: this.#offset, now: this.#clock.now(), resendAfter: this.#resendAfter };
  }

  get #resendAfter(): number {
    return this.#options.resendAfter?.() ?? 60_000;
  }

  async #checkStandby(): Promise<void> {
    if (this.#options.needsStandby === false) return;
    const [row] = await this.#database.run((sql) => sql`SHOW synchronous_standby_names`);
    if (row?.synchronous_standby_names) return;
    throw new DurabilityError(
      "the database has no synchronous standby (synchronous_standby_names is empty): what only the primary has is " +
        'lost with it; [queue] durability = "primary" accepts that',
    );
  }

  /** Stores a message with all that belongs to it, in one transaction. */
  async #store(
    entry: NewEntry,
    body: Insertion["body"],
  ): Promise<QueueSummary> {
    const { id, recipients } = entry;
    const owner = this.#lease.id;
    if (owner === undefined) throw new SmtpError(UNREACHABLE);
    // Before it is there, so that it is not taken for an unknown one.
    this.#claims.note(id, { offered: true });
    let message: Uint8Array | undefined;
    try {
      message = await insertEntry(this.#database, { entry, body, owner, ...this.#shift });
    } catch (error) {
      const there = await isThereAfterAll(this.#database, { id, error, clock: this.#clock });
      if (there === undefined) this.#withdrawn.add(id);
      if (!there) {
        this.#claims.forget(id);
        throw error;
      }
    }
    // It may have taken longer than the lease; the next owner has it then, and offers it to its own follower.
    if (this.#lease.id === owner) {
      this.#relayed.set(id, { of: recipients.length, count: 0 });
      if (message !== undefined && message.length <= MAX_FRESH) {
        this.#fresh.add(structuredClone(entry), message);
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

  /** Claims an entry, for which its owner is asked where it has one; whether it is ours now. */
  async #obtain(id: string): Promise<boolean> {
    const until = this.#clock.monotonic() + OBTAIN_WITHIN;
    for (;;) {
      if (await this.#claim(id)) return true;
      const [row] = await this.#database.run((sql) => sql`SELECT FROM mailapp.entry WHERE id = ${id}`);
      if (row === undefined || this.#clock.monotonic() >= until) return false;
      await want(this.#database, id);
      await new Promise<void>((resolve) => this.#clock.after(OBTAIN_AGAIN, resolve));
    }
  }

  /** Claims an entry without an owner; whether it is ours now. */
  async #claim(id: string): Promise<boolean> {
    const owner = this.#lease.id;
    if (owner === undefined) return false;
    await this.#claims.returned();
    this.#claims.note(id, { offered: false });
    let claimed = false;
    try {
      const rows = await this.#database.run((sql) =>
        sql`
          UPDATE mailapp.entry SET owner = ${owner}::bigint WHERE id = ${id} AND owner IS NULL AND head IS NOT NULL
            AND (dot_until IS NULL OR dot_until <= now())
            AND EXISTS (SELECT FROM mailapp.host WHERE id = ${owner}::bigint AND NOT dead)
          RETURNING id`
      );
      claimed = rows.length > 0;
    } finally {
      if (!claimed) this.#claims.forget(id);
    }
    return claimed;
  }

  async #read(id: string): Promise<QueueEntry | undefined> {
    const row = await readRow(this.#database, id);
    if (row === undefined) return undefined;
    try {
      return readEntry(row, this.#reading).entry;
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

  #giveBack(id: string, wait: number): boolean {
    if (!this.#claims.giveBack(id, wait)) return false;
    this.#fresh.delete(id);
    this.#relayed.delete(id);
    return true;
  }

  /** @throws {NotHeldError} */
  #ownerOf(id: string): string {
    const owner = this.#lease.id;
    if (owner === undefined || !this.#claims.has(id)) throw new NotHeldError(id);
    return owner;
  }

  /**
   * Runs a statement that changes an entry of this process.
   * @throws {NotHeldError} when it has changed nothing
   */
  async #expectOne(
    id: string,
    work: (sql: Sql) => Promise<{ readonly count: number }>,
    options: { readonly lazy?: boolean } = {},
  ): Promise<void> {
    const { count } = await this.#database.run(work, options);
    if (count > 0) return;
    this.#claims.forget(id);
    this.#fresh.delete(id);
    // Perhaps all that this process owns is another's.
    await this.#lease.check();
    throw new NotHeldError(id);
  }

  #lost(): void {
    this.#fresh.clear();
    this.#relayed.clear();
    this.#claims.lost();
  }

  /** There is a database again, and a lease. */
  #begun(): void {
    this.#claims.look();
    const ids = [...this.#withdrawn];
    if (ids.length > 0) void this.#withdraw(ids);
  }

  async #withdraw(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      const done = await withdraw(this.#database, id).then(() => true, () => false);
      if (done) this.#withdrawn.delete(id);
    }
  }
}

const UNREACHABLE = reply(451, "4.3.0", "The queue cannot be reached; try again later");
