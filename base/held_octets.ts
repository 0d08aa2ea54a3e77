/**
 * How much memory a value holds, roughly: what a bound in octets counts by.
 *
 * @module
 */

// A field, an element, a header of V8's: what an object costs besides what it refers to.
const OVERHEAD = 16;
/** What lies deeper is not counted: nothing that is kept here is that deep. */
const MAX_DEPTH = 8;

/** The octets of strings, byte arrays, and objects and arrays of these; two for each character. Other things count little. */
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
