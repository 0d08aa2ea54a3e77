/**
 * The queue of serve-out as the page shows it: read now and then, so that a page comes at once however long it is.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import type { ActionResult, OperatorAction, QueueView as Listed } from "../../relay/operator.ts";
import { isOpen } from "../../relay/queue_entry.ts";
import type { QueueFilter } from "../../relay/queue_filter.ts";
import { QueueSummary, reasonFor } from "../command_line/queue_summary.ts";

/** The running serve-out, as `ControlClient` reaches it. */
export interface QueueServer {
  list(filter: QueueFilter): AsyncIterable<Listed>;
  apply(
    action: OperatorAction,
    filter: QueueFilter,
    options: { readonly by: string },
  ): AsyncIterable<ActionResult>;
}

/** What a {@linkcode QueueView} needs. */
export interface QueueViewOptions {
  /** Connects to serve-out; `undefined` where it does not run. */
  readonly find: () => Promise<QueueServer | undefined>;
  /** Tells the time. */
  readonly clock: Clock;
}

/** A message in a list. */
export interface QueueRow {
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly acceptedAt: number;
  readonly sender: string;
  /** The first open recipient. */
  readonly recipient: string;
  /** Open recipients. */
  readonly recipients: number;
  /** Of the open recipients. */
  readonly domains: readonly string[];
  /** Why it waits, as {@linkcode reasonFor} tells, of the open recipients. */
  readonly reasons: readonly string[];
  readonly held: boolean;
  readonly attempts: number;
  /** Milliseconds since the epoch; 0: at once; `Infinity`: never by itself. */
  readonly next: number;
  /** Octets. */
  readonly size: number;
  /** The host that has it, where hosts share the queue. */
  readonly host?: string;
}

/** The queue at one moment. */
export interface Snapshot {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The oldest first; at most {@linkcode MAX_ROWS}. */
  readonly rows: readonly QueueRow[];
  /** All messages. */
  readonly total: number;
  readonly byDomain: QueueSummary;
  readonly byReason: QueueSummary;
  readonly bySender: QueueSummary;
}

/** The snapshot, and how things are with it. */
export interface QueueState {
  readonly snapshot?: Snapshot;
  /** Messages read so far, while the queue is being read. */
  readonly reading?: number;
  /** Why it could not be read. */
  readonly problem?: string;
}

/** What an action has done so far. */
export interface Job {
  readonly action: OperatorAction;
  readonly by: string;
  /** What was selected, in words. */
  readonly what: string;
  readonly messages: number;
  readonly recipients: number;
  /** Recipients that were being sent to, or to which it did not apply. */
  readonly leftAlone: number;
  readonly state: "running" | "done" | "failed";
  readonly problem?: string;
}

/** Rows of a snapshot; further messages are counted only. */
export const MAX_ROWS = 200_000;
/** A snapshot is renewed after this time, in milliseconds, if someone looks. */
const FRESH = 5_000;
/** Reading takes at most one part in this many of the time. */
const SHARE = 10;
/** How long the first visitor waits for a short queue, in milliseconds. */
const PATIENCE = 200;
const MAX_JOBS = 20;
/** Domains and reasons of a row. */
const MAX_DOMAINS = 20;

/** Reads the queue and acts on it. */
export class QueueView {
  readonly #options: QueueViewOptions;
  #state: QueueState = {};
  #reading: Promise<void> | undefined;
  #next = -Infinity;
  #changes = 0;
  readonly #jobs: Job[] = [];
  readonly #running = new Set<Promise<void>>();

  /** Nothing is read yet. */
  constructor(options: QueueViewOptions) {
    this.#options = options;
  }

  /** The state now; a stale snapshot is renewed in the background. */
  async look(): Promise<QueueState> {
    const { clock } = this.#options;
    if (this.#reading === undefined && clock.monotonic() >= this.#next) {
      this.#reading = this.#read().finally(() => this.#reading = undefined);
    }
    if (this.#reading !== undefined && this.#state.snapshot === undefined) {
      await this.#atMost(PATIENCE, this.#reading);
    }
    return this.#state;
  }

