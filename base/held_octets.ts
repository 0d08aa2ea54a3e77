/**
 * Roughly how much memory a value holds, for bounds in octets.
 *
 * @module
 */

// The overhead of an object, and of each of its fields or elements, in octets.
const OVERHEAD = 16;
/** Deeper levels are not counted: nothing kept here is nested that deep. */
const MAX_DEPTH = 8;

/**
 * The octets of strings, byte arrays, and objects and arrays of these; two for each character. Other things count
 * little.
 */
export function heldOctets(value: unknown, depth = 0): number {
  if (typeof value === "string") return OVERHEAD + 2 * value.length;
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return OVERHEAD;
  if (ArrayBuffer.isView(value)) return OVERHEAD + value.byteLength;
  let octets = OVERHEAD;
  for (const part of Array.isArray(value) ? value : Object.values(value)) {
    octets += heldOctets(part, depth + 1);
  }
  return octets;
}
