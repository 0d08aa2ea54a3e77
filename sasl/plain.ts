/**
 * PLAIN (RFC 4616) and LOGIN (never standardized; what old programs send).
 *
 * @module
 */
import type { SaslExchange, SaslStep } from "../smtp/authenticator.ts";
import { type Credentials, type Guard, stepOf, unguarded } from "./credentials.ts";
import { prepareLogin, preparePassword } from "./prepare.ts";
import { decodeUtf8 } from "./utf8.ts";

const encoder = new TextEncoder();
const EMPTY = new Uint8Array(0);

const MALFORMED: SaslStep = { kind: "failure", reason: "malformed", why: "not of the mechanism's form" };

/** PLAIN: authorization identity, login and password in one message. */
export class PlainExchange implements SaslExchange {
  readonly #credentials: Credentials;
  readonly #guard: Guard;

  /** Checks against `credentials`. */
  constructor(credentials: Credentials, { guard = unguarded }: { readonly guard?: Guard } = {}) {
    this.#credentials = credentials;
    this.#guard = guard;
  }

  next(response: Uint8Array | undefined): Promise<SaslStep> {
    if (response === undefined) return Promise.resolve({ kind: "challenge", data: EMPTY });
    const parts = decodeUtf8(response)?.split("\0");
    const [authorization, login, password] = parts ?? [];
    if (parts?.length !== 3 || !login || !password) return Promise.resolve(MALFORMED);
    const given = { login, password, authorization: authorization ?? "" };
    return checkPassword(given, { credentials: this.#credentials, guard: this.#guard });
  }
}

/** LOGIN: login and password one after the other, each asked for. */
export class LoginExchange implements SaslExchange {
  readonly #credentials: Credentials;
  readonly #guard: Guard;
  #login: string | undefined;

  /** Checks against `credentials`. */
  constructor(credentials: Credentials, { guard = unguarded }: { readonly guard?: Guard } = {}) {
    this.#credentials = credentials;
    this.#guard = guard;
  }

  next(response: Uint8Array | undefined): Promise<SaslStep> {
    if (response === undefined) return Promise.resolve(ask("Username:"));
    const text = decodeUtf8(response);
    if (text === undefined || text === "" || text.includes("\0")) return Promise.resolve(MALFORMED);
    if (this.#login === undefined) {
      this.#login = text;
      return Promise.resolve(ask("Password:"));
    }
    const given = { login: this.#login, password: text, authorization: "" };
    return checkPassword(given, { credentials: this.#credentials, guard: this.#guard });
  }
}

function ask(prompt: string): SaslStep {
  return { kind: "challenge", data: encoder.encode(prompt) };
}

/** Checks login and password in their prepared forms; who asks to act for someone else is refused. */
async function checkPassword(
  given: { readonly login: string; readonly password: string; readonly authorization: string },
  { credentials, guard }: { readonly credentials: Credentials; readonly guard: Guard },
): Promise<SaslStep> {
  const login = prepareLogin(given.login);
  const password = preparePassword(given.password);
  if (login === undefined || password === undefined) {
    return { kind: "failure", reason: "credentials", why: "login or password has characters that none has" };
  }
  if (given.authorization !== "" && prepareLogin(given.authorization) !== login) {
    return { kind: "failure", reason: "credentials", login, why: "asked to act for another account" };
  }
  return stepOf(await guard({ login, password }, () => credentials.check(login, password)), login);
}
