/**
 * Decides who may see the page: the name it is asked by, the origin of forms, tokens and sessions.
 *
 * Whoever can connect is hostile: other accounts of the machine reach loopback, and any web page in the operator's
 * browser can send requests there, by the address or by a name of its own that it has rebound to it.
 *
 * @module
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { addressGroup, addressScope } from "../../net/ip_address.ts";
import type { Token } from "./tokens.ts";

/** What a {@linkcode Guard} needs. */
export interface GuardOptions {
  /** Who is let in. */
  readonly tokens: readonly Token[];
  /** By which browsers that have been logged in are known, also after a restart. */
  readonly browserKey: string;
  /** Names besides those of loopback, in lower case, without a port. */
  readonly hosts: readonly string[];
  /** Tells the time. */
  readonly clock: Clock;
}

/** Someone who is logged in. */
export interface Visitor {
  /** The name of the token, for the log. */
  readonly who: string;
  /** What each form must bear. */
  readonly formToken: string;
}

/** The fields of a request that matter here. */
export interface RequestFields {
  header(name: string): string | undefined;
  /** The IP address that it comes from. */
  readonly peer: string;
}

const COOKIE = "mailapp_dashboard";
/** How long a session lasts, in milliseconds. */
const SESSION = 12 * 3_600_000;
const MAX_SESSIONS = 100;
/** Shows that someone has logged in from this browser; it lets nobody in. */
const BROWSER_COOKIE = "mailapp_dashboard_browser";
/** How long a browser is known, in milliseconds. */
const BROWSER = 180 * 24 * 3_600_000;
/** Wrong tokens of a client within {@linkcode WINDOW} after which no token of it is looked at. */
const MAX_FAILURES = 10;
/** The same of all clients together, for those that are not known. */
const MAX_FAILURES_OF_ALL = 100;
const WINDOW = 60_000;

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

/** Keeps the sessions, in memory: they end with the process. */
export class Guard {
  readonly #options: GuardOptions;
  readonly #key = randomBytes(32);
  readonly #sessions = new Map<string, { readonly who: string; readonly until: number }>();
  /** When wrong tokens came, and from which client. */
  #failures: { readonly at: number; readonly client: string }[] = [];

  /** No one is logged in yet. */
  constructor(options: GuardOptions) {
    this.#options = options;
  }

