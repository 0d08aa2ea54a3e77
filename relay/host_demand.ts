/**
 * What a failed attempt says of its host.
 *
 * @module
 */
import type { HostFailure, HostSlot } from "./host_slot.ts";
import { type Attempt, attemptLimits, type QueueEntry } from "./queue_entry.ts";
import type { Target } from "./target.ts";
import { MAX_TARGETS_TRIED } from "./target_order.ts";

/** Whether a server asks for less, and of what kind that is. */
export function demand({ reply, status }: HostFailure): "busy" | "rate" | undefined {
  if (reply === undefined) return undefined;
  if (status === "4.7.28") return "rate";
  return reply.startsWith("421") ? "busy" : undefined;
}

/** Gives the host a rest where it asks for less. */
export function slowDown(slot: HostSlot, attempt: Attempt): void {
  const kind = demand(attempt);
  if (kind !== undefined) slot.slowDown(failureOf(attempt), kind);
}

/** An attempt that failed, as the table of hosts keeps it. */
export function failureOf({ reply, error, status }: Attempt): HostFailure {
  return { status, ...(reply !== undefined && { reply }), ...(error !== undefined && { error }) };
}

/** What earlier attempts say for the next one. */
export interface RetryHint {
  /** After a failed attempt the other family goes first. */
  readonly preferFamily?: 4 | 6;
  /** How many attempts there were before. */
  readonly earlier?: number;
}

/** What the attempts of the first of these recipients say. */
export function retryHint(entry: QueueEntry, recipients: readonly number[]): RetryHint {
  const { attempts, attemptCount } = entry.recipients[recipients[0] ?? 0] ?? {};
  const address = attempts?.at(-1)?.address;
  return {
    ...(attemptCount && { earlier: attemptCount }),
    ...(address !== undefined && { preferFamily: address.includes(":") ? 4 : 6 }),
  };
}

/**
 * The targets in the order of this attempt: by preference, but where the attempt before ended at its bound and others
 * are left, from behind the last one that it tried.
 */
export function inTurn(
  targets: readonly Target[],
  entry: QueueEntry,
  recipients: readonly number[],
): readonly Target[] {
  const { attempts = [] } = entry.recipients[recipients[0] ?? 0] ?? {};
  if (targets.length <= MAX_TARGETS_TRIED) return targets;
  const { count } = attemptLimits(entry.recipients.length);
  const latest = new Set(attempts.map(({ host, address }) => `${host} ${address}`));
  if (latest.size < count) return targets;
  const last = attempts.at(-1);
  const behind = 1 +
    targets.findIndex(({ host, address }) => host === last?.host && address === last.address);
  return [...targets.slice(behind), ...targets.slice(0, behind)];
}
