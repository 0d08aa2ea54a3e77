/**
 * Comments (RFC 5322 §3.2.2), which ARC takes where DKIM takes none.
 *
 * @module
 */

/**
 * The text with a space in the place of each comment; one that does not end is no comment. In time linear in the text.
 * @param until the character after which the text stays as it is, if it stands in no comment
 */
export function withoutComments(text: string, { until }: { readonly until?: string } = {}): string {
  let result = "";
  let depth = 0;
  /** What is not in `result` yet begins here: text, or a comment. */
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "(") {
      if (depth++ > 0) continue;
      result += text.slice(start, at);
      start = at;
    } else if (depth > 0 && character === "\\") {
      at++;
    } else if (depth > 0 && character === ")") {
      if (--depth > 0) continue;
      result += " ";
      start = at + 1;
    } else if (depth === 0 && character === until) {
      break;
    }
  }
  return result + text.slice(start);
}
