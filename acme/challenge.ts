/**
 * ACME challenges, which validate that we control a name.
 *
 * @module
 */

/** By a page on port 80, a certificate on port 443, or a record in DNS. */
export type ChallengeType = "http-01" | "tls-alpn-01" | "dns-01";

/** The challenge for one name. */
export interface Challenge {
  readonly type: ChallengeType;
  /** The name to prove. */
  readonly name: string;
  /** Base64url. */
  readonly token: string;
  /** The response: for dns-01 the value of the TXT record, else token and the account key's thumbprint. */
  readonly keyAuthorization: string;
}

/** Answers challenges of one type. */
export interface Responder extends AsyncDisposable {
  /** Provides the response until the result is disposed. */
  respond(challenge: Challenge): Promise<AsyncDisposable>;
}
