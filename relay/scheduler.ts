/**
 * Decides what is sent when: from memory, by destination, fairly, and never sooner than the schedule says.
 *
 * What waits lies in one heap by its time. What is due lies in one first-in-first-out line for each destination
 * (a domain, or all that goes through one smarthost), and destinations take turns for a bounded number of places, so that neither a domain with much mail nor
 * one whose host is dead holds up the others. A place is one worker: it takes the first message of its line, connects,
 * and sends more of the same line over the same connection while there are more. While mail flows to a host, a connection that is
 * done waits a moment for the next message to its host, as long as nobody wants its place.
 *
 * Waits are measured in time that no change of the clock touches; the clock only tells what is written down.
 *
 * @module
 */
import type { Logger } from "../observe/log.ts";
import type { Clock, Timer } from "../smtp/clock.ts";
import { attempt, leave } from "./attempt.ts";
import type { AttemptResult, Connect, LiveConnection, RecipientResult } from "./attempt.ts";
import { DueHeap } from "./due_heap.ts";
import { IdleConnections } from "./idle_connections.ts";
import { DEFAULT_HOST_PAUSES, type HostFailure, type HostPauses, HostTable } from "./host_table.ts";
import type { Targets } from "./mx.ts";
import { OpenEntries, type OpenEntry } from "./open_entries.ts";
import type { Queue, QueueSummary } from "./queue.ts";
import type { QueueEntry, QueueRecipient } from "./queue_entry.ts";
import { longestDelay, retryDelay, type RetrySchedule } from "./retry_schedule.ts";
import { type ComposeNotice, settle } from "./settle.ts";

/** What a {@linkcode Scheduler} needs. */
export interface SchedulerOptions {
  /** Where the messages are. */
  readonly queue: Queue;
  /** Tells and measures time. */
  readonly clock: Clock;
  /** Draws from [0, 1), for the jitter. */
  readonly random: () => number;
  /** Takes the events; docs/logs.md lists them. */
  readonly logger: Logger;
  /** When to try again, and when to give up. */
  readonly schedule: RetrySchedule;
  /** Finds the hosts of a domain. */
  readonly route: (
    domain: string,
    options: { readonly preferFamily?: 4 | 6; readonly signal: AbortSignal },
  ) => Promise<Targets>;
  /** Connects to one of them. */
  readonly connect: Connect;
  /**
   * Names the destination of a domain; not empty. Domains of the same destination share line, connections and
   * transactions, so their targets must be the same. Default: the domain itself.
   */
  readonly destinationOf?: (domain: string) => string;
  /** Writes notices to senders. */
  readonly compose: ComposeNotice;
  /** Connections to one host, at least 1; default 5. */
  readonly maxConnectionsPerHost?: number;
  /** Destinations served at once, at least 4; default 100. */
  readonly maxWorkers?: number;
}

/** What a {@linkcode Scheduler} is doing. */
export interface SchedulerStatus {
  /** Messages (one for each of its destinations) that wait for their time. */
  readonly waiting: number;
  /** Those that are due and wait for their turn. */
  readonly ready: number;
  /** Workers under way. */
  readonly active: number;
}

/** What a {@linkcode Scheduler} has for one domain. */
export interface DomainStatus extends SchedulerStatus {
  /** When the first of those that wait is due, milliseconds since the epoch. */
  readonly nextAt?: number;
  /** Whether all wait for a host that has its share or is given a rest. */
  readonly resting: boolean;
}

/** One message as it waits for one destination; there may be a million. */
interface Item {
  readonly id: string;
  /** The destination; `""` for a look at whether the delay notice is due. */
  readonly to: string;
  /** When its recipients are due, as the entry says (milliseconds since the epoch). */
  readonly at: number;
  /** The same in monotonic time. */
  readonly dueAt: number;
  /** When the message was accepted, monotonic; may be negative. */
  readonly born: number;
  /** Whether this process has tried it before. */
  readonly tried: boolean;
  /** Whether it was found at the start. */
  readonly scanned: boolean;
}

interface Destination {
  readonly name: string;
  readonly ready: Line<Item>;
  workers: number;
  /** Whether it stands in one of the rings. */
  queued: boolean;
  /** What it waits for, as the {@linkcode HostTable} calls it. */
  parked?: string;
  /** What called it back. */
  woken?: string;
}

