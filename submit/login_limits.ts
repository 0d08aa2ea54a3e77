/**
 * How much each login may send within an hour and a day: what a stolen password can do before anyone notices.
 *
 * @module
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { type Reply, reply, SmtpError } from "../smtp/reply.ts";
import { LoginHistory } from "./login_history.ts";
import { countRefusal } from "./refusal_counter.ts";
import type { SenderAddress } from "./senders.ts";
import type { SlidingCount } from "./sliding_count.ts";

/** The limits; `Infinity` for none. */
export interface SendingLimits {
  readonly messagesAnHour: number;
  readonly messagesADay: number;
  readonly recipientsAnHour: number;
  readonly recipientsADay: number;
  /** Recipients that the login has not sent to before, as far as that is remembered. */
  readonly newRecipientsADay: number;
}

/** What they depend on. */
export interface LoginLimitsOptions {
  readonly limits: SendingLimits;
  readonly clock: Clock;
  /** Takes `login.limited`. */
  readonly logger: Logger;
  /** As {@linkcode LoginLimits.toJSON} gave it; what is not of that form is left out. */
  readonly remembered?: unknown;
}

/** A login that has reached a limit. */
export interface LimitedLogin {
  readonly login: string;
  /** The limit's key in the configuration. */
  readonly key: string;
  readonly limit: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

const HOUR = 3_600_000;
/** Logins that are remembered; of more, those that have been silent longest are forgotten. */
const MAX_LOGINS = 10_000;
/** Recipients that all logins together are known to have sent to. */
const MAX_KNOWN = 200_000;
/** Messages between two counts of these. */
const COUNT_EVERY = 1_000;
/** Transactions of one login at a time. */
const MAX_AT_ONCE = 20;
/** Of those that have reached a limit. */
const MAX_LIMITED = 100;

/** One limit, as it is checked. */
interface Rule {
  readonly key: string;
  readonly what: string;
  readonly limit: number;
  readonly count: SlidingCount;
}

/** Counts what logins send. */
export class LoginLimits {
  limits: SendingLimits;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Those that have been silent longest first. */
  readonly #logins = new Map<string, LoginHistory>();
  readonly #limited = new Map<string, LimitedLogin>();
  /** Grows with each change. */
  #version = 0;

  /** Goes on from what is remembered. */
  constructor({ limits, clock, logger, remembered }: LoginLimitsOptions) {
    this.limits = limits;
    this.#clock = clock;
    this.#logger = logger;
    if (typeof remembered !== "object" || remembered === null) return;
    for (const [login, history] of Object.entries(remembered).slice(0, MAX_LOGINS)) {
      this.#logins.set(login, new LoginHistory(history));
    }
  }

  /** Another number after each change. */
  get version(): number {
    return this.#version;
  }

  /** Those that have reached a limit within the last hour. */
  get limited(): readonly LimitedLogin[] {
    const now = this.#clock.now();
    for (const [key, { at }] of this.#limited) if (Math.abs(now - at) > HOUR) this.#limited.delete(key);
    return [...this.#limited.values()];
  }

  /**
   * A login begins a message, which is counted once it is taken.
   * @throws {SmtpError} 450 4.7.1 where it may send no more now
   */
  begin(login: string): LoginUse {
    const history = this.#historyOf(login);
    const { messagesAnHour, messagesADay } = this.limits;
    const refusal = this.#refusal(login, history.pendingMessages + 1, [
      {
        key: "messages_an_hour",
        what: "messages an hour",
        limit: messagesAnHour,
        count: history.messagesHour,
      },
      { key: "messages_a_day", what: "messages a day", limit: messagesADay, count: history.messagesDay },
    ]);
    if (refusal !== undefined) throw new SmtpError(refusal);
    if (history.pendingMessages >= MAX_AT_ONCE) {
      countRefusal("busy");
      throw new SmtpError(
        reply(450, "4.7.1", `${login} has ${MAX_AT_ONCE} messages under way; try again when they are over`),
      );
    }
    history.pendingMessages++;
    return new LoginUse(history, {
      now: () => this.#clock.now(),
      counted: () => {
        this.#version++;
        this.#boundKnown();
      },
      refusal: (isNew) => this.#recipientRefusal(login, { history, isNew }),
    });
  }

