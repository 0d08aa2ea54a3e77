/**
 * IP addresses: their bytes, and which of them lie in the public Internet.
 *
 * @module
 */

/** The address's 4 or 16 bytes in network order; `undefined` for anything that is not one. A zone (`%eth0`) is not. */
export function ipBytes(address: string): Uint8Array | undefined {
  const ipv4 = ipv4Bytes(address);
  if (ipv4 !== undefined) return ipv4;
  if (!isIpv6(address)) return undefined;
  const dotted = /^([^.]*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  const text = dotted === null ? address : `${dotted[1]}${hexGroups(dotted[2] ?? "")}`;
  const [head = "", tail] = text.split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  before.forEach((group, i) => view.setUint16(2 * i, parseInt(group, 16)));
  after.forEach((group, i) => view.setUint16(16 - 2 * (after.length - i), parseInt(group, 16)));
  return bytes;
}

/** The four bytes, parsed without a regular expression: checks of incoming mail compare many addresses. */
function ipv4Bytes(text: string): Uint8Array | undefined {
  if (text.length > 15) return undefined;
  const bytes = new Uint8Array(4);
  let part = 0;
  let value = -1;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      if (value < 0 || part === 3) return undefined;
      bytes[part++] = value;
      value = -1;
    } else {
      // No leading zeros, which some programs read as octal.
      if (code < ZERO || code > ZERO + 9 || value === 0) return undefined;
      value = Math.max(value, 0) * 10 + code - ZERO;
      if (value > 255) return undefined;
    }
  }
  if (value < 0 || part !== 3) return undefined;
  bytes[3] = value;
  return bytes;
}

const DOT = 46;
const ZERO = 48;

/** The same IPv4 address as the last two groups of an IPv6 address. */
function hexGroups(ipv4: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = ipv4.split(".").map(Number);
  return `${(a << 8 | b).toString(16)}:${(c << 8 | d).toString(16)}`;
}

/** Whether two texts are the same address; IPv4-mapped IPv6 equals its IPv4 address. */
export function sameAddress(a: string, b: string): boolean {
  if (a === b) return true;
  const x = unmapped(ipBytes(a));
  const y = unmapped(ipBytes(b));
  return x !== undefined && y !== undefined && x.length === y.length && x.every((byte, i) => byte === y[i]);
}

/** The IPv4 address within an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2), in any spelling; others as they are. */
export function unmappedAddress(address: string): string {
  const bytes = ipBytes(address);
  return bytes?.length === 16 && startsWith(bytes, MAPPED) ? bytes.subarray(12).join(".") : address;
}

function unmapped(bytes: Uint8Array | undefined): Uint8Array | undefined {
  return bytes?.length === 16 && startsWith(bytes, MAPPED) ? bytes.subarray(12) : bytes;
}

/** The scope of an address; mail from MX records goes to `public` ones only. */
export type AddressScope =
  | "public"
  | "unspecified"
  | "loopback"
  | "link-local"
  | "private"
  | "multicast"
  | "reserved";

const MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
const COMPATIBLE = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const NAT64 = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];
const LOCAL_NAT64 = [0, 0x64, 0xff, 0x9b, 0, 1];
const TEREDO = [0x20, 0x01, 0, 0];

/**
 * The scope of an address, by the special-purpose registries (RFC 6890). An IPv6 address that carries an IPv4 one
 * (mapped, compatible, NAT64, 6to4, Teredo) has the scope of what it carries, else a zone's owner could reach into a
 * private network through the translator. The documentation and benchmarking networks count as public.
 */
export function addressScope(address: string): AddressScope {
  const bytes = ipBytes(address);
  if (bytes === undefined) return "reserved";
  return bytes.length === 4 ? ipv4Scope(bytes) : ipv6Scope(bytes);
}

