/**
 * Which IP addresses mail is sent to.
 *
 * @module
 */

/** All choices. */
export const ADDRESS_FAMILIES = ["auto", "ipv4", "ipv6", "ipv4-first"] as const;

/**
 * `auto`: both, IPv6 first (RFC 6724), or the other one after a failed attempt; `ipv4-first`: the same beginning with
 * IPv4; `ipv4`, `ipv6`: that one only.
 */
export type AddressFamily = typeof ADDRESS_FAMILIES[number];
