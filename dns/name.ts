/**
 * Domain names as they are asked for and compared.
 *
 * @module
 */

/**
 * A name as it is asked and compared: lower case, no trailing dot; `undefined` where it is no domain name of at most
 * 253 octets with labels of 1–63 letters, digits, `-` and `_`.
 */
export function canonicalName(name: string): string | undefined {
  const bare = (name.endsWith(".") ? name.slice(0, -1) : name).toLowerCase();
  if (bare.length > 253) return undefined;
  return /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/.test(bare) ? bare : undefined;
}
