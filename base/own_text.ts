/**
 * Text that keeps nothing else in memory.
 *
 * @module
 */

// V8 copies what is shorter.
const SHORTEST_SLICE = 13;

/**
 * The same text in memory of its own. V8 makes a part of a longer text a pointer into that text, so who keeps a domain of
 * twenty characters out of a header field keeps the field as well.
 */
export function ownText(text: string): string {
  return text.length < SHORTEST_SLICE ? text : JSON.parse(JSON.stringify(text));
}
