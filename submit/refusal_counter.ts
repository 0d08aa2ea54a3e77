/**
 * Counts what serve-submit refuses to people who have logged in.
 *
 * @module
 */
import { counters } from "../base/counters.ts";

const refusals = counters("mailapp_submission_refusals_total", {
  help: "Refused senders, authors, recipients and messages of clients that had logged in, by reason",
  labels: ["reason"],
});

/** Counts a refusal: `sender`, `author`, `busy`, or the key of the limit in `[serve-submit]`. */
export function countRefusal(reason: string): void {
  refusals.with(reason).add();
}
