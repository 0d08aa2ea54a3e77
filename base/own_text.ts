/**
 * Text that does not keep a longer text in memory.
 *
 * @module
 */

// V8 copies shorter texts.
const SHORTEST_SLICE = 13;

/**
 * The same text in memory of its own. V8 makes a part of a longer text a pointer into that text, so keeping a domain of
 * twenty characters from a header field would keep the whole field.
 */
export function ownText(text: string): string {
  return text.length < SHORTEST_SLICE ? text : JSON.parse(JSON.stringify(text));
}
