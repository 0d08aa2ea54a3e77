/**
 * One attempt: some recipients of one message, at one destination, over as many of its hosts as it takes.
 *
 * 4xx, a drop or a stall before the final dot leads to the next host at once; after the dot it never does, since the
 * message may have arrived (RFC 1047). 5xx to a command of the transaction ends it for those recipients. A host that
 * refused is not asked over its other addresses: a greylisting host would take us for several clients.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import { NotedAnswers } from "../dns/noted_answers.ts";
import { alternatesOf, MAX_TARGETS_TRIED } from "./target_order.ts";
import type { HostFailure, HostSlot } from "./host_slot.ts";
import type { HostTable } from "./host_table.ts";
import type { IdleConnections } from "./idle_connections.ts";
import type { Target, Targets } from "./mx.ts";
import { targetKey } from "./target.ts";
import type { OpenEntry } from "./open_entries.ts";
import { type Connection, keep, leave, type LiveConnection } from "./live_connection.ts";
import { demand, failureOf, inTurn, type RetryHint, retryHint, slowDown } from "./host_demand.ts";
import type { Queue } from "./queue.ts";
import { type Attempt, SEEN_EARLIER } from "./queue_entry.ts";
import type { Opened, OpenFailure, RecipientOutcome } from "./transmit.ts";

/**
 * Opens a connection to a target, or to an alternate that answers first, ready to send a message. Never throws.
 */
export type Connect = (
  target: Target,
  options: {
    readonly signal: AbortSignal;
    readonly alternate?: () => Target | undefined;
    readonly noted?: NotedAnswers;
  },
) => Promise<
  | (Pick<Opened, "kind" | "target" | "unanswered"> & { readonly connection: Connection })
  | OpenFailure
>;

/** The result of this attempt for one recipient. */
export interface AttemptedRecipient {
  /** The outcome. */
  readonly result: RecipientOutcome["result"];
  /** One for each host that was tried, oldest first; at least one. */
  readonly attempts: readonly Attempt[];
  /** Whether the server takes over the sender's DSN requests. */
  readonly dsnHandedOn: boolean;
  /** When the failure was seen (monotonic), where another message saw it. */
  readonly learntAt?: number;
}

/** The result of an attempt. */
export interface AttemptResult {
  /** By index; absent recipients have not been tried. */
  readonly results: ReadonlyMap<number, AttemptedRecipient>;
  /** A connection that can be used again. */
  readonly live?: LiveConnection;
  /** Whether a server took the message and that could not be recorded: the queue might send it again. */
  readonly unrecorded?: boolean;
  /** Nothing could be tried before the {@linkcode HostTable} says so. */
  readonly wait?: string;
  /** What the hosts were found by. */
  readonly noted?: NotedAnswers;
}

/** The work of one {@linkcode attempt}. */
export interface AttemptRequest {
  /** The message. */
  readonly opened: OpenEntry;
  /** Indices; at least one. */
  readonly recipients: readonly number[];
  /** Where they are. */
  readonly domain: string;
  /** A connection of an earlier message to the same destination. */
  readonly live?: LiveConnection;
  /**
   * Whether the message has expired, so that another message's failure at a paused host counts as its own last attempt.
   */
  readonly expired: boolean;
}

/** What {@linkcode attempt} needs. */
export interface AttemptOptions {
  /** Where the message is. */
  readonly queue: Queue;
  /** The clock. */
  readonly clock: Clock;
  /** The state of hosts. */
  readonly hosts: HostTable;
  /** Finds the targets; `preferFamily` is the family that did not fail last. */
  readonly route: (
    domain: string,
    options: RetryHint & {
      readonly relaxed?: boolean;
      readonly signal: AbortSignal;
      readonly noted?: NotedAnswers;
    },
  ) => Promise<Targets>;
  /** Connects to one of the targets. */
  readonly connect: Connect;
  /** Connections that wait for a message. */
  readonly idle: Pick<IdleConnections, "take" | "makeRoom">;
  /** No further host is tried once it is aborted. */
  readonly stopping: AbortSignal;
  /** Ends what is in flight, except a message whose final dot has been sent. */
  readonly cut: AbortSignal;
  /** Ends what is in flight. */
  readonly kill: AbortSignal;
}

