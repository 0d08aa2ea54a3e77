/**
 * A certification authority that speaks ACME (RFC 8555), by way of the package `acme-client`.
 *
 * @module
 */
import { X509Certificate } from "node:crypto";
import https from "node:https";
import acme from "acme-client";
import { systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Challenge, ChallengeType, Responder } from "./challenge.ts";
import { bePatient, RateLimitError } from "./patience.ts";

/** The authority, and our account there. */
export interface AuthorityOptions {
  /** The URL of its directory. */
  readonly directory: string;
  /** The contact address of the account, if any. */
  readonly email?: string;
  /** The account's key, PEM. */
  readonly accountKey: string;
  /** The URL of the account, where it is known. */
  readonly accountUrl?: string;
  /** PEM certificates to trust for its HTTPS; absent: those of the system. */
  readonly trusted?: string;
  /** External account binding (RFC 8555 §7.3.4). */
  readonly externalAccount?: { readonly kid: string; readonly hmacKey: string };
}

/** What was issued. */
export interface Issued {
  /** The certificate, then the intermediate ones, PEM. */
  readonly chain: string;
}

/** The authority refused, or could not be reached. The message contains its answer. */
export class AuthorityError extends Error {
  /** Whether a rate limit is reached. */
  readonly rateLimited: boolean;
  /** From when on to try again, in milliseconds since the epoch; `undefined`: the authority did not say. */
  readonly retryAt: number | undefined;

  /** `cause`: the error of the package. */
  constructor(what: string, cause: unknown) {
    super(`${what}: ${errorText(cause)}`, { cause });
    this.name = "AuthorityError";
    this.rateLimited = cause instanceof RateLimitError;
    this.retryAt = cause instanceof RateLimitError ? cause.until : undefined;
  }
}

/** Of one request, in milliseconds. */
const REQUEST_TIMEOUT = 30_000;
/** Until a name is validated, or the certificate issued, in milliseconds. */
const PENDING_TIMEOUT = 3 * 60_000;
/** Between two questions whether it is, in milliseconds: the first pause, which doubles, and the longest. */
const POLL = { first: 250, longest: 5_000 };

/** Octets of an answer; a chain has some thousand, and {@linkcode MAX_AUTHORIZATIONS} URLs have less. */
const MAX_ANSWER = 256 * 1024;
/** Of one order, which has one for each name as a rule. */
const MAX_AUTHORIZATIONS = 500;

/** The authority, with an account of ours. */
export class Authority {
  readonly #options: AuthorityOptions;
  readonly #client: InstanceType<typeof acme.Client>;

