/**
 * Messages of the queue as `queue` and `trace` show them.
 *
 * @module
 */
import { join } from "@std/path";
import { systemClock } from "../../base/clock.ts";
import type { QueueView } from "../../relay/operator.ts";
import { type Attempt, isOpen, type QueueRecipient, type TlsDemand } from "../../relay/queue_entry.ts";
import { type QueueFilter, selects } from "../../relay/queue_filter.ts";
import { explainReply } from "../../relay/reply_causes.ts";
import { isUndeliverable } from "../../relay/undeliverable.ts";
import { foreignInside } from "../../storage/owners.ts";
import { moment } from "./json.ts";
import { count, printable, showDuration, showSize, showTime } from "./terminal.ts";

/** A message as `--json` prints it. */
export function jsonOf({ entry, age, inFlight, host }: QueueView): unknown {
  const { acceptedAt, size, recipients, ...rest } = entry;
  return {
    ...rest,
    acceptedAt: moment(acceptedAt),
    ageMs: Math.round(age),
    octets: size,
    ...(host !== undefined && { host }),
    recipients: recipients.map(({ nextAttemptAt, attempts, ...recipient }, index) => ({
      ...recipient,
      inFlight: inFlight.includes(index),
      ...(recipient.status === "pending" && nextAttemptAt > 0 && { nextAttemptAt: moment(nextAttemptAt) }),
      attempts: attempts.map(({ at, ...attempt }) => ({ at: moment(at), ...attempt })),
    })),
  };
}

/** A message in a few lines. */
export function summaryOf(view: QueueView, filter: QueueFilter): string {
  const lines = view.entry.recipients.flatMap((recipient, index) => {
    if (!isOpen(recipient) || !selects(filter, recipient)) return [];
    const last = recipient.attempts.at(-1);
    return [
      `  ${printable(recipient.address)}: ${state(recipient, view.inFlight.includes(index))}\n`,
      ...(last === undefined ? [] : [`    ${attemptLine(last)}\n`]),
    ];
  });
  const elsewhere = view.entry.recipients.filter((one) => isOpen(one) && !selects(filter, one)).length;
  if (elsewhere > 0) lines.push(`  (${count(elsewhere, "recipient")} in other domains)\n`);
  const done = view.entry.recipients.filter((recipient) => !isOpen(recipient)).length;
  if (done > 0) lines.push(`  (${count(done, "recipient")} done)\n`);
  return head(view) + lines.join("");
}

/** A message with all that is known of it. */
export function detailsOf(view: QueueView): string {
  const { acceptedAt, recipients, dsn, smtputf8 } = view.entry;
  const lines = [head(view), `  accepted ${showTime(acceptedAt)}\n`];
  if (dsn?.envelopeId !== undefined) lines.push(`  envelope id ${printable(dsn.envelopeId)}\n`);
  if (smtputf8) lines.push("  asked for SMTPUTF8\n");
  for (const [index, recipient] of recipients.entries()) {
    lines.push(`  ${printable(recipient.address)}: ${state(recipient, view.inFlight.includes(index))}\n`);
    for (const attempt of recipient.attempts) {
      lines.push(`    ${showTime(attempt.at)}  ${attemptLine(attempt)}\n`);
    }
    const cause = isOpen(recipient) || recipient.status === "failed"
      ? causeOf(recipient.attempts.at(-1))
      : undefined;
    if (cause !== undefined) lines.push(`    ${cause}\n`);
  }
  return lines.join("");
}

function head({ entry, age, host }: QueueView): string {
  const { id, size, reversePath } = entry;
  return `${id}  ${showDuration(age)}  ${showSize(size)}  from ${
    reversePath === "" ? "<>" : printable(reversePath)
  }${host === undefined ? "" : `  on ${printable(host)}`}\n`;
}

function causeOf(attempt: Attempt | undefined): string | undefined {
  const cause = attempt && explainReply(attempt);
  if (cause === undefined) return undefined;
  return cause.operator === undefined ? cause.meaning : `${cause.meaning} ${cause.operator}`;
}

function state(recipient: QueueRecipient, inFlight: boolean): string {
  const { status, nextAttemptAt, attemptCount, attempts } = recipient;
  const tries = attemptCount === 0 ? "" : `, ${attemptCount} ${attemptCount === 1 ? "try" : "tries"}`;
  if (inFlight) return `being sent${tries}`;
  const doubt = attempts.at(-1)?.dotSentNoReply ? ", dot sent, no reply: it may have arrived" : "";
  if (status !== "pending") {
    const why = isUndeliverable(recipient) ? " (failed; there is no sender to notify)" : "";
    return `${status}${why}${tries}${doubt}`;
  }
  const wait = nextAttemptAt - systemClock.now();
  return `${wait <= 0 ? "due" : `next try in ${showDuration(wait)}`}${tries}${doubt}`;
}

const DEMANDS: Readonly<Record<TlsDemand, string>> = {
  configuration: "required by the configuration",
  dane: "required by DANE",
  "mta-sts": "required by MTA-STS",
  "mta-sts-testing": "MTA-STS in testing",
};

function attemptLine({ host, address, tls, policy, reply, error, dotSentNoReply }: Attempt): string {
  const where = address === undefined || address === host ? host : `${host} [${address}]`;
  const how = [
    ...(tls === undefined ? [] : [tls === "none" ? "no TLS" : `TLS ${tls}`]),
    ...(policy === undefined ? [] : [DEMANDS[policy]]),
  ].join(", ");
  const doubt = dotSentNoReply ? " (dot sent, no reply)" : "";
  const words = [reply?.replaceAll("\n", " / "), error].filter((text) => text !== undefined).join(" – ");
  return `${printable(where)}${how === "" ? "" : ` (${how})`}: ${printable(words)}${doubt}`;
}

/** A line about files of the queue that the account of serve-out may be unable to read; `""` where there are none. */
export function foreignText(dataDir: string): string {
  const foreign = foreignInside(join(dataDir, "spool"));
  if (foreign === undefined) return "";
  const { count: files, example: { path } } = foreign;
  return `${path}${
    files === 1 ? "" : ` and ${files - 1} more`
  }: of another account, so that it may be missing here; ` +
    "mailapp doctor has the remedy\n";
}
