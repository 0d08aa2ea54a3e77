/**
 * What a failed attempt says of its host.
 *
 * @module
 */
import type { HostFailure, HostSlot } from "./host_table.ts";
import type { Attempt, QueueEntry } from "./queue_entry.ts";

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

/** After a failed attempt the other family goes first. */
export function familyHint(entry: QueueEntry, recipients: readonly number[]): { preferFamily?: 4 | 6 } {
  const address = entry.recipients[recipients[0] ?? 0]?.attempts.at(-1)?.address;
  if (address === undefined) return {};
  return { preferFamily: address.includes(":") ? 4 : 6 };
}
