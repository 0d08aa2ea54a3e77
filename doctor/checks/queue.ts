/**
 * Whether mail leaves.
 *
 * @module
 */
import { errorText } from "../../base/error_text.ts";
import { failure, type Finding, ok, untested, warning } from "../finding.ts";
import type { Setup } from "../setup.ts";
import type { Problem } from "../problem_watch.ts";

/** A queued message. */
export interface WaitingMessage {
  /** Milliseconds since it was accepted. */
  readonly age: number;
  /** Whether it is held, and has no sender to notify. */
  readonly held?: true;
  /** The last reply or error. */
  readonly reason?: string;
  /** What to do about it, if known. */
  readonly advice?: string;
}

const MAX_REFUSALS = 10;

/** Of a serve-out that was not reloaded, or could not take over all of a new configuration. */
export const OUTDATED = {
  what: "it still uses an earlier configuration than the file",
  next:
    "systemctl reload mailapp-out; where its log has config.needs_restart, systemctl restart mailapp-out.",
};

/** The state of serve-out. */
export interface QueueState {
  /** Whether serve-out runs. */
  readonly running: boolean;
  /** Whether it uses other settings than those of the file; absent: that is not known. */
  readonly outdated?: boolean;
  /** The queued messages that are not held. */
  readonly messages: AsyncIterable<WaitingMessage>;
  /** The age from which a message is late, in milliseconds. */
  readonly lateAfter: number;
  /** What it answers if it accepts no mail now. */
  readonly refusal?: string;
  /** The problems that serve-out last found. */
  readonly problems: readonly Problem[];
}

/** Asks serve-out for its queue, and checks it. */
export async function checkServeOut({ queue }: Pick<Setup, "queue">): Promise<Finding[]> {
  try {
    const state = await queue();
    if ("forbidden" in state) return [untested("queue", "serve-out", { what: state.forbidden })];
    return await checkQueue(state);
  } catch (error) {
    return [failure("queue.silent", "serve-out", {
      what: errorText(error),
      next: "See the log of serve-out.",
    })];
  }
}

/** Checks the queue's growth, its oldest message, and refusals whose cause lies here. */
export async function checkQueue(
  { running, messages, lateAfter, problems, refusal, outdated }: QueueState,
): Promise<Finding[]> {
  if (!running) {
    return [warning("queue.stopped", "serve-out", {
      what: "serve-out is not running: programs on this machine cannot send mail",
      next: "systemctl start mailapp-out; its log says why if it stops again.",
    })];
  }
  const refusals = new Map<string, string>();
  let count = 0;
  let held = 0;
  let oldest: WaitingMessage | undefined;
  for await (const message of messages) {
    if (message.held) {
      held++;
      continue;
    }
    count++;
    const { reason, advice } = message;
    if (reason !== undefined && advice !== undefined && refusals.size < MAX_REFUSALS) {
      refusals.set(advice, reason);
    }
    if (oldest === undefined || message.age > oldest.age) oldest = message;
  }
  const findings = Array.from(
    refusals,
    ([next, reason]) =>
      warning("queue.refused", "serve-out", { what: `another server defers our mail: ${reason}`, next }),
  );
  if (refusal !== undefined) {
    findings.push(failure("queue.defers", "serve-out", {
      what: `it accepts no mail now: ${refusal}`,
      next: "Its log says why, as a rule at level error: journalctl -u mailapp-out -p err.",
    }));
  }
  if (outdated) findings.push(warning("queue.outdated", "serve-out", OUTDATED));
  const { age = 0 } = oldest ?? {};
  if (oldest !== undefined && age > lateAfter) {
    findings.push(warning("queue.late", "serve-out", {
      what: `${messagesWait(count)}, the oldest since ${Math.floor(age / 3_600_000)} h` +
        (oldest.reason === undefined ? "" : `: ${oldest.reason}`),
      next: "mailapp queue list shows what each waits for.",
    }));
  }
  if (held > 0) {
    findings.push(warning("queue.held", "serve-out", {
      what: `${held} ${
        held === 1 ? "message" : "messages"
      } without a sender could not be delivered, and there is no one to notify`,
      next: "mailapp queue list --sender '<>' shows them; then release, bounce or remove them.",
    }));
  }
  // Permanently refused mail is no longer queued, and growth does not show in a single look at the queue.
  for (const { kind, what, next } of problems) {
    if (kind === "dropped") findings.push(warning("queue.dropped", "serve-out", { what, next }));
    if (kind === "queue") findings.push(warning("queue.growing", "serve-out", { what, next }));
    if (kind === "reply" && !refusals.has(next)) {
      findings.push(warning("queue.refused", "serve-out", { what, next }));
    }
  }
  return findings.length > 0 ? findings : [ok("queue", "serve-out", messagesWait(count))];
}

function messagesWait(count: number): string {
  return count === 0 ? "nothing waits" : count === 1 ? "1 message waits" : `${count} messages wait`;
}
