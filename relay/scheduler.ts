/**
 * Decides what is sent when: from memory, by destination, fairly, and never sooner than the schedule says.
 *
 * A message waits in the {@linkcode Timetable}, once for each of its destinations. When it is due, it is in the
 * line of its destination until that has a turn ({@linkcode Destinations}). A turn is one worker ({@linkcode work}),
 * which sends what is in the line over one connection. What an attempt came to goes into the entry
 * ({@linkcode applyOutcome}) and to disk, and the message waits again or is over.
 *
 * Waits are measured in time that no change of the clock touches; the clock only tells what is written down.
 *
 * Longer than other files: an item moves between waiting, ready, running and stored, and each of these steps must be
 * read beside the others to see that none of them loses it.
 *
 * @module
 */
import type { Timer } from "../base/clock.ts";
import { attempt, type AttemptResult } from "./attempt.ts";
import { leave, type LiveConnection } from "./live_connection.ts";
import { Destinations, type Turn } from "./destinations.ts";
import { IdleConnections } from "./idle_connections.ts";
import { type HostPauses, hostPausesUpTo } from "./host_pauses.ts";
import type { HostFailure } from "./host_slot.ts";
import { HostTable } from "./host_table.ts";
import type { Targets } from "./mx.ts";
import { OpenEntries, type OpenEntry, StoreError } from "./open_entries.ts";
import { untilNextLook } from "./next_look.ts";
import { applyOutcome } from "./outcome.ts";
import type { QueueSummary, SharedQueue } from "./queue.ts";
import type { QueueEntry } from "./queue_entry.ts";
import { ReplacedItems } from "./replaced_items.ts";
import { longestDelay, retryDelay, type RetrySchedule } from "./retry_schedule.ts";
import type {
  DomainStatus,
  QueuedItem,
  SchedulerOptions,
  SchedulerSettings,
  SchedulerStatus,
} from "./scheduler_options.ts";
import { settle } from "./settle.ts";
import { Timetable } from "./timetable.ts";
import {
  type DropReason,
  hasUndeliverable,
  isUndeliverable,
  Undeliverable,
  UNDELIVERABLE_LIMITS,
  type UndeliverableStatus,
} from "./undeliverable.ts";
import { UnsavedEntries } from "./unsaved_entries.ts";
import { type SentItem, work } from "./worker.ts";

/** One message as it waits for one destination; there may be a million. */
interface Item {
  readonly id: string;
  /** The destination; `""` for a look at whether the delay notice is due. */
  readonly to: string;
  /** When its recipients are due, as the entry says (milliseconds since the epoch). */
  readonly at: number;
  /** The same in monotonic time. */
  readonly dueAt: number;
  /** Whether this process has tried it before. */
  readonly tried: boolean;
  /** When the message was accepted, in whole seconds of monotonic time. */
  readonly since: number;
  /** What the last attempt came to; absent where this process has not made one. */
  readonly status?: string | undefined;
  /** Whether it came while this process ran, so that no crash can have left its notice half done. */
  readonly fresh: boolean;
}

const MAX_RECIPIENTS = 100;
/** When what could not be read at the start is read again, in milliseconds. */
const READ_REST_AFTER = { first: 60_000, most: 3_600_000 };
// Entries in memory that are still to be stored, beyond which a worker waits until its own is.
const MAX_UNSAVED = 10_000;
// Replaced items are swept out after this many changes from outside, or half as many as there are items.
const SWEEP_AFTER = { least: 64, most: 50_000 };

/** Sends what is in a queue. */
export class Scheduler {
  #options: SchedulerOptions;
  readonly #hosts: HostTable;
  readonly #idle: IdleConnections;
  readonly #entries: OpenEntries;
  readonly #unsaved: UnsavedEntries;
  readonly #undeliverable: Undeliverable;
  readonly #waiting: Timetable<Item>;
  readonly #destinations: Destinations<Item>;
  readonly #replaced = new ReplacedItems<Item>();
  /** Notices that an earlier process left, until it is certain that none of them is half done. */
  readonly #notBeforeRecovery: Item[] = [];
  readonly #running = new Set<Promise<unknown>>();
  readonly #stopping = new AbortController();
  readonly #cut = new AbortController();
  readonly #kill = new AbortController();
  #recovered = false;
  #readingRest: Timer | undefined;
  /** How often the settings have changed, and what was begun under earlier ones. */
  #generation = 0;
  readonly #outdated = new WeakSet<Item>();
  readonly #openedIn = new WeakMap<LiveConnection, number>();