  /** Whether the page may be asked for by this name: any other one suggests DNS rebinding. */
  allowsHost(host: string | undefined): boolean {
    const name = host?.toLowerCase().replace(/:\d{1,5}$/, "");
    return name !== undefined && (LOOPBACK.test(name) || this.#options.hosts.includes(name));
  }

  /** Whether a form comes from our own page, as every browser says; `fields` are those of a POST. */
  isOwnForm(fields: RequestFields): boolean {
    const host = fields.header("host")?.toLowerCase();
    const origin = fields.header("origin")?.toLowerCase();
    const site = fields.header("sec-fetch-site");
    return host !== undefined && (origin === `http://${host}` || origin === `https://${host}`) &&
      (site === undefined || site === "same-origin");
  }

  /** Who sent the request, by session or by `Authorization: Bearer`; `undefined`: not logged in. */
  visitor(fields: RequestFields): Visitor | undefined {
    const id = this.#sessionOf(fields);
    const session = id === undefined ? undefined : this.#sessions.get(hashOf(id));
    if (id !== undefined && session !== undefined && session.until > this.#options.clock.now()) {
      return { who: session.who, formToken: this.#formToken(`session ${id}`) };
    }
    const bearer = /^Bearer +(\S{1,200})$/i.exec(fields.header("authorization") ?? "")?.[1];
    const token = bearer === undefined ? undefined : this.#tokenOf(bearer, fields);
    if (token === undefined || token === "later") return undefined;
    return { who: token.name, formToken: this.#formToken(`bearer ${token.secret}`) };
  }

  /** Whether a form bears the visitor's token. */
  isFormOf({ formToken }: Visitor, given: string | null): boolean {
    return isEqual(given ?? "", formToken);
  }

  /** Begins a session: the values of `Set-Cookie`. `later`: too many tokens were wrong, none is looked at. */
  logIn(
    secret: string,
    fields: RequestFields,
  ): { readonly who: string; readonly cookies: readonly string[] } | "wrong" | "later" {
    const token = this.#tokenOf(secret, fields);
    if (token === "later") return "later";
    if (token === undefined) return "wrong";
    const id = randomBytes(32).toString("base64url");
    const now = this.#options.clock.now();
    for (const [key, { until }] of this.#sessions) {
      if (until > now && this.#sessions.size < MAX_SESSIONS) break;
      this.#sessions.delete(key);
    }
    this.#sessions.set(hashOf(id), { who: token.name, until: now + SESSION });
    return {
      who: token.name,
      cookies: [cookie(COOKIE, id, SESSION), cookie(BROWSER_COOKIE, this.#browserOf(token), BROWSER)],
    };
  }

  /** Ends the session: the value of `Set-Cookie`. */
  logOut(fields: RequestFields): string {
    const id = this.#sessionOf(fields);
    if (id !== undefined) this.#sessions.delete(hashOf(id));
    return cookie(COOKIE, "", 0);
  }

  #sessionOf(fields: RequestFields): string | undefined {
    return cookieOf(fields, COOKIE);
  }

  #tokenOf(secret: string, fields: RequestFields): Token | undefined | "later" {
    const now = this.#options.clock.monotonic();
    this.#failures = this.#failures.filter(({ at }) => now - at < WINDOW);
    if (this.#failures.length > 0 && this.#mustWait(fields)) return "later";
    let found: Token | undefined;
    for (const token of this.#options.tokens) if (isEqual(secret, token.secret)) found = token;
    if (found === undefined) this.#failures.push({ at: now, client: this.#clientOf(fields).name });
    return found;
  }

  /** Guesses of one client, or of many, do not keep out who has logged in from this browser before. */
  #mustWait(fields: RequestFields): boolean {
    const { name, known } = this.#clientOf(fields);
    const own = this.#failures.filter(({ client }) => client === name).length;
    return own >= MAX_FAILURES || (!known && this.#failures.length >= MAX_FAILURES_OF_ALL);
  }

  /** The browsers of one token are one client, and so are all local accounts that have no such browser. */
  #clientOf(fields: RequestFields): { readonly name: string; readonly known: boolean } {
    const shown = cookieOf(fields, BROWSER_COOKIE);
    if (shown !== undefined) {
      for (const [index, token] of this.#options.tokens.entries()) {
        if (isEqual(shown, this.#browserOf(token))) return { name: `browser ${index}`, known: true };
      }
    }
    const { peer } = fields;
    return { name: addressScope(peer) === "loopback" ? "loopback" : addressGroup(peer), known: false };
  }

  /** Bound to the token, so that it goes when the token does; without the key it tells nothing of the token. */
  #browserOf({ secret }: Token): string {
    return createHmac("sha256", this.#options.browserKey).update(`browser ${secret}`).digest("base64url");
  }

  #formToken(owner: string): string {
    return createHmac("sha256", this.#key).update(owner).digest("base64url");
  }
}

/** Compares in a time that says nothing about where they differ. */
function isEqual(one: string, other: string): boolean {
  return timingSafeEqual(
    createHash("sha256").update(one).digest(),
    createHash("sha256").update(other).digest(),
  );
}

function hashOf(id: string): string {
  return createHash("sha256").update(id).digest("base64");
}

const COOKIES = {
  [COOKIE]: new RegExp(`(?:^|; *)${COOKIE}=([\\w-]{43})(?:;|$)`),
  [BROWSER_COOKIE]: new RegExp(`(?:^|; *)${BROWSER_COOKIE}=([\\w-]{43})(?:;|$)`),
};

function cookieOf(fields: RequestFields, name: keyof typeof COOKIES): string | undefined {
  return COOKIES[name].exec(fields.header("cookie") ?? "")?.[1];
}

// Not Secure: a tunnel ends at plain HTTP on loopback.
function cookie(name: string, value: string, milliseconds: number): string {
  return `${name}=${value}; HttpOnly; SameSite=Strict; Path=/; Max-Age=${milliseconds / 1000}`;
}