/** Makes one attempt. Does not change the entry; the connection given is closed or handed back. */
export async function attempt(request: AttemptRequest, options: AttemptOptions): Promise<AttemptResult> {
  const { opened, domain } = request;
  const { hosts, route, stopping, clock } = options;
  const round = new Round(request, options);
  let live = request.live;
  const { tried } = round;
  const { requireTls = false, tlsOptional: relaxed = false } = opened.entry;
  // One that was opened for a message that asks for less, or perhaps for one that does, is for no other.
  if (live !== undefined && (requireTls || (live.target.relaxed && !relaxed))) {
    leave(live);
    live = undefined;
  }
  if (live !== undefined) {
    round.noted = live.noted;
    const outcome = await round.transmit(live);
    // The end of a kept connection says nothing about the host, which is tried again in the ordinary way.
    if (outcome !== "stale") tried.add(targetKey(live.target));
    live = keep(live);
  }
  if (round.remaining.length === 0 || stopping.aborted) return round.result(live);

  const targets = await route(domain, {
    ...retryHint(opened.entry, round.remaining),
    ...(relaxed && { relaxed }),
    signal: stopping,
    noted: round.noted = new NotedAnswers(),
  });
  if (stopping.aborted) return round.result(live);
  if (targets.kind !== "targets") {
    round.unroutable(targets);
    return round.result(live);
  }
  if (live !== undefined) leave(live);
  live = undefined;
  let wait: string | undefined;
  for (const target of inTurn(targets.targets, opened.entry, request.recipients)) {
    if (round.remaining.length === 0 || stopping.aborted || tried.size >= MAX_TARGETS_TRIED) break;
    if (tried.has(targetKey(target)) || round.replied.has(target.host)) continue;
    live = options.idle.take(target);
    if (live !== undefined) {
      const outcome = await round.transmit(live);
      live = release(live, round);
      if (outcome !== "stale") {
        tried.add(targetKey(target));
        continue;
      }
    }
    const asking = hosts.prepare(target);
    if (asking !== undefined) {
      await asking;
      if (stopping.aborted) break;
    }
    const admission = hosts.admit(target);
    if (admission.kind !== "admitted") {
      const { failure, learntAt } = admission;
      if (admission.kind === "wait") {
        wait ??= admission.key;
        // Idle connections with other requirements must not hold this host's slots and so lead to a worse host.
        if (failure === undefined && tried.size === 0 && !round.decided && options.idle.makeRoom(target)) {
          break;
        }
      }
      if (failure === undefined || (admission.kind === "wait" && !request.expired)) continue;
      round.learn(target, { failure, learntAt: learntAt ?? clock.monotonic() });
      continue;
    }
    tried.add(targetKey(target));
    live = await round.open(target, { slot: admission.slot, targets: targets.targets });
    if (live === undefined) continue;
    await round.transmit(live);
    live = release(live, round);
  }
  // Until every host has been tried, failures that others saw decide nothing.
  if (wait !== undefined && tried.size === 0 && !(request.expired && round.decided)) {
    return { results: new Map(), wait };
  }
  return round.result(live);
}

/** Keeps a connection with no more work here; the rest of the message needs another one. */
function release(live: LiveConnection, { remaining }: Round): LiveConnection | undefined {
  const kept = keep(live);
  if (kept === undefined || remaining.length === 0) return kept;
  leave(kept);
  return undefined;
}

class Round {
  readonly #request: AttemptRequest;
  readonly #options: AttemptOptions;
  readonly #results = new Map<number, AttemptedRecipient>();
  readonly #attempts = new Map<number, Attempt[]>();
  #unrecorded = false;
  /** The recipients that another host may still take. */
  remaining: readonly number[];
  /** What the latest hosts were found by. */
  noted: NotedAnswers | undefined;
  /** By {@linkcode targetKey}. */
  readonly tried = new Set<string>();
  /** Hosts that have answered in any way. */
  readonly replied = new Set<string>();

  constructor(request: AttemptRequest, options: AttemptOptions) {
    this.#request = request;
    this.#options = options;
    this.remaining = request.recipients;
  }

  /** Whether there is an outcome for any recipient. */
  get decided(): boolean {
    return this.#results.size > 0;
  }

