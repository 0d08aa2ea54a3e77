/**
 * Names and addresses in the configuration: domains, hosts, IP addresses, ports.
 *
 * @module
 */
import { normalizeDomain } from "../net/domain_name.ts";
import { isIpv4, isIpv6 } from "../net/ip_address.ts";

// RFC 5321 §4.5.3.1.3, without the angle brackets; local-parts of more than 64 octets are in use (§4.5.3.1).
const MAX_ADDRESS = 254;

/** The domain in lower case with IDN as A-labels and no trailing dot; `undefined` when it is none. */
export function parseDomain(value: unknown): string | undefined {
  const domain = typeof value === "string" ? normalizeDomain(value) : undefined;
  // Beyond 253 characters DNS has no names (RFC 1035 §2.3.4); one whose last label is a number would be an address.
  return domain === undefined || domain.length > 253 || /(?:^|\.)\d+$/.test(domain) ? undefined : domain;
}

/**
 * The name of a host, of at least two labels; `undefined` when it is none. Unlike other domains it has no underscore:
 * certificates and strict peers do not take one (RFC 1123 §2.1).
 */
export function parseFullyQualified(value: unknown): string | undefined {
  const domain = parseDomain(value);
  return domain?.includes(".") && !domain.includes("_") ? domain : undefined;
}

/** The IP address in its canonical form; `undefined` when it is none. Zones (`%eth0`) are not taken. */
export function parseIp(value: unknown): string | undefined {
  if (typeof value !== "string") return undefined;
  if (isIpv4(value)) return value;
  return isIpv6(value) ? new URL(`http://[${value}]`).hostname.slice(1, -1) : undefined;
}

/** Whether the IP address, in canonical form, is one of the loopback interface. */
export function isLoopback(address: string): boolean {
  return address === "::1" || /^127\.\d+\.\d+\.\d+$/.test(address);
}

/** A whole number from 0 (or `min`) to 65535; `undefined` when it is none. */
export function parsePort(value: unknown, options: { min?: number } = {}): number | undefined {
  const { min = 0 } = options;
  return Number.isInteger(value) && Number(value) >= min && Number(value) <= 65535
    ? Number(value)
    : undefined;
}

/**
 * `host`, `host:port`, `address`, `address:port` or `[address]:port`, cut in two; the port is absent if it is not
 * given.
 */
export function splitHostPort(text: string): { host: string; port?: number } {
  const bracketed = /^\[([^\]]*)\](?::(\d{1,5}))?$/.exec(text);
  // More than one colon without brackets is a bare IPv6 address.
  const [, host, port] = bracketed ?? /^([^:]*)(?::(\d{1,5}))?$/.exec(text) ?? [];
  if (host === undefined) return { host: text };
  return port === undefined ? { host } : { host, port: Number(port) };
}

/** An IP address and a port; `undefined` when it is none. */
export function parseEndpoint(value: unknown): { address: string; port: number } | undefined {
  if (typeof value !== "string") return undefined;
  const { host, port: text } = splitHostPort(value);
  const address = parseIp(host);
  const port = parsePort(text);
  return address === undefined || port === undefined ? undefined : { address, port };
}

/**
 * A local-part or a whole address, its domain as `parseDomain` gives it; `undefined` when it is none.
 * Checks only the form; its meaning is for the mailboxes.
 */
export function parseLocalPartOrAddress(value: unknown): string | undefined {
  // deno-lint-ignore no-control-regex
  if (typeof value !== "string" || value === "" || /[\u0000-\u0020\u007f]/.test(value)) return undefined;
  const at = value.lastIndexOf("@");
  const localPart = at === -1 ? value : value.slice(0, at);
  if (localPart === "") return undefined;
  const domain = at === -1 ? "" : parseDomain(value.slice(at + 1));
  if (domain === undefined) return undefined;
  const address = at === -1 ? localPart : `${localPart}@${domain}`;
  return new TextEncoder().encode(address).length > MAX_ADDRESS ? undefined : address;
}
