/**
 * How a name is proven to be ours: what the authority asks, and who answers.
 *
 * @module
 */

/** By a page on port 80, or a record in DNS. */
export type ChallengeType = "http-01" | "dns-01";

/** What the authority asks for one name. */
export interface Challenge {
  readonly type: ChallengeType;
  /** The name to prove. */
  readonly name: string;
  /** Base64url. */
  readonly token: string;
  /** What is to be shown: for dns-01 the value of the TXT record, else token and the account key's thumbprint. */
  readonly keyAuthorization: string;
}

/** Answers challenges of one type. */
export interface Responder extends AsyncDisposable {
  /** Shows the answer until the result is disposed. */
  respond(challenge: Challenge): Promise<AsyncDisposable>;
}