function ipv4Scope(bytes: Uint8Array): AddressScope {
  const [a = 0, b = 0, c = 0] = bytes;
  if (a === 0) return "unspecified";
  if (a === 127) return "loopback";
  if (a === 169 && b === 254) return "link-local";
  if (a === 10 || (a === 172 && b >= 16 && b < 32) || (a === 192 && b === 168)) return "private";
  // Carrier-grade NAT (RFC 6598) and the IETF's own block (RFC 6890).
  if ((a === 100 && b >= 64 && b < 128) || (a === 192 && b === 0 && c === 0)) return "private";
  if (a >= 240) return "reserved";
  return a >= 224 ? "multicast" : "public";
}

function ipv6Scope(bytes: Uint8Array): AddressScope {
  const [a = 0, b = 0] = bytes;
  if (bytes.every((byte) => byte === 0)) return "unspecified";
  if (bytes.subarray(0, 15).every((byte) => byte === 0) && bytes[15] === 1) return "loopback";
  if (startsWith(bytes, MAPPED) || startsWith(bytes, COMPATIBLE) || startsWith(bytes, NAT64)) {
    return ipv4Scope(bytes.subarray(12));
  }
  if (startsWith(bytes, LOCAL_NAT64)) return "private";
  if (a === 0x20 && b === 0x02) return ipv4Scope(bytes.subarray(2, 6));
  if (startsWith(bytes, TEREDO)) return ipv4Scope(bytes.subarray(12).map((byte) => byte ^ 0xff));
  if (a === 0xff) return "multicast";
  if (a === 0xfe && (b & 0xc0) === 0x80) return "link-local";
  if ((a & 0xfe) === 0xfc || (a === 0xfe && (b & 0xc0) === 0xc0)) return "private";
  return "public";
}

function startsWith(bytes: Uint8Array, prefix: readonly number[]): boolean {
  return prefix.every((byte, i) => bytes[i] === byte);
}

/** Whether this is an IPv4 address in the one form of four decimal numbers. */
export function isIpv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 &&
    parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

/** Whether this is an IPv6 address (RFC 4291 §2.2), without brackets and zone. */
export function isIpv6(text: string): boolean {
  if (!/^[0-9a-fA-F:.]{2,45}$/.test(text)) return false;
  let rest = text;
  let groups = 0;
  const dotted = /(?:^|:)(\d+\.\d+\.\d+\.\d+)$/.exec(text)?.[1];
  if (dotted !== undefined) {
    if (!isIpv4(dotted)) return false;
    rest = text.slice(0, -dotted.length) + "0";
    groups = 1;
  }
  if (rest.includes(".")) return false;
  const halves = rest.split("::");
  if (halves.length > 2) return false;
  for (const half of halves) {
    if (half === "") continue;
    for (const group of half.split(":")) {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return false;
      groups++;
    }
  }
  return halves.length === 2 ? groups < 8 : groups === 8;
}

/** What counts as one client: an IPv4 address, or an IPv6 /64, since that is what one subscriber gets. */
export function addressGroup(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const behind = tail === "" ? [] : tail.split(":");
    while (groups.length + behind.length < 8) groups.push("0");
    groups.push(...behind);
  }
  return groups.slice(0, 4).map((group) => parseInt(group, 16).toString(16)).join(":") + "::/64";
}

/** The network of one organization: the /24 of an IPv4 address, the /64 of an IPv6 address, such as `192.0.2.0/24`. */
export function networkOf(address: string): string {
  const plain = unmappedAddress(address);
  return plain.includes(":") ? addressGroup(plain) : `${plain.slice(0, plain.lastIndexOf("."))}.0/24`;
}

/** The network of one site: the /24 of an IPv4 address, the /48 of an IPv6 address (RFC 6177). */
export function siteNetworkOf(address: string): string {
  const plain = unmappedAddress(address);
  if (!plain.includes(":")) return networkOf(plain);
  return `${addressGroup(plain).split(":", 3).join(":")}::/48`;
}
