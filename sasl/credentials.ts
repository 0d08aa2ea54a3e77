/**
 * What the mechanisms ask about an account.
 *
 * @module
 */
import type { SaslStep } from "../smtp/authenticator.ts";

/** What happened to a password. */
export type PasswordVerdict =
  | { readonly kind: "right"; readonly login: string }
  /** Wrong, or there is no such account, or it may not log in; `why` is for the log. */
  | { readonly kind: "wrong"; readonly why: string }
  /** Not looked at, as too many were wrong before. */
  | { readonly kind: "paused"; readonly why: string }
  /** Could not be checked now. */
  | { readonly kind: "unavailable"; readonly why: string };

/** What a verdict means for the exchange. */
export function stepOf(verdict: PasswordVerdict, login: string): SaslStep {
  switch (verdict.kind) {
    case "right":
      return { kind: "success", login: verdict.login };
    case "wrong":
      return { kind: "failure", reason: "credentials", login, why: verdict.why };
    case "paused":
      return { kind: "failure", reason: "paused", login, why: verdict.why };
    case "unavailable":
      return { kind: "failure", reason: "temporary", login, why: verdict.why };
  }
}

/** A login with what proves it. */
export interface PasswordAttempt {
  /** The login, prepared. */
  readonly login: string;
  /** The password, prepared; absent where the mechanism does not show it. */
  readonly password?: string;
}

/** Has an attempt checked when it may be; see `LoginThrottle`. */
export type Guard = (
  attempt: PasswordAttempt,
  check: () => Promise<PasswordVerdict> | PasswordVerdict,
) => Promise<PasswordVerdict>;

/** Checks at once. */
export const unguarded: Guard = async (_attempt, check) => await check();

/** One set of SCRAM keys (RFC 5802 §3); an account has one for each of its passwords. */
export interface ScramKeys {
  readonly storedKey: Uint8Array;
  readonly serverKey: Uint8Array;
}

/** What SCRAM needs of an account. All passwords of an account share salt and iteration count. */
export interface ScramAccount {
  readonly login: string;
  readonly salt: Uint8Array;
  /** At least 4,096 (RFC 7677 §4). */
  readonly iterations: number;
  /** Empty for an account that cannot log in. */
  readonly keys: readonly ScramKeys[];
  /** Why there are no keys, for the log. */
  readonly why?: string;
}

/** Where accounts are kept. Names and passwords come prepared (RFC 8265). */
export interface Credentials {
  /** Checks a password; takes as long for an unknown login as for a wrong password. Rejects for nothing a client sends. */
  check(login: string, password: string): Promise<PasswordVerdict>;
  /**
   * The SCRAM keys of a login; for an unknown one a salt that is always the same for that name, and no keys.
   * `undefined`: accounts cannot be read now. Absent where passwords are checked elsewhere, which rules SCRAM out.
   */
  scram?(login: string): Promise<ScramAccount | undefined>;
}
