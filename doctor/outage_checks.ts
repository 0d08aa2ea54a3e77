/**
 * What each server watches only if alerts are configured: the other server is down, nothing leaves the queue, no
 * mail comes in.
 *
 * @module
 */
import { errorText } from "../base/error_text.ts";
import { CHECK_INTERVAL, type ProblemCheck } from "./problem_watch.ts";

/**
 * A server that does not answer at two checks in a row.
 * @param probe connects and waits for the greeting; rejects if there is none
 */
export function serverCheck(name: string, probe: () => Promise<void>): ProblemCheck {
  let failedBefore = false;
  return async () => {
    let reason: string | undefined;
    try {
      await probe();
    } catch (error) {
      reason = errorText(error);
    }
    const twice = reason !== undefined && failedBefore;
    failedBefore = reason !== undefined;
    return twice
      ? [{
        kind: "server",
        about: name,
        what: `${name} does not answer: ${reason}`,
        next: `systemctl status the unit of ${name}; its log says why it ended.`,
      }]
      : [];
  };
}

const HOUR = 3_600_000;
const CHECKS_AN_HOUR = HOUR / CHECK_INTERVAL;
/** Attempts within an hour from which on it is significant that none succeeds. */
const MANY_ATTEMPTS = 20;

/**
 * A stuck queue: for an hour no attempt has succeeded, and many have failed.
 * @param counts all attempts since the start
 */
export function stuckQueueCheck(
  counts: () => { readonly relayed: number; readonly deferred: number },
): ProblemCheck {
  const before: { readonly relayed: number; readonly deferred: number }[] = [];
  return () => {
    const now = counts();
    before.push(now);
    if (before.length <= CHECKS_AN_HOUR) return [];
    const then = before.shift() ?? now;
    const deferred = now.deferred - then.deferred;
    if (now.relayed > then.relayed || deferred < MANY_ATTEMPTS) return [];
    return [{
      kind: "stuck",
      what: `within the last hour ${deferred} attempts to send have failed, and none has succeeded`,
      next: "mailapp queue list --group reason shows why; mailapp doctor tests the way out.",
    }];
  };
}

/** Shortest observation of incoming mail before silence is significant. */
const LEAST_KNOWN = 24 * HOUR;
const LEAST_MESSAGES = 20;
const LEAST_SILENCE = 6 * HOUR;
/** A silence is unusual if it is this many times as long as the longest one of the last week. */
const UNUSUAL = 3;
const CHECKS_A_WEEK = 7 * 24 * CHECKS_AN_HOUR;

/**
 * No mail for a time that is unusual for this server.
 * @param count all messages that were taken since the start
 */
export function silenceCheck(count: () => number): ProblemCheck {
  let last: number | undefined;
  let known = 0;
  let silent = 0;
  /** Lengths of past silences, in checks, with the check at which they ended. */
  let silences: { readonly length: number; readonly endedAt: number }[] = [];
  return () => {
    const now = count();
    if (last !== undefined) {
      known++;
      if (now > last) {
        silences.push({ length: silent, endedAt: known });
        silent = 0;
      } else silent++;
    }
    last = now;
    silences = silences.filter(({ endedAt }) => endedAt > known - CHECKS_A_WEEK);
    const longest = Math.max(1, ...silences.map(({ length }) => length));
    const isKnown = (known - silent) * CHECK_INTERVAL >= LEAST_KNOWN && now >= LEAST_MESSAGES;
    if (!isKnown || silent * CHECK_INTERVAL < LEAST_SILENCE || silent < UNUSUAL * longest) return [];
    return [{
      kind: "silence",
      what: `no mail has come in for ${Math.floor(silent * CHECK_INTERVAL / HOUR)} hours, ` +
        `when there was never such a pause of more than ${
          Math.ceil(longest * CHECK_INTERVAL / HOUR)
        } hours within a week`,
      next: "mailapp doctor checks MX, addresses and port 25.",
    }];
  };
}
