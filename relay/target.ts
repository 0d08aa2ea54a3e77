/**
 * Where mail goes: an address with all that connecting to it takes.
 *
 * @module
 */
import type { TlsPolicy } from "../net/tls_policy.ts";
import type { EnhancedStatusCode } from "../smtp/reply.ts";
import type { StsFailure, StsRule } from "./sts_rule.ts";

/** What a server is asked for before it takes mail. */
export interface Credentials {
  /** The account's name. */
  readonly user: string;
  /** Never logged, only sent over verified TLS. */
  readonly password: string;
}

/** One address to try. */
export interface Target {
  /** The host's name in lower case, or its address where it has no name. What a certificate is verified against. */
  readonly host: string;
  /** The IP address. */
  readonly address: string;
  /** The address's family. */
  readonly family: 4 | 6;
  /** The TCP port. */
  readonly port: number;
  /** How it was found: an MX record, the domain's own address, an address literal, a route, serve-in. */
  readonly via: "mx" | "implicit" | "literal" | "route" | "local";
  /** How the connection is to be protected. */
  readonly tls: TlsPolicy;
  /** Whether TLS comes before the greeting (RFC 8314), instead of by STARTTLS. */
  readonly implicitTls?: boolean;
  /** What to log in with; the policy is `verify` or stricter then. */
  readonly auth?: Credentials;
  /**
   * Whether DNSSEC secures all that led here; a route's name needs none. That includes the addresses, or, where
   * the host is an alias out of a signed zone, the alias.
   */
  readonly authenticated: boolean;
  /** The name at the end of the host's aliases, if it has any and DNSSEC secures all of them and the addresses. */
  readonly expanded?: string;
  /** Whether the configuration names the policy for the domain: then `prefer` and `require` ask no more than they say. */
  readonly configured?: boolean;
  /** Whether the policies of the domain are left aside for the sake of a message (`TLS-Required: No`). */
  readonly relaxed?: boolean;
  /** The domain whose DNS led here; absent where it did not, as with a route. */
  readonly policyDomain?: string;
  /** What the domain's MTA-STS policy says of the host; absent where it has none. */
  readonly sts?: StsRule;
  /** How many better preferences the domain's MX records have; absent where there is none. */
  readonly rank?: number;
}

/** Where a domain's mail goes. */
export type Targets =
  /** At least one, best first. `stsFailure`: an MTA-STS policy is announced, and could not be had. */
  | { readonly kind: "targets"; readonly targets: readonly Target[]; readonly stsFailure?: StsFailure }
  /** There is no way and there will be none. */
  | { readonly kind: "failed"; readonly status: EnhancedStatusCode; readonly reason: string }
  /** There is no way now. */
  | { readonly kind: "deferred"; readonly status: EnhancedStatusCode; readonly reason: string };

/** Instead of MX. */
export interface Route {
  /** A host's name, or an IP address (without brackets). */
  readonly host: string;
  /** Default: the options' port. On 465 TLS comes first. */
  readonly port?: number;
  /** Default: the domain's policy. The stricter one counts. */
  readonly tls?: TlsPolicy;
  /** Raises the policy to `verify`. */
  readonly auth?: Credentials;
}

/** The key of a target, each tried once. Where a name is verified, another name of the same address may succeed. */
export function targetKey({ host, address, port, tls }: Target): string {
  return tls === "verify" ? `${address} ${port} ${host}` : `${address} ${port}`;
}