  /** What is to be remembered over a restart: those who have sent within a day, or have known recipients. */
  toJSON(): unknown {
    const now = this.#clock.now();
    return Object.fromEntries([...this.#logins].filter(([, history]) => !history.isEmpty(now)));
  }

  #historyOf(login: string): LoginHistory {
    const history = this.#logins.get(login) ?? new LoginHistory();
    this.#logins.delete(login);
    this.#logins.set(login, history);
    if (this.#logins.size > MAX_LOGINS) {
      const [silent] = this.#logins.keys();
      if (silent !== undefined) this.#logins.delete(silent);
    }
    return history;
  }

  /** Forgets the recipients of the logins that have been idle longest when there are too many in all. */
  #boundKnown(): void {
    if (this.#version % COUNT_EVERY !== 0) return;
    let known = 0;
    for (const history of this.#logins.values()) known += history.knownCount;
    for (const history of this.#logins.values()) {
      if (known <= MAX_KNOWN) break;
      known -= history.knownCount;
      history.forgetKnown();
    }
  }

  #recipientRefusal(
    login: string,
    { history, isNew }: { readonly history: LoginHistory; readonly isNew: boolean },
  ): Reply | undefined {
    const { recipientsAnHour, recipientsADay, newRecipientsADay } = this.limits;
    const all = [
      {
        key: "recipients_an_hour",
        what: "recipients an hour",
        limit: recipientsAnHour,
        count: history.recipientsHour,
      },
      {
        key: "recipients_a_day",
        what: "recipients a day",
        limit: recipientsADay,
        count: history.recipientsDay,
      },
    ];
    const refusal = this.#refusal(login, history.pendingRecipients + 1, all);
    if (refusal !== undefined || !isNew) return refusal;
    return this.#refusal(login, history.pendingNew + 1, [{
      key: "new_recipients_a_day",
      what: "recipients a day that it has not written to before",
      limit: newRecipientsADay,
      count: history.newRecipientsDay,
    }]);
  }

  /** Why this many more, which are not counted yet, are too many. */
  #refusal(login: string, more: number, rules: readonly Rule[]): Reply | undefined {
    const now = this.#clock.now();
    for (const { key, what, limit, count } of rules) {
      if (limit === Infinity || count.total(now) + more <= limit) continue;
      this.#note({ login, key, limit, at: now });
      countRefusal(key);
      const until = count.below(now, limit - more);
      return reply(450, "4.7.1", `${login} may send ${limit} ${what}; ${whenAllowed(until, now)}`);
    }
    return undefined;
  }

  #note(limited: LimitedLogin): void {
    const { login, key, limit } = limited;
    const name = `${key} ${login}`;
    const isNew = !this.#limited.has(name);
    if (isNew && this.#limited.size >= MAX_LIMITED) return;
    this.#limited.set(name, limited);
    if (isNew) this.#logger.warn("login.limited", { login, limit: key, value: limit });
  }
}

function whenAllowed(until: number, now: number): string {
  // Only what is in flight counts.
  if (until <= now) return "try again when what is under way is over";
  const minutes = Math.ceil((until - now) / 60_000);
  return `it goes on in ${minutes} min, at ${new Date(until).toISOString().slice(11, 16)} UTC`;
}

interface LoginUseParts {
  readonly now: () => number;
  readonly counted: () => void;
  readonly refusal: (isNew: boolean) => Reply | undefined;
}

/** One message of a login, from MAIL on. Disposed before it is taken, it counts nothing. */
export class LoginUse implements Disposable {
  readonly #history: LoginHistory;
  readonly #parts: LoginUseParts;
  readonly #recipients: string[] = [];
  readonly #new = new Set<string>();
  /** The recipient that was asked about last, who is the one that is accepted next. */
  #latest: { readonly recipient: SenderAddress; readonly key: string } | undefined;
  #over = false;

  /** Starts without recipients. */
  constructor(history: LoginHistory, parts: LoginUseParts) {
    this.#history = history;
    this.#parts = parts;
  }

  /** The reply to a recipient that is too many; `undefined` where it is not. */
  refuses(recipient: SenderAddress): Reply | undefined {
    return this.#parts.refusal(this.#isNew(this.#keyOf(recipient)));
  }

  /** The recipient was accepted. */
  add(recipient: SenderAddress): void {
    const key = this.#keyOf(recipient);
    const isNew = this.#isNew(key);
    this.#recipients.push(key);
    this.#history.pendingRecipients++;
    if (!isNew) return;
    this.#new.add(key);
    this.#history.pendingNew++;
  }

  /** The message was accepted, for all its recipients. */
  taken(): void {
    if (this.#over) return;
    this[Symbol.dispose]();
    this.#history.count(this.#parts.now(), { recipients: this.#recipients, fresh: this.#new.size });
    this.#parts.counted();
  }

  /** Gives back what was not counted. */
  [Symbol.dispose](): void {
    if (this.#over) return;
    this.#over = true;
    this.#history.pendingMessages--;
    this.#history.pendingRecipients -= this.#recipients.length;
    this.#history.pendingNew -= this.#new.size;
  }

  #keyOf(recipient: SenderAddress): string {
    if (this.#latest?.recipient !== recipient) {
      this.#latest = { recipient, key: LoginHistory.keyOf(recipient) };
    }
    return this.#latest.key;
  }

  #isNew(key: string): boolean {
    return !this.#history.knows(key) && !this.#new.has(key);
  }
}