  /** Makes no request yet. */
  constructor(options: AuthorityOptions) {
    this.#options = options;
    const { directory, accountKey, accountUrl, externalAccount, trusted } = options;
    // These are global in the package; a process has one authority.
    acme.axios.defaults.timeout = REQUEST_TIMEOUT;
    acme.axios.defaults.proxy = false;
    acme.axios.defaults.maxContentLength = MAX_ANSWER;
    acme.axios.defaults.maxRedirects = 0;
    bePatient(acme.axios, { now: () => systemClock.now(), wait });
    if (trusted !== undefined) acme.axios.defaults.httpsAgent = new https.Agent({ ca: trusted });
    this.#client = new acme.Client({
      directoryUrl: directory,
      accountKey,
      ...(accountUrl !== undefined && { accountUrl }),
      ...(externalAccount !== undefined && { externalAccountBinding: externalAccount }),
    });
  }

  /**
   * Registers the account, or finds the one of this key.
   * @returns its URL
   * @throws {AuthorityError}
   */
  async register(): Promise<string> {
    const { email } = this.#options;
    try {
      await this.#client.createAccount({
        termsOfServiceAgreed: true,
        ...(email !== undefined && { contact: [`mailto:${email}`] }),
      });
      return this.#client.getAccountUrl();
    } catch (error) {
      throw new AuthorityError("the authority made no account", error);
    }
  }

  /**
   * Validates these names, and has the authority issue a certificate for them.
   * @param options `names`: DNS names, the first is the certificate's own; `csr`: PEM, for these names
   * @throws {AuthorityError} with the name and what the authority found wrong
   */
  async obtain(
    { names, csr, type, responder }: {
      readonly names: readonly string[];
      readonly csr: string;
      readonly type: ChallengeType;
      readonly responder: Responder;
    },
  ): Promise<Issued> {
    const client = this.#client;
    const identifiers = names.map((value) => ({ type: "dns", value }));
    const [order, authorizations] = await told(`no order for ${names.join(", ")}`, async () => {
      const order = await client.createOrder({ identifiers });
      const { length } = order.authorizations ?? [];
      if (length > MAX_AUTHORIZATIONS) throw new Error(`the order has ${length} authorizations`);
      const authorizations = await client.getAuthorizations(order);
      for (const { identifier, challenges, status } of authorizations) {
        if (typeof identifier?.value !== "string" || !Array.isArray(challenges)) throw unreadable();
        requireStatus(status);
      }
      return [order, authorizations] as const;
    });
    for (const authorization of authorizations) {
      if (authorization.status === "valid") continue;
      const name = authorization.identifier.value;
      await told(
        `${name} could not be validated by ${type}`,
        () => this.#prove(order, { authorization, type, responder }),
      );
    }
    return await told("no certificate was issued", async () => {
      const finalized = await client.finalizeOrder(order, csr);
      const issued = await this.#pending(finalized, {
        ask: () => client.getOrder(order),
        isDone: ({ status }) => status === "valid",
        failure: ({ status, error }) => status === "invalid" ? problemText(error) : undefined,
      });
      const chain = await client.getCertificate(issued);
      if (!isCertificate(chain)) throw unreadable();
      return { chain };
    });
  }

  async #prove(
    order: acme.Order,
    { authorization, type, responder }: {
      readonly authorization: acme.Authorization;
      readonly type: ChallengeType;
      readonly responder: Responder;
    },
  ): Promise<void> {
    const client = this.#client;
    const challenge = authorization.challenges.find((challenge) => challenge.type === type);
    if (challenge === undefined) throw new Error("the authority does not offer that");
    const asked: Challenge = {
      type,
      name: authorization.identifier.value,
      token: challenge.token,
      keyAuthorization: await client.getChallengeKeyAuthorization(challenge),
    };
    await using _answer = await responder.respond(asked);
    requireStatus((await client.completeChallenge(challenge)).status);
    await this.#pending(authorization, {
      ask: async () => {
        const [now] = await client.getAuthorizations({ ...order, authorizations: [authorization.url] });
        if (now === undefined) throw new Error("the authority does not know its own authorization");
        return now;
      },
      isDone: ({ status }) => status === "valid",
      failure: ({ status, challenges }) =>
        status === "pending" || status === "valid"
          ? undefined
          : problemText(challenges.find((challenge) => challenge.type === type)?.error),
    });
  }

  /** Waits until it is done, for as long as that may take. */
  async #pending<T extends { readonly status: string }>(
    state: T,
    { ask, isDone, failure }: {
      readonly ask: () => Promise<T>;
      readonly isDone: (state: T) => boolean;
      readonly failure: (state: T) => string | undefined;
    },
  ): Promise<T> {
    const end = systemClock.monotonic() + PENDING_TIMEOUT;
    for (let pause = POLL.first; !isDone(state); pause = Math.min(2 * pause, POLL.longest)) {
      requireStatus(state.status);
      const why = failure(state);
      if (why !== undefined) throw new Error(why);
      if (systemClock.monotonic() > end) throw new Error("the authority has not decided in time");
      await wait(pause);
      state = await ask();
    }
    return state;
  }

  /**
   * Revokes a certificate (RFC 8555 §7.6).
   * @param certificate PEM
   * @throws {AuthorityError}
   */
  async revoke(certificate: string): Promise<void> {
    try {
      await this.#client.revokeCertificate(certificate);
    } catch (error) {
      throw new AuthorityError("the certificate was not revoked", error);
    }
  }
}

/** Does something; an error is told with what it was. @throws {AuthorityError} */
async function told<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new AuthorityError(what, error);
  }
}

/** Statuses of orders, authorizations and challenges (RFC 8555 §7.1.6). */
const STATUSES: ReadonlySet<unknown> = new Set(
  ["pending", "ready", "processing", "valid", "invalid", "deactivated", "expired", "revoked"],
);

/** An answer of something else that listens there. @throws {Error} */
function requireStatus(status: unknown): void {
  if (!STATUSES.has(status)) throw unreadable();
}

function unreadable(): Error {
  return new Error("the answer is not one of an ACME authority");
}

function isCertificate(chain: string): boolean {
  try {
    new X509Certificate(chain);
    return true;
  } catch {
    return false;
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The detail of a problem document (RFC 7807). */
function problemText(problem: unknown): string {
  const { detail, type } = (problem ?? {}) as { detail?: unknown; type?: unknown };
  return typeof detail === "string"
    ? detail
    : typeof type === "string"
    ? type
    : "the authority does not say why";
}

/** Makes a key for an account, PEM (ECDSA P-256). */
export async function newAccountKey(): Promise<string> {
  return String(await acme.crypto.createPrivateEcdsaKey("P-256"));
}

/** Makes a certificate signing request, PEM. @param key PEM; absent: a new one (ECDSA P-256) */
export async function newRequest(
  { names, key }: { readonly names: readonly string[]; readonly key?: string },
): Promise<{ csr: string; key: string }> {
  const own = key ?? String(await acme.crypto.createPrivateEcdsaKey("P-256"));
  const [, csr] = await acme.crypto.createCsr({ commonName: names[0] ?? "", altNames: [...names] }, own);
  return { csr: String(csr), key: own };
}
