/**
 * One message to many recipients: as many transactions as the server needs (RFC 5321 §4.5.3.1.10).
 *
 * @module
 */
import type { RecipientResult } from "./send_result.ts";

/** What every server must take in one transaction (RFC 5321 §4.5.3.1.8). */
export const RECIPIENTS_EVERYWHERE = 100;

/** How a message is sent to recipients that are known by their numbers. */
export interface TransactionsOptions {
  /** The most recipients of one transaction, at least one. */
  readonly limit: number;
  /** Whether the connection takes a recipient, beside those of before; called when there is room. Default: all. */
  readonly takes?: (recipient: number) => boolean;
  /** Whether another transaction can follow on the connection. */
  readonly usable: () => boolean;
  /** Makes one transaction; one result for each recipient, in their order. */
  readonly transact: (recipients: readonly number[]) => Promise<readonly RecipientResult[]>;
  /**
   * Called once for each recipient that had its turn, after the transaction. `tooMany`: the server has enough for
   * this one, and took no message; by its code of RFC 821 that looks final, and is not.
   */
  readonly settled: (
    recipient: number,
    end: { readonly result: RecipientResult; readonly tooMany: boolean },
  ) => void;
}

/**
 * Sends in transactions of at most `limit` recipients, and again to those that a server has deferred since it had
 * enough of them. Each transaction settles at least one recipient.
 * @returns those that had no turn, since the connection ended or does not take them
 */
export async function inTransactions(
  recipients: readonly number[],
  { limit, takes, usable, transact, settled }: TransactionsOptions,
): Promise<readonly number[]> {
  const waiting = [...recipients];
  while (waiting.length > 0 && usable()) {
    const batch = takes === undefined ? waiting.splice(0, limit) : takeSome(waiting, { limit, takes });
    if (batch.length === 0) break;
    const results = await transact(batch);
    const progress = results.some((result) => result.kind === "relayed");
    const othersTaken = results.some(isTaken);
    for (const [index, recipient] of batch.entries()) {
      const result = results[index];
      if (result === undefined) continue;
      const tooMany = othersTaken && isTooMany(result);
      if (tooMany && progress) waiting.push(recipient);
      else settled(recipient, { result, tooMany });
    }
  }
  return waiting;
}

/** Removes and returns those that fit. */
function takeSome(
  waiting: number[],
  { limit, takes }: { readonly limit: number; readonly takes: (recipient: number) => boolean },
): number[] {
  const taken: number[] = [];
  const left = waiting.filter((recipient) => {
    const fits = taken.length < limit && takes(recipient);
    if (fits) taken.push(recipient);
    return !fits;
  });
  waiting.splice(0, Infinity, ...left);
  return taken;
}

/** The server took this recipient, whatever it said to the message. */
function isTaken(result: RecipientResult): boolean {
  return result.kind === "relayed" || result.stage === "data" || result.stage === "dot";
}

/** "Too many recipients", by its proper code or the one of RFC 821. */
function isTooMany(result: RecipientResult): boolean {
  if (result.kind !== "refused" || result.stage !== "rcpt") return false;
  const { code, enhanced } = result.reply;
  return enhanced === undefined ? code === 452 || code === 552 : enhanced.endsWith(".5.3");
}
