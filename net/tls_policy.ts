/**
 * How a connection to another server is to be protected.
 *
 * @module
 */

/** All policies, the weakest first. */
export const TLS_POLICIES = ["prefer", "require", "verify", "dane"] as const;

/**
 * `prefer`: TLS with any certificate where the server offers it, else plaintext (RFC 7435); `require`: TLS with any
 * certificate; `verify`: a certificate for the host's name from a known authority; `dane`: a certificate named by
 * DNSSEC (RFC 7672).
 */
export type TlsPolicy = typeof TLS_POLICIES[number];

/** The stricter of two policies. */
export function stricterPolicy(a: TlsPolicy, b: TlsPolicy): TlsPolicy {
  return TLS_POLICIES.indexOf(a) >= TLS_POLICIES.indexOf(b) ? a : b;
}
