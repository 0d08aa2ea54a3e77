/**
 * Limits guessing of passwords: failures delay the reply, then pause logins, by address, by network and by
 * login. No one can lock the owner of a login out: where that login was right lately, only its own failures count.
 *
 * @module
 */
import { createHmac, randomBytes } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { counters } from "../base/counters.ts";
import { type Logger, silentLogger } from "../base/log.ts";
import { addressGroup, addressScope, siteNetworkOf, unmappedAddress } from "../net/ip_address.ts";
import type { LoginOrigin } from "../smtp/authenticator.ts";
import type { PasswordAttempt, PasswordVerdict } from "./credentials.ts";
import { RecentMap } from "./recent_map.ts";
import { Turnstile } from "./turnstile.ts";

/** One attempt to log in. The same wrong password again counts once, where the mechanism shows it. */
export interface LoginAttempt extends PasswordAttempt {
  /** Where the client is. */
  readonly origin: LoginOrigin;
}

/** What the throttle needs. */
export interface LoginThrottleOptions {
  /** Measures delays and pauses. */
  readonly clock: Clock;
  /** Told when a pause begins. */
  readonly logger?: Logger;
  /** Checks at a time of clients that did not log in lately; 2 if absent. */
  readonly atOnce?: number;
  /** The secret under which wrong passwords are compared; tests inject it. */
  readonly key?: Uint8Array;
}

/** What an address, a network, or a login at a place has got wrong. */
interface Failures {
  count: number;
  /** When the last one was, on the monotonic clock. */
  last: number;
  /** No attempt counts or is checked before. */
  pausedUntil: number;
}

interface AddressFailures extends Failures {
  /** The last wrong passwords, as HMACs: a program with an old password tries it forever. */
  readonly tags: string[];
}

interface LoginFailures {
  count: number;
  last: number;
  /** How many of them each network has; the first few count. */
  readonly networks: Map<string, number>;
}

// Times in milliseconds.
const FIRST_DELAY = 500;
const MAX_DELAY = 5_000;
const PUT_OFF_DELAY = 2_000;
const FIRST_PAUSE = 15_000;
const MAX_PAUSE = 15 * 60_000;
/** Failures without a pause: of an address, of a network, of a login where it was right. */
const FREE = { address: 5, network: 20, known: 10 } as const;
/** Without a failure for so long, the former ones are forgotten. */
const FORGET = 60 * 60_000;
/**
 * From this many failures on, a login is under attack; each network adds a few at most, so that one cannot do it alone.
 */
const UNDER_ATTACK = 20;
const COUNTED_OF_A_NETWORK = 3;
const MAX_NETWORKS = 32;
/** Then an address that has failed before may try that login once in so long. */
const ATTACK_PAUSE = 60_000;
/** How long a login stays known where it was right. */
const KNOWN = 7 * 24 * 60 * 60_000;
/** Entries of each table; those of logins are larger. */
const MAX_ENTRIES = 20_000;
const MAX_LOGINS = 5_000;
const MAX_TAGS = 4;
/** Attempts of one address at a time, and how many wait for that. */
const ADDRESS_AT_ONCE = 4;
const ADDRESS_WAITING = 50;
/** Attempts that wait for their check. */
const MAX_WAITING = 100;

const pauses = counters("mailapp_login_pauses_total", {
  help: "Pauses that failed logins led to, by what is paused: an address, a network or a login",
  labels: ["scope"],
});

/** Counts failed logins and holds up those who fail. Its memory is bounded. */
export class LoginThrottle implements Disposable {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #key: Uint8Array;
  readonly #addresses = new RecentMap<AddressFailures>(MAX_ENTRIES);
  readonly #networks = new RecentMap<Failures>(MAX_ENTRIES);
  readonly #logins = new RecentMap<LoginFailures>(MAX_LOGINS);
  /** Where a login was right lately, and what it has got wrong there since. */
  readonly #known = new RecentMap<Failures>(MAX_ENTRIES);
  /** Attempts of each address that are under way. */
  readonly #busy = new Map<string, Turnstile>();
  readonly #checks: Turnstile;
  /** How many attempts of a network wait for their check. */
  readonly #waiting = new Map<string, number>();
  readonly #delays = new Set<() => void>();
  #ended = false;

  /** Starts without failures. */
  constructor({ clock, logger = silentLogger, atOnce = 2, key = randomBytes(32) }: LoginThrottleOptions) {
    this.#clock = clock;
    this.#logger = logger;
    this.#key = key;
    this.#checks = new Turnstile({ atOnce, maxWaiting: MAX_WAITING });
  }

  /** How many entries are held; for tests. */
  get size(): number {
    return this.#addresses.size + this.#networks.size + this.#logins.size + this.#known.size;
  }