const MAX_RECIPIENTS = 100;
const MAX_MESSAGES_PER_CONNECTION = 100;
// So many messages go over a connection before others get the place, if there are any.
const MESSAGES_PER_TURN = 10;
// A quarter of the places is for what has not failed yet.
const SLOW_SHARE = 0.75;
const MAX_STRUGGLING = 10_000;
const MAX_ATTEMPTS_KEPT = 10;
const LONGEST_SLEEP = 3_600_000;

/** Sends what is in a queue. */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #hosts: HostTable;
  readonly #idle: IdleConnections;
  readonly #entries: OpenEntries;
  readonly #maxWorkers: number;
  readonly #maxPerDestination: number;
  readonly #waiting = new DueHeap<Item>();
  readonly #destinations = new Map<string, Destination>();
  /** Destinations with something due, in turn: those with fresh mail, and those that failed lately. */
  readonly #rings = { fresh: new Line<Destination>(), slow: new Line<Destination>() };
  /** Destinations whose last attempt reached nobody, oldest first. */
  readonly #struggling = new Set<string>();
  /** Notices found at the start, until it is certain that none of them is half done. */
  readonly #notBeforeRecovery: Item[] = [];
  readonly #running = new Set<Promise<unknown>>();
  readonly #stopping = new AbortController();
  readonly #kill = new AbortController();
  #recovered = false;
  #ready = 0;
  #active = 0;
  #slowActive = 0;
  #slowTurn = false;
  #timer: Timer | undefined;

  /** Makes one that does nothing before {@linkcode Scheduler.start}. */
  constructor(options: SchedulerOptions) {
    this.#options = options;
    const { queue, clock, logger, schedule, maxConnectionsPerHost = 5, maxWorkers = 100 } = options;
    this.#maxWorkers = maxWorkers;
    this.#maxPerDestination = maxConnectionsPerHost;
    const pauses = pausesFor(schedule);
    this.#idle = new IdleConnections(clock);
    this.#hosts = new HostTable({ clock, logger, maxConnectionsPerHost, pauses });
    this.#entries = new OpenEntries({ queue, clock, logger, signal: this.#kill.signal });
  }

  /** The entries that are being worked on; whoever changes an entry does it through these. */
  get entries(): OpenEntries {
    return this.#entries;
  }

  /** How much there is to do. */
  get status(): SchedulerStatus {
    return { waiting: this.#waiting.size, ready: this.#ready, active: this.#active };
  }

  /**
   * Takes up what is in the queue, and finishes what a crash left half done. Resolves when all has been seen; sending
   * begins at once.
   * @throws what the queue throws when it cannot be read to its end; what was seen of it is sent all the same
   */
  async start(): Promise<void> {
    const { queue, logger } = this.#options;
    let count = 0;
    try {
      for await (const summary of queue.scan()) {
        if (this.#stopping.signal.aborted) return;
        count++;
        this.#submit(summary, { scanned: true });
        if (!summary.unfinished) continue;
        try {
          await this.#finish(summary);
        } catch (error) {
          logger.error("queue.error", { id: summary.id, error: String(error) });
        }
      }
      logger.info("queue.scanned", { entries: count });
    } finally {
      // Even where not all could be seen, what was seen must leave.
      this.#recovered = true;
      for (const item of this.#notBeforeRecovery.splice(0)) this.#makeReady(item);
    }
  }

  /** Takes over an entry that is in the queue. What is due at once is sent at once. */
  submit(summary: QueueSummary): void {
    this.#submit(summary, { scanned: false });
  }

  #submit(summary: QueueSummary, { scanned }: { scanned: boolean }): void {
    const { clock, schedule } = this.#options;
    const { id, acceptedAt, due } = summary;
    const now = clock.now();
    const born = clock.monotonic() - Math.max(0, now - acceptedAt);
    for (const [to, at] of this.#byDestination(due)) {
      this.#add({ id, to, at, dueAt: this.#dueAt(at), born, tried: false, scanned });
      const noticeAt = acceptedAt + schedule.delayNoticeAfter;
      if (at > now && noticeAt > now && noticeAt < at) this.#watchForDelay(id, born);
    }
  }

  /** Lets recipients of these domains be tried at once; the entry must say so already (`nextAttemptAt` 0). */
  expedite(id: string, { acceptedAt, domains }: { acceptedAt: number; domains: Iterable<string> }): void {
    this.submit({ id, acceptedAt, due: Array.from(new Set(domains), (domain) => ({ domain, at: 0 })) });
  }

  /** Forgets what speaks against hosts, so that the next attempt asks them again. */
  forgiveHosts(): void {
    this.#struggling.clear();
    this.#hosts.forgive();
  }

  /**
   * Stores an entry that was changed through {@linkcode Scheduler.entries}, queues the notices that are due, removes it
   * when all is settled.
   */
  async settle(opened: OpenEntry, { born }: { born?: number } = {}): Promise<void> {
    const { queue, logger, compose, schedule } = this.#options;
    const age = this.#age(opened.entry, born);
    await settle(opened, {
      queue,
      logger,
      compose,
      delayed: age >= schedule.delayNoticeAfter,
      submit: (notice) => this.submit(notice),
    });
  }

  /** What waits for a domain, with what shares its destination; looks at all that waits. */
  domainStatus(domain: string): DomainStatus {
    const to = this.#destinationOf(domain);
    const destination = this.#destinations.get(to);
    let waiting = 0;
    let nextAt: number | undefined;
    for (const item of this.#waiting.values()) {
      if (item.to !== to) continue;
      waiting++;
      if (nextAt === undefined || item.at < nextAt) nextAt = item.at;
    }
    return {
      waiting,
      ready: destination?.ready.size ?? 0,
      active: destination?.workers ?? 0,
      resting: destination?.parked !== undefined,
      ...(nextAt !== undefined && { nextAt }),
    };
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
   */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort(new Error("shutting down"));
    this.#timer?.cancel();
    this.#hosts.stop();
    this.#idle.clear();
    const grace = this.#options.clock.after(graceMs, () => this.#kill.abort(new Error("shutting down")));
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
    grace.cancel();
    this.#kill.abort(new Error("shutting down"));
  }

  #destinationOf(domain: string): string {
    return this.#options.destinationOf?.(domain) ?? domain;
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

  #dueAt(at: number): number {
    const { clock, schedule } = this.#options;
    // A time beyond the longest wait was written under another clock.
    const wait = Math.min(Math.max(0, at - clock.now()), longestDelay(schedule));
    return clock.monotonic() + wait;
  }

  /** A clock that is wrong now, or was wrong when the message came, makes it look older; the smaller age is true. */
  #age({ acceptedAt }: QueueEntry, born = -Infinity): number {
    const { clock } = this.#options;
    return Math.min(clock.now() - acceptedAt, clock.monotonic() - born);
  }

  #add(item: Item): void {
    if (item.dueAt <= this.#options.clock.monotonic()) return this.#makeReady(item);
    this.#waiting.push(item);
    if (this.#waiting.peek() === item) this.#sleep();
  }

  #watchForDelay(id: string, born: number): void {
    const dueAt = born + this.#options.schedule.delayNoticeAfter;
    this.#add({ id, to: "", at: 0, dueAt, born, tried: true, scanned: false });
  }

  #sleep(): void {
    this.#timer?.cancel();
    const next = this.#waiting.peek();
    if (next === undefined || this.#stopping.signal.aborted) return;
    const { clock } = this.#options;
    const wait = Math.min(next.dueAt - clock.monotonic(), LONGEST_SLEEP);
    this.#timer = clock.after(wait, () => this.#wake());
  }

  #wake(): void {
    const now = this.#options.clock.monotonic();
    for (
      let item = this.#waiting.peek();
      item !== undefined && item.dueAt <= now;
      item = this.#waiting.peek()
    ) {
      this.#waiting.pop();
      this.#makeReady(item);
    }
    this.#sleep();
  }

  #makeReady(item: Item): void {
    if (this.#stopping.signal.aborted) return;
    if (item.to === "") return this.#run(this.#finish(item));
    let destination = this.#destinations.get(item.to);
    if (destination === undefined) {
      destination = { name: item.to, ready: new Line(), workers: 0, queued: false };
      this.#destinations.set(item.to, destination);
    }
    destination.ready.push(item);
    this.#ready++;
    this.#queue(destination);
    this.#dispatch();
  }

  /** Does what is left to do with an entry apart from sending. */
  async #finish({ id, born }: { id: string; born?: number }): Promise<void> {
    using opened = await this.#entries.open(id);
    if (opened !== undefined) await this.settle(opened, { ...(born !== undefined && { born }) });
  }

  #run(work: Promise<unknown>): void {
    const done = work.catch((error) => {
      if (this.#kill.signal.aborted) return;
      this.#options.logger.error("queue.error", { error: String(error) });
    }).finally(() => this.#running.delete(done));
    this.#running.add(done);
  }

  #isSlow(destination: Destination): boolean {
    const first = destination.ready.peek();
    return this.#struggling.has(destination.name) || (first !== undefined && first.at !== 0);
  }

  /** Gives a destination its next turn, if it has use for one. */
  #queue(destination: Destination): void {
    const { ready, workers, queued, parked, name } = destination;
    // One connection is enough to find out whether the host is back.
    const most = this.#struggling.has(name) ? 1 : this.#maxPerDestination;
    if (queued || parked !== undefined || ready.size === 0 || workers >= most) return;
    destination.queued = true;
    this.#rings[this.#isSlow(destination) ? "slow" : "fresh"].push(destination);
  }

  #nextDestination(): { destination: Destination; slow: boolean } | undefined {
    const { fresh, slow } = this.#rings;
    const mayBeSlow = slow.size > 0 && this.#slowActive < this.#maxWorkers * SLOW_SHARE;
    const takeSlow = mayBeSlow && (this.#slowTurn || fresh.size === 0);
    this.#slowTurn = !takeSlow;
    const destination = (takeSlow ? slow : fresh).shift();
    return destination && { destination, slow: takeSlow };
  }

  #dispatch(): void {
    while (this.#active < this.#maxWorkers && !this.#stopping.signal.aborted) {
      const next = this.#nextDestination();
      if (next === undefined) return;
      const { destination, slow } = next;
      destination.queued = false;
      const item = this.#take(destination);
      if (item === undefined) {
        const { woken } = destination;
        delete destination.woken;
        if (woken !== undefined) this.#hosts.nudge(woken);
        this.#forgetIdle(destination);
        continue;
      }
      destination.workers++;
      this.#active++;
      if (slow) this.#slowActive++;
      this.#queue(destination);
      this.#run(
        this.#work(destination, item).finally(() => {
          destination.workers--;
          this.#active--;
          if (slow) this.#slowActive--;
          this.#queue(destination);
          this.#forgetIdle(destination);
          this.#dispatch();
        }),
      );
    }
  }

  #take(destination: Destination): Item | undefined {
    const item = destination.ready.shift();
    if (item !== undefined) this.#ready--;
    return item;
  }

  #putBack(destination: Destination, item: Item): void {
    destination.ready.unshift(item);
    this.#ready++;
  }

  #forgetIdle({ name, ready, workers, parked }: Destination): void {
    if (ready.size === 0 && workers === 0 && parked === undefined) this.#destinations.delete(name);
  }

  /** Sends one message after the other to one destination. */
  async #work(destination: Destination, first: Item): Promise<void> {
    const { ready } = destination;
    const woken = destination.woken;
    delete destination.woken;
    let live: LiveConnection | undefined;
    let storing: Promise<void> = Promise.resolve();
    try {
      for (let item: Item | undefined = first; item !== undefined; item = this.#take(destination)) {
        const tried: AttemptOutcome = await this.#try(item, live);
        live = tried.live;
        if (tried.wait !== undefined) {
          this.#putBack(destination, item);
          this.#park(destination, tried.wait);
          break;
        }
        // The disk may be at work on one message while the next one is sent, no more.
        await storing;
        storing = tried.stored;
        if (ready.size === 0 || this.#stopping.signal.aborted) break;
        if (live !== undefined && live.sent >= MAX_MESSAGES_PER_CONNECTION) {
          leave(live);
          live = undefined;
        }
        if (this.#othersWait() && (live === undefined || live.sent >= MESSAGES_PER_TURN)) break;
      }
    } finally {
      if (live !== undefined) this.#retire(live);
      if (woken !== undefined) this.#hosts.nudge(woken);
      await storing;
    }
  }

  /** Lets a connection wait for the next message while mail flows to its host and nobody else wants its place. */
  #retire(live: LiveConnection): void {
    const { sent, slot } = live;
    const flows = sent > 1 || slot.shared();
    const mayWait = flows && sent < MAX_MESSAGES_PER_CONNECTION && !slot.wanted();
    if (mayWait && !this.#stopping.signal.aborted) this.#idle.put(live);
    else leave(live);
  }

  #othersWait(): boolean {
    return this.#active >= this.#maxWorkers && this.#rings.fresh.size + this.#rings.slow.size > 0;
  }

  #park(destination: Destination, key: string): void {
    if (destination.parked !== undefined) return;
    destination.parked = key;
    this.#idle.clear();
    this.#hosts.wait(key, () => {
      delete destination.parked;
      this.#queue(destination);
      if (destination.queued) destination.woken = key;
      else {
        this.#forgetIdle(destination);
        this.#hosts.nudge(key);
      }
      this.#dispatch();
    });
  }

  /** Makes one attempt. What it came to is in memory when this resolves, and on disk when `stored` does. */
  async #try(item: Item, live: LiveConnection | undefined): Promise<AttemptOutcome> {
    const nothing: AttemptOutcome = { stored: Promise.resolve(), ...(live && { live }) };
    let opened: OpenEntry | undefined;
    let stored: Promise<void> | undefined;
    try {
      opened = await this.#entries.open(item.id);
      if (opened === undefined || opened.gone) return nothing;
      const { entry, inFlight } = opened;
      if (item.scanned && entry.reversePath === "" && !this.#recovered) {
        this.#notBeforeRecovery.push(item);
        return nothing;
      }
      const recipients = this.#dueRecipients(opened, item);
      if (recipients.length === 0) return nothing;
      for (const index of recipients) inFlight.add(index);
      let result: AttemptResult;
      try {
        result = await this.#attempt(opened, { item, recipients, live });
        this.#apply(entry, { item, results: result.results });
      } finally {
        for (const index of recipients) inFlight.delete(index);
      }
      const going = result.live && { live: result.live };
      if (result.wait !== undefined) return { stored: Promise.resolve(), wait: result.wait, ...going };
      stored = this.#store(opened, item);
      return { stored, ...going };
    } catch (error) {
      // Whatever this is, it must not cost a message its next attempt.
      this.#options.logger.error("queue.error", { id: item.id, error: String(error) });
      if (live !== undefined) leave(live);
      this.#add({ ...item, dueAt: this.#options.clock.monotonic() + this.#retryAfter(1) });
      return { stored: Promise.resolve() };
    } finally {
      if (stored === undefined) opened?.[Symbol.dispose]();
      else stored.catch(() => {}).finally(() => opened?.[Symbol.dispose]());
    }
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

  #attempt(
    opened: OpenEntry,
    { item, recipients, live }: { item: Item; recipients: number[]; live: LiveConnection | undefined },
  ): Promise<AttemptResult> {
    const { queue, clock, route, connect, schedule } = this.#options;
    const { born } = item;
    // Any of them: they have the same targets.
    const domain = opened.entry.recipients[recipients[0] ?? 0]?.domain ?? "";
    const impatient = this.#age(opened.entry, born) >= schedule.expireAfter;
    return attempt({ opened, recipients, domain, impatient, ...(live && { live }) }, {
      queue,
      clock,
      route,
      connect,
      idle: this.#idle,
      hosts: this.#hosts,
      stopping: this.#stopping.signal,
      kill: this.#kill.signal,
    });
  }

  #apply(
    entry: QueueEntry,
    { item, results }: { item: Item; results: ReadonlyMap<number, RecipientResult> },
  ): void {
    const { clock } = this.#options;
    const jitter = this.#options.random();
    let reached = results.size === 0;
    for (const [index, result] of results) {
      const recipient = entry.recipients[index];
      if (recipient === undefined) continue;
      const mayExpire = this.#mayExpire(entry, { item, recipient, result });
      recipient.attempts = [...recipient.attempts, ...result.attempts].slice(-MAX_ATTEMPTS_KEPT);
      recipient.attemptCount++;
      switch (result.result) {
        case "relayed":
          recipient.status = "relayed";
          // The remote tells the sender, or nobody does; otherwise the notice comes first.
          recipient.settled = result.dsnHandedOn || !(recipient.notify?.includes("SUCCESS") ?? false);
          break;
        case "failed":
          recipient.status = "failed";
          break;
        case "deferred":
          if (mayExpire) recipient.status = "expired";
          else recipient.nextAttemptAt = clock.now() + this.#retryAfter(recipient.attemptCount, jitter);
      }
      reached ||= result.result !== "deferred" || (recipient.attempts.at(-1)?.reply !== undefined);
      this.#logOutcome(entry, recipient);
    }
    this.#noteStruggle(item.to, reached);
  }

  /** The schedule says no sooner than its step, whatever the attempt took. */
  #retryAfter(attempts: number, jitter: number = this.#options.random()): number {
    return retryDelay(attempts, this.#options.schedule, () => jitter);
  }

  /**
   * Whether this failed attempt is the last one. It is not for a message that merely looks too old: this process must
   * have tried it before, or an earlier one must have after its time was over.
   */
  #mayExpire(
    entry: QueueEntry,
    { item, recipient, result }: { item: Item; recipient: QueueRecipient; result: RecipientResult },
  ): boolean {
    const { expireAfter } = this.#options.schedule;
    if (this.#age(entry, item.born) < expireAfter) return false;
    // What another message saw before the deadline is no attempt after it.
    if (result.learntAt !== undefined && result.learntAt < item.born + expireAfter) return false;
    return item.tried || recipient.attempts.some(({ at }) => at >= entry.acceptedAt + expireAfter);
  }

  #noteStruggle(destination: string, reached: boolean): void {
    this.#struggling.delete(destination);
    if (reached) return;
    this.#struggling.add(destination);
    for (const oldest of this.#struggling) {
      if (this.#struggling.size <= MAX_STRUGGLING) break;
      this.#struggling.delete(oldest);
    }
  }

  #logOutcome({ id }: QueueEntry, recipient: QueueRecipient): void {
    const { logger, clock } = this.#options;
    const { host, address, tls, reply, error, status, dotSentNoReply } = recipient.attempts.at(-1) ?? {};
    const fields = { id, recipient: recipient.address, host, address, tls, status, reply, error };
    switch (recipient.status) {
      case "relayed":
        return logger.info("attempt.relayed", fields);
      case "failed":
        return logger.info("attempt.failed", fields);
      case "expired":
        return logger.info("queue.expired", { ...fields, attempts: recipient.attemptCount });
      default:
        return logger.info("attempt.deferred", {
          ...fields,
          ...(dotSentNoReply && { dot_sent_no_reply: true }),
          attempts: recipient.attemptCount,
          again_ms: Math.max(0, recipient.nextAttemptAt - clock.now()),
        });
    }
  }

  /** Puts the outcome on disk, then lets the rest wait for its time. */
  async #store(opened: OpenEntry, item: Item): Promise<void> {
    const { schedule } = this.#options;
    const { entry } = opened;
    const { id, to, born } = item;
    await this.settle(opened, { born });
    if (opened.gone) return;
    const open = entry.recipients.filter((recipient) =>
      recipient.status === "pending" && this.#destinationOf(recipient.domain) === to
    );
    if (open.length === 0) return;
    const at = Math.min(...open.map(({ nextAttemptAt }) => nextAttemptAt));
    const dueAt = this.#dueAt(at);
    this.#add({ id, to, at, dueAt, born, tried: true, scanned: false });
    const noticeAt = born + schedule.delayNoticeAfter;
    const untold = open.some(({ delayNotified }) => !delayNotified);
    if (untold && noticeAt > this.#options.clock.monotonic() && noticeAt < dueAt) {
      this.#watchForDelay(id, born);
    }
  }
}

interface AttemptOutcome {
  readonly live?: LiveConnection;
  readonly wait?: string;
  readonly stored: Promise<void>;
}

/** A pause never covers a message's own next attempt, which is to ask the host itself. */
function pausesFor({ delays }: RetrySchedule): HostPauses {
  const shortest = Math.min(...delays);
  const { refused, silent, deadMax, busy, rate } = DEFAULT_HOST_PAUSES;
  return {
    refused: Math.min(refused, shortest),
    silent: Math.min(silent, shortest),
    deadMax: Math.min(deadMax, shortest),
    busy: Math.min(busy, shortest),
    rate,
  };
}

/** First in, first out, without moving what is behind. */
class Line<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  peek(): T | undefined {
    return this.#items[this.#head];
  }

  push(item: T): void {
    this.#items.push(item);
  }

  unshift(item: T): void {
    if (this.#head === 0) this.#items.unshift(item);
    else this.#items[--this.#head] = item;
  }

  shift(): T | undefined {
    if (this.size === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head > 32 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
