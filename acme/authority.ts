/**
 * A certification authority that speaks ACME (RFC 8555), by way of the package `acme-client`.
 *
 * @module
 */
import https from "node:https";
import acme from "acme-client";
import { errorText } from "../base/error_text.ts";
import type { Challenge, ChallengeType, Responder } from "./challenge.ts";

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
  /** Whether to retry only later, such as after a rate limit. */
  readonly rateLimited: boolean;

  /** `cause`: the error of the package. */
  constructor(what: string, cause: unknown) {
    super(`${what}: ${errorText(cause)}`, { cause });
    this.name = "AuthorityError";
    this.rateLimited = errorText(cause).includes("rateLimited");
  }
}

// One request; an order as a whole has its own bound.
const REQUEST_TIMEOUT = 30_000;

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
    if (trusted !== undefined) acme.axios.defaults.httpsAgent = new https.Agent({ ca: trusted });
    this.#client = new acme.Client({
      directoryUrl: directory,
      accountKey,
      backoffAttempts: 20,
      backoffMin: 500,
      backoffMax: 15_000,
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
    const order = await client.createOrder({ identifiers: names.map((value) => ({ type: "dns", value })) })
      .catch((error: unknown) => {
        throw new AuthorityError(`no order for ${names.join(", ")}`, error);
      });
    for (const authorization of await client.getAuthorizations(order)) {
      if (authorization.status === "valid") continue;
      const name = authorization.identifier.value;
      const challenge = authorization.challenges.find((challenge) => challenge.type === type);
      if (challenge === undefined) {
        throw new AuthorityError(name, new Error(`the authority offers no ${type}`));
      }
      const asked: Challenge = {
        type,
        name,
        token: challenge.token,
        keyAuthorization: await client.getChallengeKeyAuthorization(challenge),
      };
      await using _answer = await responder.respond(asked);
      try {
        await client.completeChallenge(challenge);
        await client.waitForValidStatus(challenge);
      } catch (error) {
        throw new AuthorityError(`${name} could not be proven by ${type}`, error);
      }
    }
    try {
      const finalized = await client.finalizeOrder(order, csr);
      return { chain: await client.getCertificate(finalized) };
    } catch (error) {
      throw new AuthorityError("no certificate was issued", error);
    }
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