  /** Has a password checked when it is its turn; the verdict comes the later the more has failed before. */
  async attempt(
    attempt: LoginAttempt,
    check: () => Promise<PasswordVerdict> | PasswordVerdict,
  ): Promise<PasswordVerdict> {
    const place = placeOf(attempt);
    const known = this.#knownAt(place);
    if (known !== undefined) return await this.#attemptKnown(known, { attempt, place, check });
    // An address has few attempts under way, so that many at once find out no more than one after the other.
    const turns = this.#busy.get(place.address) ??
      new Turnstile({ atOnce: ADDRESS_AT_ONCE, maxWaiting: ADDRESS_WAITING });
    this.#busy.set(place.address, turns);
    using turn = await turns.enter(0);
    try {
      if (turn === undefined) return await this.#putOff(paused("too many logins at once from this address"));
      return await this.#attemptUnknown({ attempt, place, check });
    } finally {
      turn?.[Symbol.dispose]();
      if (turns.idle) this.#busy.delete(place.address);
    }
  }

  /** Ends all waits; from now on there is no delay. */
  [Symbol.dispose](): void {
    this.#ended = true;
    for (const wake of this.#delays) wake();
  }

  async #attemptKnown(known: Failures, { attempt, place, check }: Checked): Promise<PasswordVerdict> {
    const refusal = this.#pauseOf(known, `this login at ${place.address}`);
    if (refusal !== undefined) return await this.#putOff(refusal);
    const verdict = await check();
    if (verdict.kind === "right") this.#learn(place);
    if (verdict.kind !== "wrong") return verdict;
    const repeated = this.#isRepeated(attempt, place);
    if (!repeated) {
      this.#count(known, { free: FREE.known, scope: "login", what: place.address, login: attempt.login });
    }
    await this.#delay(known.count);
    return repeated ? again(verdict) : verdict;
  }

