/**
 * Text files as editors and web forms leave them.
 *
 * @module
 */

/** The text without a byte order mark, which some editors put first. */
export function withoutByteOrderMark(text: string): string {
  return text.startsWith("\ufeff") ? text.slice(1) : text;
}

/** PEM text without byte order mark and without white space around its lines, which is to be ignored (RFC 7468 §2). */
export function normalizePem(text: string): string {
  return withoutByteOrderMark(text).split("\n").map((line) => line.trim()).join("\n");
}
