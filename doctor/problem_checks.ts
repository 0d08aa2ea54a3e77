/**
 * What a running server watches, each as a {@linkcode ProblemCheck}.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { Resolver } from "../dns/resolver.ts";
import { expiry } from "./checks/certificate.ts";
import { checkSpace, type StoragePlace } from "./checks/storage.ts";
import { CHECK_INTERVAL, type Problem, type ProblemCheck } from "./problem_watch.ts";

/** A certificate that should have been renewed by now. */
export function certificateCheck(
  current: () => X509Certificate,
  { selfSigned, now }: { readonly selfSigned: boolean; readonly now: () => number },
): ProblemCheck {
  return () => {
    const leaf = current();
    const words = expiry(leaf, { selfSigned, now: now() });
    return words === undefined ? [] : [{ kind: "certificate", ...words }];
  };
}

/** A disk with less than twice the space that must stay free: early, as no mail can be sent once it is full. */
export function spaceCheck(places: () => readonly StoragePlace[]): ProblemCheck {
  return async () => {
    const findings = await Promise.all(places().map(checkSpace));
    return findings.flatMap((finding): Problem[] =>
      finding?.next === undefined ? [] : [{
        kind: "disk",
        about: finding.subject,
        what: `${finding.subject}: ${finding.what}`,
        next: finding.next,
      }]
    );
  };
}

/** Logins that have reached a sending limit: a stolen password, or a limit that is too low. */
export function sendingLimitCheck(
  limited: () => readonly { readonly login: string; readonly key: string; readonly limit: number }[],
): ProblemCheck {
  return () =>
    limited().map(({ login, key, limit }) => ({
      kind: "sending",
      about: login,
      what: `${login} has reached its sending limit ([serve-submit] ${key} = ${limit}), and is deferred`,
      next: `Ask its owner. If it was someone else: mailapp account disable ${login}, then a new password. ` +
        `Otherwise: a higher ${key}.`,
    }));
}

/**
 * Logins that could not be checked since the last check, when none was accepted: the accounts, or Dovecot, cannot be
 * asked.
 * @param counts all logins since the start
 */
export function uncheckedLoginsCheck(
  counts: () => { readonly accepted: number; readonly unavailable: number },
): ProblemCheck {
  let before = { accepted: 0, unavailable: 0 };
  return () => {
    const now = counts();
    const failed = now.unavailable - before.unavailable;
    const none = now.accepted === before.accepted;
    before = now;
    return failed === 0 || !none ? [] : [{
      kind: "logins",
      what: `${
        failed === 1 ? "1 login" : `${failed} logins`
      } could not be checked, so users could not log in`,
      next: "The log (login.unavailable) says why: the file of accounts, or Dovecot's socket.",
    }];
  };
}

/** A shorter queue is not a problem. */
const LARGE_QUEUE = 100;
/** The number of checks in an hour. */
const WINDOW = Math.round(3_600_000 / CHECK_INTERVAL);

/**
 * A queue that has doubled within an hour, and is large; a problem until it has halved.
 * @param size the number of queued messages; `undefined` while it is not yet known
 */
export function queueCheck(size: () => number | undefined): ProblemCheck {
  const sizes: number[] = [];
  let alarmAt: number | undefined;
  return () => {
    const now = size();
    if (now === undefined) return [];
    const before = sizes.length === WINDOW ? sizes.shift() : undefined;
    sizes.push(now);
    if (before !== undefined && now >= LARGE_QUEUE && now >= 2 * before) {
      alarmAt = Math.max(alarmAt ?? 0, now);
    }
    if (alarmAt !== undefined && now < alarmAt / 2) alarmAt = undefined;
    return alarmAt === undefined ? [] : [{
      kind: "queue",
      what: `${now} messages wait to be sent, and the queue has grown to twice its size within an hour`,
      next: "mailapp queue list shows what they wait for, and whether one program sends them all.",
    }];
  };
}

