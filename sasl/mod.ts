/**
 * The mechanisms by which a client logs in (RFC 4954), over whatever keeps the accounts.
 *
 * @module
 */
import type { Authenticator, LoginOrigin, SaslExchange } from "../smtp/authenticator.ts";
import type { Credentials, Guard } from "./credentials.ts";
import type { LoginThrottle } from "./login_throttle.ts";
import { LoginExchange, PlainExchange } from "./plain.ts";
import { ScramExchange } from "./scram.ts";

/** Mechanisms over credentials, which may depend on where the client is. */
export class SaslAuthenticator implements Authenticator {
  /** SCRAM first where there are keys for it. */
  readonly mechanisms: readonly string[];
  readonly #credentialsFor: (origin: LoginOrigin) => Credentials;
  readonly #throttle: LoginThrottle | undefined;

  /** `scram`: whether the credentials have SCRAM keys; `throttle`: what holds up those who guess, absent: nothing. */
  constructor(
    credentialsFor: (origin: LoginOrigin) => Credentials,
    { scram, throttle }: { readonly scram: boolean; readonly throttle?: LoginThrottle },
  ) {
    this.#throttle = throttle;
    this.mechanisms = [...(scram ? ["SCRAM-SHA-256"] : []), "PLAIN", "LOGIN"];
    this.#credentialsFor = credentialsFor;
  }

  start(mechanism: string, origin: LoginOrigin): SaslExchange | undefined {
    if (!this.mechanisms.includes(mechanism)) return undefined;
    const credentials = this.#credentialsFor(origin);
    const throttle = this.#throttle;
    const guard: Guard | undefined = throttle &&
      ((attempt, check) => throttle.attempt({ ...attempt, origin }, check));
    const options = guard === undefined ? {} : { guard };
    switch (mechanism) {
      case "SCRAM-SHA-256":
        return new ScramExchange(credentials, options);
      case "PLAIN":
        return new PlainExchange(credentials, options);
      default:
        return new LoginExchange(credentials, options);
    }
  }
}