  /** One message, as it is now; `undefined` if it is not in the queue. @throws {Error} when serve-out does not answer */
  async message(id: string): Promise<Listed | undefined> {
    for await (const view of (await this.#server()).list({ ids: [id] })) return view;
    return undefined;
  }

  /** The latest actions, newest first. */
  get jobs(): readonly Job[] {
    return this.#jobs.toReversed();
  }

  /** Does something with messages; returns when it is done, or after `patience` milliseconds while it goes on. */
  async act(
    action: OperatorAction,
    filter: QueueFilter,
    { by, what, patience }: { readonly by: string; readonly what: string; readonly patience: number },
  ): Promise<Job> {
    if (this.#running.size > 0) {
      throw new BusyError("another action is still running; see its progress below");
    }
    const job = {
      action,
      by,
      what,
      messages: 0,
      recipients: 0,
      leftAlone: 0,
      state: "running" as Job["state"],
      problem: undefined as string | undefined,
    };
    this.#jobs.push(job as Job);
    if (this.#jobs.length > MAX_JOBS) this.#jobs.shift();
    const run = async () => {
      try {
        for await (const result of (await this.#server()).apply(action, filter, { by })) {
          if (result.changed.length > 0) job.messages++;
          job.recipients += result.changed.length;
          job.leftAlone += result.inFlight.length + (result.leftAlone?.length ?? 0);
        }
        job.state = "done";
      } catch (error) {
        job.state = "failed";
        job.problem = errorText(error);
      }
      // What is shown next is as it is after that.
      this.#next = -Infinity;
      this.#changes++;
    };
    const running = run().finally(() => this.#running.delete(running));
    this.#running.add(running);
    await this.#atMost(patience, running);
    if (job.state === "done" && (this.#state.snapshot?.total ?? 0) <= 1000) {
      await this.#reading;
      await this.look();
      await this.#reading;
    }
    return job as Job;
  }

  /** Waits until nothing is under way. */
  async idle(): Promise<void> {
    await Promise.all([...this.#running, this.#reading]);
  }

  /** Waits for it, at most this many milliseconds. */
  async #atMost(ms: number, work: Promise<void>): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.clock.after(ms, resolve);
    await Promise.race([work, promise]);
    timer.cancel();
  }

  async #server(): Promise<QueueServer> {
    const server = await this.#options.find();
    if (server === undefined) throw new Error("serve-out is not running, so nothing is sent");
    return server;
  }

  async #read(): Promise<void> {
    const { clock } = this.#options;
    const begun = clock.monotonic();
    const changes = this.#changes;
    try {
      const rows: QueueRow[] = [];
      let total = 0;
      const summaries = {
        byDomain: new QueueSummary("domain"),
        byReason: new QueueSummary("reason"),
        bySender: new QueueSummary("sender"),
      };
      for await (const view of (await this.#server()).list({})) {
        total++;
        if (rows.length < MAX_ROWS) rows.push(rowOf(view));
        for (const summary of Object.values(summaries)) summary.add(view);
        this.#state = { ...this.#state, reading: total };
      }
      this.#state = { snapshot: { at: clock.now(), rows, total, ...summaries } };
    } catch (error) {
      const { snapshot } = this.#state;
      this.#state = { ...(snapshot && { snapshot }), problem: errorText(error) };
    }
    const took = clock.monotonic() - begun;
    this.#next = changes === this.#changes ? clock.monotonic() + Math.max(FRESH, SHARE * took) : -Infinity;
  }
}

/** Something else is under way. */
export class BusyError extends Error {}

function rowOf({ entry, host }: Listed): QueueRow {
  const open = entry.recipients.filter(isOpen);
  const [first] = open;
  const next = open.flatMap(({ status, nextAttemptAt }) => status === "pending" ? [nextAttemptAt] : []);
  return {
    id: entry.id,
    acceptedAt: entry.acceptedAt,
    sender: entry.reversePath,
    recipient: first?.address ?? "",
    recipients: open.length,
    domains: [...new Set(open.map(({ domain }) => domain))].slice(0, MAX_DOMAINS),
    reasons: [...new Set(open.map(reasonFor))].slice(0, MAX_DOMAINS),
    held: open.length > 0 && open.every(({ status }) => status === "held"),
    attempts: open.reduce((most, { attemptCount }) => Math.max(most, attemptCount), 0),
    next: next.reduce((soonest, at) => Math.min(soonest, at), Infinity),
    size: entry.size,
    ...(host !== undefined && { host }),
  };
}

/** What a list of the queue is to show. */
export interface RowFilter {
  readonly domain?: string;
  /** In any letter case; `""` is the null sender. */
  readonly sender?: string;
  readonly reason?: string;
}

/** The keys of the order. */
export const ROW_ORDERS = ["age", "newest", "next", "attempts", "size"] as const;

/** One of them. */
export type RowOrder = typeof ROW_ORDERS[number];

/** The keys of the orders that are not that of the queue; the smallest comes first. */
const KEYS: Partial<Record<RowOrder, (row: QueueRow) => number>> = {
  // Held messages last.
  next: ({ next }) => Math.min(next, Number.MAX_VALUE),
  attempts: ({ attempts }) => -attempts,
  size: ({ size }) => -size,
};

/** What was sorted of a snapshot: to sort 100,000 rows takes longer than to make the page. */
const sorted = new WeakMap<readonly QueueRow[], Map<RowOrder, readonly QueueRow[]>>();

function inOrder(rows: readonly QueueRow[], order: RowOrder): readonly QueueRow[] {
  let known = sorted.get(rows);
  if (known === undefined) sorted.set(rows, known = new Map());
  let result = known.get(order);
  if (result === undefined) {
    const keyOf = KEYS[order];
    result = keyOf === undefined
      ? order === "newest" ? rows.toReversed() : rows
      : rows.toSorted((one, other) => keyOf(one) - keyOf(other));
    known.set(order, result);
  }
  return result;
}

/** The rows of a snapshot that a filter selects, in the order of a key. */
export function selectRows(
  rows: readonly QueueRow[],
  { filter, order }: { readonly filter: RowFilter; readonly order: RowOrder },
): readonly QueueRow[] {
  const { domain, reason } = filter;
  const sender = filter.sender?.toLowerCase();
  const all = inOrder(rows, order);
  if (domain === undefined && sender === undefined && reason === undefined) return all;
  return all.filter((row) =>
    (domain === undefined || row.domains.includes(domain)) &&
    (sender === undefined || row.sender.toLowerCase() === sender) &&
    (reason === undefined || row.reasons.includes(reason))
  );
}