  /** Makes one that does nothing before {@linkcode Scheduler.start}. */
  constructor(options: SchedulerOptions) {
    this.#options = options;
    const { queue, clock, logger, schedule, maxConnectionsPerHost = 5, maxWorkers = 100 } = options;
    this.#idle = new IdleConnections(clock);
    const { shared } = queue;
    this.#hosts = new HostTable({
      ...{ clock, logger, maxConnectionsPerHost },
      pauses: pausesOf(schedule),
      ...(shared?.hosts && { shared: shared.hosts }),
    });
    this.#entries = new OpenEntries(queue, shared && ((entry) => this.#giveBack(entry, shared)));
    this.#unsaved = new UnsavedEntries({
      entries: this.#entries,
      store: (opened) => this.#settle(opened),
      clock,
      logger,
    });
    this.#undeliverable = new Undeliverable({
      clock,
      limits: options.undeliverable ?? UNDELIVERABLE_LIMITS,
      drop: (id, reason) => this.#run(this.#drop(id, reason)),
    });
    this.#waiting = new Timetable(clock, (item) => this.#makeReady(item));
    this.#destinations = new Destinations({
      maxTurns: maxWorkers,
      maxTurnsEach: maxConnectionsPerHost,
      hosts: {
        wait: (key, callback) => {
          this.#idle.clear();
          this.#hosts.wait(key, callback);
        },
        wakeNext: (key) => this.#hosts.wakeNext(key),
      },
      begin: (turn) => this.#run(this.#work(turn)),
      stopping: this.#stopping.signal,
    });
  }

  /** The entries that are being worked on; whoever changes an entry does it through these. */
  get entries(): OpenEntries {
    return this.#entries;
  }

  /**
   * Whether an entry may be a notice that a crash left half done: until the queue has been read to its end, the entry
   * that it is about may still be unread.
   */
  mayBeHalfDone({ reversePath }: QueueEntry): boolean {
    return reversePath === "" && !this.#recovered && this.#options.queue.shared === undefined;
  }

  /** How much there is to do. */
  get status(): SchedulerStatus {
    this.#sweep();
    const { ready, active } = this.#destinations;
    return { waiting: this.#waiting.size, ready, active };
  }

  /** What is held since it has no sender to be told of its failure. */
  get undeliverable(): UndeliverableStatus {
    return this.#undeliverable.status;
  }

  /**
   * Takes up what is in the queue, and finishes what a crash left half done. Resolves when all has been seen; sending
   * begins at once.
   * @throws what the queue throws when it cannot be read to its end; what was seen of it is sent all the same, and the
   * rest is read again later
   */
  async start(): Promise<void> {
    const { queue, logger } = this.#options;
    let count = 0;
    queue.shared?.follow({
      offer: (summary) => this.#takeOver(summary),
      lost: () => this.#forgetAll(),
      release: (id) => this.#release(id),
      isOpen: (id) => this.#entries.has(id),
    });
    try {
      for await (const summary of queue.scan()) {
        if (this.#stopping.signal.aborted) return;
        count++;
        this.#submit(summary, { fresh: false });
        const { id, age, undeliverable } = summary;
        if (undeliverable) this.#undeliverable.note(id, { age, recalled: true });
        if (!summary.unfinished) continue;
        try {
          await this.#finish(summary);
        } catch (error) {
          logger.error("queue.error", { id: summary.id, error: String(error) });
        }
      }
      logger.info("queue.scanned", { entries: count });
    } catch (error) {
      this.#readRestAfter(READ_REST_AFTER.first);
      throw error;
    } finally {
      // Even where not all could be seen, what was seen must leave.
      this.#recovered = true;
      for (const item of this.#notBeforeRecovery.splice(0)) this.#makeReady(item);
    }
  }

  /** Reads again after `wait` milliseconds what could not be read at the start; then waits twice as long each time. */
  #readRestAfter(wait: number): void {
    const { queue, clock } = this.#options;
    if (queue.scanRest === undefined || this.#stopping.signal.aborted) return;
    this.#readingRest = clock.after(wait, () => this.#run(this.#readRest(wait)));
  }

  async #readRest(waited: number): Promise<void> {
    const { queue, logger } = this.#options;
    let count = 0;
    try {
      for await (const summary of queue.scanRest?.() ?? []) {
        if (this.#stopping.signal.aborted) return;
        count++;
        // One that is open is known by now.
        if (!this.#entries.has(summary.id)) this.#takeOver(summary);
      }
      logger.info("queue.scanned", { entries: count });
    } catch {
      // It was logged at the start.
      this.#readRestAfter(Math.min(waited * 2, READ_REST_AFTER.most));
    }
  }

  /** Takes over an entry that is in the queue. What is due at once is sent at once. */
  submit(summary: QueueSummary): void {
    this.#submit(summary, { fresh: true });
  }

  #submit(
    summary: QueueSummary,
    { fresh, status }: { readonly fresh: boolean; readonly status?: string | undefined },
  ): void {
    const { id, age, due } = summary;
    const since = this.#secondsAgo(age);
    for (const [to, at] of this.#byDestination(due)) {
      const dueAt = this.#dueAt(at);
      this.#wait({ id, to, at, dueAt, tried: false, since, status, fresh });
      this.#watchForDelay(id, { age, before: dueAt });
    }
  }

  /** Takes over an entry of a queue with several owners. */
  #takeOver(summary: QueueSummary): void {
    if (this.#stopping.signal.aborted) return;
    const { id, age, undeliverable, unfinished } = summary;
    this.#replace(id);
    this.#submit(summary, { fresh: false });
    if (undeliverable) this.#undeliverable.note(id, { age, recalled: true });
    if (unfinished) this.#run(this.#finishAndSubmit(id));
  }

  /** What waits is then what the entry itself says, whatever the summary did. */
  async #finishAndSubmit(id: string): Promise<void> {
    using opened = await this.#entries.open(id);
    if (opened === undefined) return;
    await this.settle(opened);
    this.#submitAgain(opened);
  }

  /** Lets the queue have an entry that waits; what waits here of it no longer counts then. */
  #giveBack(entry: QueueEntry, shared: SharedQueue): void {
    const { queue, clock, schedule } = this.#options;
    const wait = untilNextLook(entry, {
      age: queue.ageOf(entry),
      now: clock.now(),
      schedule,
      keepFor: this.#undeliverable.limits.keepFor,
    });
    if (shared.giveBack(entry, wait)) this.#replace(entry.id);
  }

  #release(id: string): boolean {
    if (this.#entries.has(id)) return false;
    this.#replace(id);
    return true;
  }

  #forgetAll(): void {
    this.#entries.forgetAll();
    this.#waiting.retain(() => false);
    this.#destinations.retain(() => false);
    this.#replaced.clear();
  }

  /** Lets what waits of an entry no longer count. */
  #replace(id: string): void {
    this.#replaced.replace(id);
    const { least, most } = SWEEP_AFTER;
    const limit = Math.min(Math.max(least, (this.#waiting.size + this.#destinations.ready) / 2), most);
    if (this.#replaced.changes >= limit) this.#sweep();
  }

  /**
   * Stores an entry that was changed from outside through {@linkcode Scheduler.entries}, does what follows of it, and
   * lets what is open of it wait again: what is due at once is sent at once.
   * @returns whether it could be stored now; else it is tried again later, and the entry holds in memory
   */
  async change(opened: OpenEntry): Promise<boolean> {
    const stored = await this.settle(opened);
    this.#submitAgain(opened);
    return stored;
  }

  /**
   * Goes by other settings from now on. What waits keeps its time, and is led to its destination by the new settings
   * when that has come; connections that were opened under the earlier ones serve no further message.
   */
  reconfigure(settings: SchedulerSettings): void {
    const { maxConnectionsPerHost = 5, schedule, undeliverable = UNDELIVERABLE_LIMITS } = settings;
    this.#options = { ...this.#options, ...settings };
    this.#generation++;
    for (const item of this.#waiting.values()) this.#outdated.add(item);
    for (const item of this.#destinations.items()) this.#outdated.add(item);
    for (const item of this.#notBeforeRecovery) this.#outdated.add(item);
    this.#destinations.maxTurnsEach = maxConnectionsPerHost;
    this.#hosts.reconfigure({ maxConnectionsPerHost, pauses: pausesOf(schedule) });
    this.#idle.clear();
    this.#undeliverable.limits = undeliverable;
  }

  /** Clears the back-off of all hosts, so that the next attempt asks them again. */
  clearHostBackoff(): void {
    this.#destinations.clearBackoff();
    this.#hosts.clearBackoff();
  }

  /**
   * Stores an entry that was changed through {@linkcode Scheduler.entries}, queues the notices that are due, removes it
   * when all is settled. What cannot be stored now is stored later.
   * @returns whether it could be stored now
   */
  async settle(opened: OpenEntry): Promise<boolean> {
    try {
      await this.#settle(opened);
      return true;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (opened.gone) return true;
      await this.#unsaved.keep(opened.entry.id, error);
      return false;
    }
  }

  async #settle(opened: OpenEntry): Promise<void> {
    const { queue, logger, compose, schedule } = this.#options;
    await settle(opened, {
      queue,
      logger,
      compose,
      delayNoticeAfter: schedule.delayNoticeAfter,
      submit: (notice) => this.submit(notice),
    });
    const { entry, gone } = opened;
    if (!gone && hasUndeliverable(entry)) this.#undeliverable.note(entry.id, { age: queue.ageOf(entry) });
    else this.#undeliverable.forget(entry.id);
  }

  /** Gives up what is held of an entry because there is no one to notify. */
  async #drop(id: string, reason: DropReason): Promise<void> {
    using opened = await this.#entries.open(id);
    if (opened === undefined || opened.gone) return;
    const { entry } = opened;
    const dropped = entry.recipients.filter(isUndeliverable);
    if (dropped.length === 0) return;
    for (const recipient of dropped) recipient.status = "removed";
    this.#options.logger.warn("dsn.dropped", {
      id,
      recipients: dropped.map(({ address }) => address),
      reason,
      age_ms: this.#options.queue.ageOf(entry),
    });
    await this.settle(opened);
  }

  /** What waits for a domain, with what shares its destination; looks at all that waits. */
  domainStatus(domain: string): DomainStatus {
    this.#sweep();
    const { clock } = this.#options;
    const to = this.#destinationOf(domain);
    let waiting = 0;
    let nextAt: number | undefined;
    for (const item of this.#waiting.values()) {
      if (item.to !== to) continue;
      waiting++;
      const at = clock.now() + (item.dueAt - clock.monotonic());
      if (nextAt === undefined || at < nextAt) nextAt = at;
    }
    return { waiting, ...this.#destinations.status(to), ...(nextAt !== undefined && { nextAt }) };
  }

  /** What waits or is due, each once for each of its destinations; looks at all that waits. */
  *items(): Generator<QueuedItem> {
    this.#sweep();
    const now = this.#options.clock.monotonic() / 1000;
    for (const items of [this.#waiting.values(), this.#destinations.items()]) {
      for (const { to, since, status } of items) {
        if (to !== "") yield { age: Math.max(0, now - since) * 1000, status };
      }
    }
  }

  /** Where mail for a domain would be sent now. */
  route(domain: string): Promise<Targets> {
    return this.#options.route(domain, { signal: this.#stopping.signal });
  }

  /** Why and for how long (milliseconds) a host is left alone, if it is. */
  inspectHost(target: { host: string; address: string; port: number }):
    | { readonly failure: HostFailure; readonly forMs: number }
    | undefined {
    return this.#hosts.inspect(target);
  }

  /**
   * Begins nothing more, waits until what is in flight is over, and ends it after the grace period. What had not come
   * to its final dot then counts as not tried.
   * @param graceMs milliseconds
   * @param force where `signal` is aborted, only the replies to final dots are waited for, for this many milliseconds
   */
  async stop(
    graceMs: number,
    force?: { readonly signal: AbortSignal; readonly lastRepliesMs: number },
  ): Promise<void> {
    const { clock } = this.#options;
    const timers: Timer[] = [];
    const killAfter = (ms: number) =>
      timers.push(clock.after(ms, () => this.#kill.abort(new Error("shutting down"))));
    this.#stopping.abort(new Error("shutting down"));
    this.#readingRest?.cancel();
    this.#options.queue.shared?.unfollow();
    this.#waiting.stop();
    this.#hosts.stop();
    this.#idle.clear();
    this.#undeliverable.stop();
    killAfter(graceMs);
    const cut = () => {
      this.#cut.abort(new Error("shutting down"));
      killAfter(force?.lastRepliesMs ?? 0);
    };
    if (force?.signal.aborted) cut();
    else force?.signal.addEventListener("abort", cut, { once: true });
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
    force?.signal.removeEventListener("abort", cut);
    for (const timer of timers) timer.cancel();
    await this.#unsaved.stop();
    this.#kill.abort(new Error("shutting down"));
  }

  #destinationOf(domain: string): string {
    return this.#options.destinationOf?.(domain) ?? domain;
  }

  /** Lets what is open of an entry wait again, instead of all that waited of it. */
  #submitAgain({ entry, inFlight, gone }: OpenEntry): void {
    const { id, recipients } = entry;
    this.#replace(id);
    const due = recipients.flatMap(({ status, domain, nextAttemptAt }, index) =>
      status === "pending" && !inFlight.has(index) ? { domain, at: nextAttemptAt } : []
    );
    if (gone) return;
    const status = recipients.find(({ status }) => status === "pending")?.attempts.at(-1)?.status;
    this.#submit({ id, age: this.#options.queue.ageOf(entry), due }, { fresh: false, status });
  }

  /** When each destination is first due. */
  #byDestination(due: QueueSummary["due"]): Map<string, number> {
    const first = new Map<string, number>();
    for (const { domain, at } of due) {
      const to = this.#destinationOf(domain);
      first.set(to, Math.min(at, first.get(to) ?? Infinity));
    }
    return first;
  }

  /** Whole seconds, which take no memory of their own in an item. */
  #secondsAgo(age: number): number {
    return Math.round((this.#options.clock.monotonic() - age) / 1000);
  }

  #dueAt(at: number): number {
    const { clock, schedule } = this.#options;
    // A time beyond the longest wait was written under another clock.
    const wait = Math.min(Math.max(0, at - clock.now()), longestDelay(schedule));
    return clock.monotonic() + wait;
  }

  /** Looks at an entry when its delay notice is due, unless that has happened before. */
  #watchForDelay(id: string, { age, before }: { age: number; before: number }): void {
    const { clock, schedule } = this.#options;
    const wait = schedule.delayNoticeAfter - age;
    const dueAt = clock.monotonic() + wait;
    if (wait > 0 && dueAt < before) {
      this.#wait({ id, to: "", at: 0, dueAt, tried: true, since: 0, status: undefined, fresh: true });
    }
  }

  #wait(item: Item): void {
    this.#replaced.note(item);
    this.#waiting.add(item);
  }

  /** Drops what no longer counts of what waits. */
  #sweep(): void {
    if (this.#replaced.changes === 0) return;
    const counts = (item: Item) => this.#replaced.counts(item);
    this.#waiting.retain(counts);
    this.#destinations.retain(counts);
    this.#replaced.clear();
  }

  #makeReady(item: Item): void {
    if (this.#stopping.signal.aborted || !this.#replaced.counts(item)) return;
    if (item.to === "") return this.#run(this.#finish(item));
    this.#destinations.add(item.to, item);
  }

  /** Does what is left to do with an entry apart from sending. */
  async #finish({ id }: { id: string }): Promise<void> {
    using opened = await this.#entries.open(id);
    if (opened !== undefined) await this.settle(opened);
  }

  #run(work: Promise<unknown>): void {
    const done = work.catch((error) => {
      if (this.#kill.signal.aborted) return;
      this.#options.logger.error("queue.error", { error: String(error) });
    }).finally(() => this.#running.delete(done));
    this.#running.add(done);
  }

  #work(turn: Turn<Item>): Promise<void> {
    return work(turn, {
      send: (item, live) => this.#try(item, live),
      idle: {
        offer: (live) => {
          if (this.#upToDate(live) !== undefined) this.#idle.offer(live);
        },
      },
      stopping: this.#stopping.signal,
    }).finally(() => turn.end());
  }

  /** Makes one attempt. What it came to is in memory when this resolves, and on disk when `stored` does. */
  async #try(item: Item, kept: LiveConnection | undefined): Promise<SentItem> {
    const generation = this.#generation;
    // The settings may change at each step.
    const isOutdated = () => generation !== this.#generation || this.#outdated.has(item);
    const live = kept && this.#upToDate(kept);
    const nothing: SentItem = { stored: Promise.resolve(), ...(live && { live }) };
    if (!this.#replaced.counts(item)) return nothing;
    let opened: OpenEntry | undefined;
    let stored: Promise<void> | undefined;
    try {
      opened = await this.#entries.open(item.id);
      if (opened === undefined || opened.gone) return nothing;
      const { entry, inFlight } = opened;
      if (!item.fresh && entry.reversePath === "" && !this.#recovered) {
        this.#notBeforeRecovery.push(item);
        return nothing;
      }
      if (isOutdated()) {
        this.#submitAgain(opened);
        return nothing;
      }
      const recipients = this.#dueRecipients(opened, item);
      if (recipients.length === 0) {
        // Where the summary was wrong of an entry, nothing would wait of it any more.
        if (this.#options.queue.shared !== undefined && (!item.fresh || this.#waitsLonger(opened, item))) {
          this.#submitAgain(opened);
        }
        return nothing;
      }
      for (const index of recipients) inFlight.add(index);
      let result: AttemptResult;
      try {
        result = await this.#attempt(opened, { recipients, live });
        const { queue } = this.#options;
        const tried = item.tried || (queue.shared !== undefined && this.#wasTriedLately(entry, recipients));
        const { results, noted } = result;
        const outcome = { results, age: queue.ageOf(entry), tried, noted };
        const reached = applyOutcome(entry, outcome, this.#options);
        this.#destinations.noteAttempt(item.to, { reached });
      } finally {
        for (const index of recipients) inFlight.delete(index);
      }
      const going = result.live && { live: result.live };
      if (result.live !== undefined) this.#openedIn.set(result.live, generation);
      if (result.wait !== undefined) {
        if (isOutdated()) this.#outdated.add(item);
        return { stored: Promise.resolve(), wait: result.wait, ...going };
      }
      stored = this.#store(opened, { item, isOutdated, unrecorded: result.unrecorded ?? false });
      return { stored, ...going };
    } catch (error) {
      // Whatever this is, it must not cost a message its next attempt.
      const { logger, clock, schedule, random } = this.#options;
      logger.error("queue.error", { id: item.id, error: String(error) });
      if (live !== undefined) leave(live);
      const again = { ...item, dueAt: clock.monotonic() + retryDelay(1, schedule, random) };
      if (isOutdated()) this.#outdated.add(again);
      this.#wait(again);
      return { stored: Promise.resolve() };
    } finally {
      if (stored === undefined) opened?.[Symbol.dispose]();
      else stored.catch(() => {}).finally(() => opened?.[Symbol.dispose]());
    }
  }

  /** Whether this process or another one has tried any of them at the time it should have. */
  #wasTriedLately(entry: QueueEntry, recipients: readonly number[]): boolean {
    const { clock, schedule } = this.#options;
    const since = clock.now() - 2 * longestDelay(schedule);
    return recipients.some((index) => (entry.recipients[index]?.attempts.at(-1)?.at ?? -Infinity) >= since);
  }

  /** A kept connection, if it was opened under the settings that hold now. */
  #upToDate(live: LiveConnection): LiveConnection | undefined {
    if (this.#openedIn.get(live) === this.#generation) return live;
    leave(live);
    return undefined;
  }

  #dueRecipients({ entry, inFlight }: OpenEntry, { to, at }: Item): number[] {
    const due: number[] = [];
    entry.recipients.forEach((recipient, index) => {
      const { status, nextAttemptAt } = recipient;
      if (status !== "pending" || inFlight.has(index) || this.#destinationOf(recipient.domain) !== to) return;
      if (nextAttemptAt <= at && due.length < MAX_RECIPIENTS) due.push(index);
    });
    return due;
  }

  /** Whether recipients are due later than the item knows, as after the clock was set: no item waits for them then. */
  #waitsLonger({ entry, inFlight }: OpenEntry, { to, at }: Item): boolean {
    return entry.recipients.some(({ status, domain, nextAttemptAt }, index) =>
      status === "pending" && nextAttemptAt > at && !inFlight.has(index) && this.#destinationOf(domain) === to
    );
  }

  #attempt(
    opened: OpenEntry,
    { recipients, live }: { recipients: number[]; live: LiveConnection | undefined },
  ): Promise<AttemptResult> {
    const { queue, clock, route, connect, schedule } = this.#options;
    // Any of them: they have the same targets.
    const domain = opened.entry.recipients[recipients[0] ?? 0]?.domain ?? "";
    const expired = queue.ageOf(opened.entry) >= schedule.expireAfter;
    return attempt({ opened, recipients, domain, expired, ...(live && { live }) }, {
      queue,
      clock,
      route,
      connect,
      idle: this.#idle,
      hosts: this.#hosts,
      stopping: this.#stopping.signal,
      cut: this.#cut.signal,
      kill: this.#kill.signal,
    });
  }

  async #storedOrStopping(id: string): Promise<void> {
    const { signal } = this.#stopping;
    if (signal.aborted) return;
    const { promise: stopping, resolve } = Promise.withResolvers<void>();
    const stop = () => resolve();
    signal.addEventListener("abort", stop, { once: true });
    await Promise.race([this.#unsaved.stored(id), stopping]);
    signal.removeEventListener("abort", stop);
  }

  /** Puts the outcome on disk, then lets the rest wait for its time. */
  async #store(
    opened: OpenEntry,
    { item, unrecorded, isOutdated }: {
      readonly item: Item;
      readonly unrecorded: boolean;
      readonly isOutdated: () => boolean;
    },
  ): Promise<void> {
    const { entry } = opened;
    const { id, to } = item;
    const stored = await this.settle(opened);
    if (!stored && (unrecorded || this.#unsaved.size > MAX_UNSAVED)) await this.#storedOrStopping(id);
    if (opened.gone) return;
    if (isOutdated()) return this.#submitAgain(opened);
    const open = entry.recipients.filter((recipient) =>
      recipient.status === "pending" && this.#destinationOf(recipient.domain) === to
    );
    if (open.length === 0) return;
    const at = Math.min(...open.map(({ nextAttemptAt }) => nextAttemptAt));
    const dueAt = this.#dueAt(at);
    const status = open[0]?.attempts.at(-1)?.status;
    this.#wait({ id, to, at, dueAt, tried: true, since: item.since, status, fresh: true });
    const untold = open.some(({ delayNotified }) => !delayNotified);
    if (untold) this.#watchForDelay(id, { age: this.#options.queue.ageOf(entry), before: dueAt });
  }
}

/** A pause never covers a message's own next attempt, which is to ask the host itself. */
function pausesOf({ delays }: RetrySchedule): HostPauses {
  return hostPausesUpTo(Math.min(...delays));
}
