/**
 * Who logs in: the seam between AUTH (RFC 4954) and what checks credentials. The engine knows neither mechanisms nor
 * accounts.
 *
 * @module
 */

/** Where a login attempt comes from. */
export interface LoginOrigin {
  /** The client's IP address. */
  readonly address: string;
  /** The session's id, for the log. */
  readonly session: string;
}

/** What a mechanism needs next, or how the exchange ended. */
export type SaslStep =
  /** To be sent as 334; the client's answer goes into the next step. */
  | { readonly kind: "challenge"; readonly data: Uint8Array }
  /** `login` is the account, in its prepared form. */
  | { readonly kind: "success"; readonly login: string }
  /**
   * `credentials`: wrong, or unknown, or not allowed, which the client cannot tell apart; `malformed`: not what the
   * mechanism defines; `paused`: not checked, since too many failed before; `temporary`: could not be checked now.
   * `why` is for the log and holds no secret.
   */
  | {
    readonly kind: "failure";
    readonly reason: "credentials" | "malformed" | "paused" | "temporary";
    readonly login?: string;
    readonly why: string;
  };

/** One exchange of one mechanism. */
export interface SaslExchange {
  /**
   * Takes what the client sent, decoded; `undefined` at the start if there was no initial response. Never called again
   * after `success` or `failure`. Never rejects for what a client sends.
   */
  next(response: Uint8Array | undefined): Promise<SaslStep>;
}

/** Checks credentials. */
export interface Authenticator {
  /** The mechanisms on offer, in upper case, the best first. */
  readonly mechanisms: readonly string[];
  /** Begins an exchange; `undefined` for a mechanism that is not on offer. */
  start(mechanism: string, origin: LoginOrigin): SaslExchange | undefined;
}
