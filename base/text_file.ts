/**
 * Text files as editors and web forms leave them.
 *
 * @module
 */

/** The text without a byte order mark, which some editors put first. */
export function withoutByteOrderMark(text: string): string {
  return text.startsWith("\ufeff") ? text.slice(1) : text;
}

/**
 * PEM text without byte order mark and without white space around its lines, which is to be ignored (RFC 7468 §2), and
 * without empty lines around it. Lines end with LF, whatever they ended with.
 */
export function normalizePem(text: string): string {
  const lines = withoutByteOrderMark(text).split(/\r\n?|\n/).map((line) => line.trim());
  return `${lines.join("\n").trim()}\n`;
}