/** Failed messages without a sender, and those dropped because too many were held or for too long. */
export function undeliverableCheck(
  status: () => { readonly held: number; readonly recentlyHeld: number; readonly recentlyDropped: number },
): ProblemCheck {
  return () => {
    const { held, recentlyHeld, recentlyDropped } = status();
    const problems: Problem[] = [];
    if (recentlyHeld > 0 && held > 0) {
      problems.push({
        kind: "held",
        what:
          `${
            messages(recentlyHeld)
          } without a sender could not be delivered within the last day, and there is no one ` +
          `to notify; ${held} in all ${held === 1 ? "is" : "are"} held`,
        next: "mailapp queue list --sender '<>' shows them; then release, bounce or remove them.",
      });
    }
    if (recentlyDropped > 0) {
      problems.push({
        kind: "dropped",
        what: `${messages(recentlyDropped)} without a sender that could not be delivered ` +
          `${
            recentlyDropped === 1 ? "was" : "were"
          } dropped within the last day, as too many were held or too long`,
        next:
          "The log (dsn.dropped) names them. Find out what sends them; [serve-out] max_undeliverable and " +
          "keep_undeliverable say how many are held, and how long.",
      });
    }
    return problems;
  };
}

function messages(count: number): string {
  return count === 1 ? "1 message" : `${count} messages`;
}

/**
 * DNS that answers no query for our own names, at two checks in a row.
 * @param about the names, and the DNS servers; there may be none
 * @param consequence the consequence, a sentence
 */
export function dnsCheck(
  about: () => { readonly names: readonly string[]; readonly resolver: Resolver | undefined },
  consequence = "mail cannot be sent",
): ProblemCheck {
  let failedBefore = false;
  return async () => {
    const { names, resolver } = about();
    if (resolver === undefined) return [];
    const answers = await Promise.all(names.map((name) => resolver.mx(name)));
    const reasons = answers.flatMap((answer) => answer.kind === "failed" ? [answer.reason] : []);
    const failed = reasons.length === names.length && reasons.length > 0;
    const twice = failed && failedBefore;
    failedBefore = failed;
    return twice
      ? [{
        kind: "dns",
        what: `DNS gives no answer about ${names.join(", ")}: ${reasons[0]}; ${consequence}`,
        next: "Check this machine's network and its DNS servers (/etc/resolv.conf, or [dns] servers).",
      }]
      : [];
  };
}

/** What is known of the cause of a refusal. */
export interface KnownCause {
  /** A sentence. */
  readonly meaning: string;
  /** What the operator can do. */
  readonly operator: string;
}

/** A refusal by another server. */
export interface Refusal {
  /** Enhanced status code. */
  readonly status: string;
  /** What the other server said. */
  readonly reply: string;
}

/** How long a refusal counts, in milliseconds. */
const RECENT = 3_600_000;
const MAX_CAUSES = 50;

/** Refusals by other servers whose cause lies here. */
export class RefusalWatch {
  readonly #explain: (refusal: Refusal) => KnownCause | undefined;
  readonly #now: () => number;
  readonly #seen = new Map<string, { at: number; problem: Problem }>();

  /** Starts empty. `now` is monotonic, in milliseconds. */
  constructor(
    options: { readonly explain: (refusal: Refusal) => KnownCause | undefined; readonly now: () => number },
  ) {
    this.#explain = options.explain;
    this.#now = options.now;
  }

  /** Notes a refusal, if its cause lies here. */
  note({ host, status, reply }: Refusal & { readonly host: string }): void {
    const cause = this.#explain({ status, reply });
    if (cause === undefined) return;
    const { meaning, operator } = cause;
    if (this.#seen.size >= MAX_CAUSES && !this.#seen.has(meaning)) return;
    const what = `${host} said: ${reply.slice(0, 500)}. ${meaning.replace(/\.$/, "")}`;
    this.#seen.set(meaning, {
      at: this.#now(),
      problem: { kind: "reply", about: meaning, what, next: operator },
    });
  }

  /** Those of the last hour. */
  readonly check: ProblemCheck = () => {
    for (const [about, { at }] of this.#seen) if (this.#now() - at > RECENT) this.#seen.delete(about);
    return Array.from(this.#seen.values(), ({ problem }) => problem);
  };
}
