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
import type { Token } from "./tokens.ts";

/** What a {@linkcode Guard} needs. */
export interface GuardOptions {
  /** Who is let in. */
  readonly tokens: readonly Token[];
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
}

const COOKIE = "mailapp_dashboard";
/** How long a session lasts, in milliseconds. */
const SESSION = 12 * 3_600_000;
const MAX_SESSIONS = 100;
/** Wrong tokens within {@linkcode WINDOW} after which no token is looked at. */
const MAX_FAILURES = 10;
const WINDOW = 60_000;

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

/** Keeps the sessions, in memory: they end with the process. */
export class Guard {
  readonly #options: GuardOptions;
  readonly #key = randomBytes(32);
  readonly #sessions = new Map<string, { readonly who: string; readonly until: number }>();
  #failures: number[] = [];

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
    const token = bearer === undefined ? undefined : this.#tokenOf(bearer);
    if (token === undefined || token === "later") return undefined;
    return { who: token.name, formToken: this.#formToken(`bearer ${token.secret}`) };
  }

  /** Whether a form bears the visitor's token. */
  isFormOf({ formToken }: Visitor, given: string | null): boolean {
    return isEqual(given ?? "", formToken);
  }

  /** Begins a session: the value of `Set-Cookie`. `later`: too many tokens were wrong, none is looked at. */
  logIn(secret: string): { readonly who: string; readonly cookie: string } | "wrong" | "later" {
    const token = this.#tokenOf(secret);
    if (token === "later") return "later";
    if (token === undefined) return "wrong";
    const id = randomBytes(32).toString("base64url");
    const now = this.#options.clock.now();
    for (const [key, { until }] of this.#sessions) {
      if (until > now && this.#sessions.size < MAX_SESSIONS) break;
      this.#sessions.delete(key);
    }
    this.#sessions.set(hashOf(id), { who: token.name, until: now + SESSION });
    return { who: token.name, cookie: cookie(id, SESSION / 1000) };
  }

  /** Ends the session: the value of `Set-Cookie`. */
  logOut(fields: RequestFields): string {
    const id = this.#sessionOf(fields);
    if (id !== undefined) this.#sessions.delete(hashOf(id));
    return cookie("", 0);
  }

  #sessionOf(fields: RequestFields): string | undefined {
    return new RegExp(`(?:^|; *)${COOKIE}=([\\w-]{43})(?:;|$)`).exec(fields.header("cookie") ?? "")?.[1];
  }

  #tokenOf(secret: string): Token | undefined | "later" {
    const now = this.#options.clock.monotonic();
    this.#failures = this.#failures.filter((at) => now - at < WINDOW);
    if (this.#failures.length >= MAX_FAILURES) return "later";
    let found: Token | undefined;
    for (const token of this.#options.tokens) if (isEqual(secret, token.secret)) found = token;
    if (found === undefined) this.#failures.push(now);
    return found;
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

// Not Secure: a tunnel ends at plain HTTP on loopback.
function cookie(value: string, seconds: number): string {
  return `${COOKIE}=${value}; HttpOnly; SameSite=Strict; Path=/; Max-Age=${seconds}`;
}
