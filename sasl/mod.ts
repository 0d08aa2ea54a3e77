/**
 * The mechanisms by which a client logs in (RFC 4954), over whatever keeps the accounts.
 *
 * @module
 */
import type { Authenticator, LoginOrigin, SaslExchange } from "../smtp/authenticator.ts";
import type { Credentials } from "./credentials.ts";
import { LoginExchange, PlainExchange } from "./plain.ts";
import { ScramExchange } from "./scram.ts";

/** Mechanisms over credentials, which may depend on where the client is. */
export class SaslAuthenticator implements Authenticator {
  /** SCRAM first where there are keys for it. */
  readonly mechanisms: readonly string[];
  readonly #credentialsFor: (origin: LoginOrigin) => Credentials;

  /** `scram`: whether the credentials have SCRAM keys. */
  constructor(
    credentialsFor: (origin: LoginOrigin) => Credentials,
    { scram }: { readonly scram: boolean },
  ) {
    this.mechanisms = [...(scram ? ["SCRAM-SHA-256"] : []), "PLAIN", "LOGIN"];
    this.#credentialsFor = credentialsFor;
  }

  start(mechanism: string, origin: LoginOrigin): SaslExchange | undefined {
    if (!this.mechanisms.includes(mechanism)) return undefined;
    const credentials = this.#credentialsFor(origin);
    switch (mechanism) {
      case "SCRAM-SHA-256":
        return new ScramExchange(credentials);
      case "PLAIN":
        return new PlainExchange(credentials);
      default:
        return new LoginExchange(credentials);
    }
  }
}