  async #attemptUnknown({ attempt, place, check }: Checked): Promise<PasswordVerdict> {
    const verdict = await this.#checkInTurn({ attempt, place, check });
    if (verdict.kind === "right") this.#learn(place);
    if (verdict.kind === "paused") return await this.#putOff(verdict);
    if (verdict.kind !== "wrong") return verdict;
    const { count, repeated } = this.#fail(attempt, place);
    await this.#delay(count);
    return repeated ? again(verdict) : verdict;
  }

  async #checkInTurn({ attempt, place, check }: Checked): Promise<PasswordVerdict> {
    const refusal = this.#refusal(attempt, place);
    if (refusal !== undefined) return refusal;
    using turn = await this.#enter(place);
    if (turn === undefined) return paused("too many logins wait to be checked");
    return this.#refusal(attempt, place) ?? await check();
  }

  /** Waits for a turn: who has failed least comes first, and networks take turns. */
  async #enter(place: Place): Promise<Disposable | undefined> {
    if (!this.#checks.full) return await this.#checks.enter(0);
    const key = place.network ?? place.address;
    const waiting = this.#waiting.get(key) ?? 0;
    const failures = (this.#addressAt(place)?.count ?? 0) + (this.#networkAt(place)?.count ?? 0);
    this.#waiting.set(key, waiting + 1);
    const turn = await this.#checks.enter(failures + waiting);
    const left = (this.#waiting.get(key) ?? 1) - 1;
    if (left > 0) this.#waiting.set(key, left);
    else this.#waiting.delete(key);
    return turn;
  }

  /** Why this attempt is not looked at, if it is not. */
  #refusal({ login }: LoginAttempt, place: Place): PasswordVerdict | undefined {
    const address = this.#addressAt(place);
    const refusal = this.#pauseOf(address, place.address) ??
      (place.network === undefined ? undefined : this.#pauseOf(this.#networkAt(place), place.network));
    if (refusal !== undefined) return refusal;
    const failures = this.#fresh(this.#logins.get(login));
    if (failures === undefined || failures.count < UNDER_ATTACK || !address?.count) return undefined;
    const left = address.last + ATTACK_PAUSE - this.#clock.monotonic();
    return left > 0 ? paused(`too many failed logins as ${login}`, left) : undefined;
  }

  #pauseOf(failures: Failures | undefined, what: string): PasswordVerdict | undefined {
    const left = (failures?.pausedUntil ?? 0) - this.#clock.monotonic();
    return left > 0 ? paused(`too many failed logins of ${what}`, left) : undefined;
  }

  /** Counts a failure, unless it is the same again; how many the address has. */
  #fail(attempt: LoginAttempt, place: Place): { readonly count: number; readonly repeated: boolean } {
    const address = this.#addressAt(place) ?? { ...this.#none(), tags: [] };
    this.#addresses.set(place.address, address);
    if (this.#isRepeated(attempt, place)) return { count: address.count, repeated: true };
    const { login } = attempt;
    const { network } = place;
    this.#count(address, { free: FREE.address, scope: "address", what: place.address, login });
    if (network !== undefined) {
      const failures = this.#networkAt(place) ?? this.#none();
      this.#networks.set(network, failures);
      this.#count(failures, { free: FREE.network, scope: "network", what: network, login });
    }
    this.#countLogin(login, network ?? place.address);
    return { count: address.count, repeated: false };
  }

  #count(
    failures: Failures,
    { free, scope, what, login }: {
      readonly free: number;
      readonly scope: string;
      readonly what: string;
      readonly login: string;
    },
  ): void {
    const now = this.#clock.monotonic();
    failures.last = now;
    if (++failures.count <= free) return;
    const pause = Math.min(FIRST_PAUSE * 2 ** (failures.count - free - 1), MAX_PAUSE);
    failures.pausedUntil = now + pause;
    pauses.with(scope).add();
    this.#logger.warn("login.paused", {
      scope,
      what,
      login,
      failures: failures.count,
      seconds: Math.round(pause / 1000),
    });
  }

  #countLogin(login: string, network: string): void {
    const failures = this.#fresh(this.#logins.get(login)) ?? { count: 0, last: 0, networks: new Map() };
    this.#logins.set(login, failures);
    failures.last = this.#clock.monotonic();
    const before = failures.networks.get(network) ?? 0;
    if (before >= COUNTED_OF_A_NETWORK) return;
    if (failures.networks.size < MAX_NETWORKS || before > 0) failures.networks.set(network, before + 1);
    if (++failures.count !== UNDER_ATTACK) return;
    pauses.with("login").add();
    this.#logger.warn("login.paused", {
      scope: "login",
      what: login,
      login,
      failures: failures.count,
      seconds: ATTACK_PAUSE / 1000,
    });
  }

  /** Whether it is the same wrong password as before at that address; remembers it. */
  #isRepeated({ login, password }: LoginAttempt, place: Place): boolean {
    if (password === undefined) return false;
    const address = this.#addressAt(place) ?? { ...this.#none(), tags: [] };
    this.#addresses.set(place.address, address);
    const tag = createHmac("sha256", this.#key).update(`${login}\0${password}`).digest("base64");
    if (address.tags.includes(tag)) return true;
    if (address.tags.push(tag) > MAX_TAGS) address.tags.shift();
    return false;
  }

  #learn({ address, login }: Place): void {
    this.#known.set(`${address} ${login}`, this.#none());
  }

  #knownAt({ address, login }: Place): Failures | undefined {
    const key = `${address} ${login}`;
    const known = this.#known.get(key);
    if (known === undefined || this.#clock.monotonic() - known.last <= KNOWN) return known;
    this.#known.delete(key);
    return undefined;
  }

  #addressAt({ address }: Place): AddressFailures | undefined {
    return this.#fresh(this.#addresses.get(address));
  }

  #networkAt({ network }: Place): Failures | undefined {
    return network === undefined ? undefined : this.#fresh(this.#networks.get(network));
  }

  #fresh<T extends { readonly last: number }>(failures: T | undefined): T | undefined {
    return failures !== undefined && this.#clock.monotonic() - failures.last < FORGET ? failures : undefined;
  }

  #none(): Failures {
    return { count: 0, last: this.#clock.monotonic(), pausedUntil: 0 };
  }

  /** What the failure of a number costs in time. */
  async #delay(count: number): Promise<void> {
    await this.#wait(Math.min(FIRST_DELAY * 2 ** Math.max(count - 1, 0), MAX_DELAY));
  }

  /** Who is deferred waits for that, too: else it would try again at once, and again. */
  async #putOff(verdict: PasswordVerdict): Promise<PasswordVerdict> {
    await this.#wait(PUT_OFF_DELAY);
    return verdict;
  }

  async #wait(ms: number): Promise<void> {
    if (this.#ended) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#clock.after(ms, resolve);
    this.#delays.add(resolve);
    await promise;
    this.#delays.delete(resolve);
    timer.cancel();
  }
}

interface Checked {
  readonly attempt: LoginAttempt;
  readonly place: Place;
  readonly check: () => Promise<PasswordVerdict> | PasswordVerdict;
}

/** Where an attempt counts. */
interface Place {
  readonly address: string;
  /** Absent for the machine itself. */
  readonly network?: string;
  readonly login: string;
}

/** On this machine a webmail logs in for everyone: there each login stands for itself. */
function placeOf({ login, origin }: LoginAttempt): Place {
  const plain = unmappedAddress(origin.address);
  if (addressScope(plain) === "loopback") return { address: `${plain} ${login}`, login };
  return { address: addressGroup(plain), network: siteNetworkOf(plain), login };
}

/** For the log, where fail2ban is not to count it either. */
function again(verdict: PasswordVerdict & { readonly kind: "wrong" }): PasswordVerdict {
  return { kind: "wrong", why: `${verdict.why}, the same again` };
}

function paused(reason: string, left?: number): PasswordVerdict {
  const time = left === undefined ? "" : `; paused for ${Math.ceil(left / 1000)} s more`;
  return { kind: "paused", why: `${reason}${time}` };
}
