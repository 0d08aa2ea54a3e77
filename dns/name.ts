/**
 * Domain names for queries and comparisons.
 *
 * @module
 */
import { normalizeDomain } from "../net/domain_name.ts";
import { ipBytes } from "../net/ip_address.ts";

const ASCII = /^[\0-\x7f]*$/;
// Wider than host names: DNS labels may begin or end with a hyphen.
const NAME = /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/i;
// RFC 1035 §2.3.4: 255 octets with the length of each label and the root.
const MAX_NAME = 253;

/**
 * A name as it is asked and compared: lower case, no trailing dot, U-labels as A-labels; `undefined` where it is no
 * domain name of at most 253 octets with labels of 1–63 letters, digits, `-` and `_`.
 */
export function canonicalName(name: string): string | undefined {
  const bare = name.endsWith(".") ? name.slice(0, -1) : name;
  if (bare.length <= MAX_NAME && NAME.test(bare)) return bare.toLowerCase();
  const normalized = ASCII.test(name) ? undefined : normalizeDomain(name);
  return normalized !== undefined && normalized.length <= MAX_NAME ? normalized : undefined;
}

/**
 * The same for names whose labels may hold any printable ASCII but dots, as DNS itself allows: SPF makes names of
 * local-parts (RFC 7208 §7). They are only queried.
 */
export function canonicalAnyName(name: string): string | undefined {
  const bare = (name.endsWith(".") ? name.slice(0, -1) : name).toLowerCase();
  if (bare.length > 253) return undefined;
  return /^[\x20-\x2d\x2f-\x7e]{1,63}(?:\.[\x20-\x2d\x2f-\x7e]{1,63})*$/.test(bare) ? bare : undefined;
}

/** The name under which an address's names are (RFC 1035 §3.5, RFC 3596 §2.5); no name for what is not an address. */
export function reverseName(address: string): string {
  const bytes = ipBytes(address);
  if (bytes === undefined) return "";
  const labels = bytes.length === 4
    ? Array.from(bytes, String)
    : Array.from(bytes, (byte) => [(byte >> 4).toString(16), (byte & 15).toString(16)]).flat();
  return `${labels.reverse().join(".")}.${bytes.length === 4 ? "in-addr.arpa" : "ip6.arpa"}`;
}