  result(live: LiveConnection | undefined): AttemptResult {
    const { noted } = this;
    return {
      results: this.#results,
      ...(live && { live }),
      ...(this.#unrecorded && { unrecorded: true }),
      ...(noted && { noted }),
    };
  }

  unroutable({ kind, status, reason }: Exclude<Targets, { kind: "targets" }>): void {
    const { domain } = this.#request;
    const at = this.#options.clock.now();
    for (const index of this.remaining) {
      this.#record(index, { at, host: domain, error: reason, status }, { result: kind, dsnHandedOn: false });
    }
    this.remaining = [];
  }

  /** Takes a failure that another message has seen at a host as this one's outcome, unless a better one follows. */
  learn({ host, address }: Target, { failure, learntAt }: { failure: HostFailure; learntAt: number }): void {
    const { clock } = this.#options;
    // The same text for all recipients concerned, so that they can be grouped.
    const error = `${failure.error ?? "asked for less"}${SEEN_EARLIER}`;
    for (const index of this.remaining) {
      const before = this.#results.get(index);
      this.#record(index, { ...failure, at: clock.now(), host, address, error }, {
        result: "deferred",
        dsnHandedOn: false,
        // The latest failure of any host of the destination counts.
        ...(before === undefined || before.learntAt !== undefined
          ? { learntAt: Math.max(learntAt, before?.learntAt ?? 0) }
          : {}),
      });
    }
  }

  /** Connects, to another address where this one is silent; failures are recorded. */
  async open(
    asked: Target,
    { slot: first, targets }: { readonly slot: HostSlot; readonly targets: readonly Target[] },
  ): Promise<LiveConnection | undefined> {
    const { clock, connect, stopping, hosts } = this.#options;
    const slots = new Map([[targetKey(asked), first]]);
    let alternates: readonly Target[] | undefined;
    const askedFor = new Set<string>();
    const alternate = () => {
      for (const other of alternates ??= alternatesOf(asked, targets)) {
        const key = targetKey(other);
        if (this.tried.has(key) || this.replied.has(other.host)) continue;
        if (!askedFor.has(key) && hosts.prepare(other) !== undefined) {
          askedFor.add(key);
          // It can be had when this is called again.
          return undefined;
        }
        const admission = hosts.admit(other);
        if (admission.kind !== "admitted") continue;
        this.tried.add(key);
        slots.set(key, admission.slot);
        return other;
      }
      return undefined;
    };
    const began = clock.monotonic();
    const noted = this.noted ??= new NotedAnswers();
    const connected = await connect(asked, { signal: stopping, alternate, noted });
    const { target = asked, unanswered = [] } = connected;
    const slot = slots.get(targetKey(target)) ?? first;
    for (const { target: other, attempt, silent } of unanswered) {
      const itsSlot = slots.get(targetKey(other));
      if (!stopping.aborted) {
        itsSlot?.unreachable(failureOf(attempt), !silent);
        if (connected.kind !== "open") this.#deferAll(attempt);
      }
      if (itsSlot !== slot) itsSlot?.release();
    }
    if (connected.kind === "open") {
      slot.connected();
      return { target, slot, connection: connected.connection, noted, sent: 0, usable: true };
    }
    const { attempt, reached } = connected;
    if (attempt.reply !== undefined) this.replied.add(target.host);
    // An attempt that our shutdown cut short says nothing about the host.
    if (!stopping.aborted) {
      if (reached) {
        slot.connected();
        slowDown(slot, attempt);
      } else if (reached === false) {
        // A host that is down refuses within a round trip; one that drops packets costs a timeout, and so is probed
        // less often.
        slot.unreachable(failureOf(attempt), clock.monotonic() - began < PROMPT);
      }
      this.#deferAll(attempt);
    }
    slot.release();
    return undefined;
  }

  #deferAll(attempt: Attempt): void {
    for (const index of this.remaining) {
      this.#record(index, attempt, { result: "deferred", dsnHandedOn: false });
    }
  }

  /**
   * Runs one transaction for the remaining recipients. `stale`: a kept connection turned out to be dead; nothing is
   * recorded of that.
   */
  async transmit(live: LiveConnection): Promise<"answered" | "stale"> {
    const { opened: { entry } } = this.#request;
    const { queue, cut, kill } = this.#options;
    const { connection, slot } = live;
    const abort = () => connection.abort({ unlessDotSent: !kill.aborted });
    for (const signal of [cut, kill]) signal.addEventListener("abort", abort, { once: true });
    if (cut.aborted || kill.aborted) abort();
    const { outcomes, usable, stale, unrecorded } = await connection.send({
      entry,
      recipients: this.remaining,
      queue,
    });
    for (const signal of [cut, kill]) signal.removeEventListener("abort", abort);
    live.usable = usable;
    if (stale) return "stale";
    live.sent++;
    const remaining: number[] = [];
    if (unrecorded) this.#unrecorded = true;
    for (const { recipient, result, attempt, nextHost, dsnHandedOn } of outcomes) {
      if (attempt.reply !== undefined) this.replied.add(live.target.host);
      if ((cut.aborted || kill.aborted) && nextHost && attempt.reply === undefined) continue;
      // Of no use for this message; a host that could not be asked may be.
      const open = result === "failed" && nextHost && this.#results.get(recipient)?.result === "deferred";
      this.#record(recipient, attempt, { result: open ? "deferred" : result, dsnHandedOn });
      if (result !== "relayed" && nextHost) remaining.push(recipient);
    }
    if (outcomes.some(({ result }) => result === "relayed")) slot.relayed();
    const asked = outcomes.find(({ attempt }) => demand(attempt) !== undefined);
    if (asked !== undefined) slowDown(slot, asked.attempt);
    this.remaining = remaining;
    return "answered";
  }

  #record(index: number, attempt: Attempt, result: Omit<AttemptedRecipient, "attempts">): void {
    const attempts = this.#attempts.get(index) ?? [];
    attempts.push(attempt);
    this.#attempts.set(index, attempts);
    this.#results.set(index, { ...result, attempts });
  }
}

// Milliseconds within which a refused connection is reported.
const PROMPT = 2000;
