/**
 * Wraps text at a width.
 *
 * @module
 */

/** How to wrap. */
export interface WrapOptions {
  /** Characters of a line, the indent included; default: 76. A word that is longer has its own line. */
  readonly width?: number;
  /** The prefix of each line; default: none. */
  readonly indent?: string;
  /** The prefix of the first line, in place of `indent`. */
  readonly firstIndent?: string;
  /** The length above which a word is split; default: words are never split. */
  readonly longest?: number;
}

/** Breaks text at its spaces into lines; at least one. */
export function wrap(
  text: string,
  { width = 76, indent = "", firstIndent = indent, longest = Infinity }: WrapOptions = {},
): string[] {
  const lines: string[] = [];
  let start = firstIndent;
  let line: string | undefined;
  const end = () => {
    lines.push(start + (line ?? ""));
    start = indent;
    line = undefined;
  };
  for (const word of text.split(" ")) {
    if (line !== undefined && start.length + line.length + 1 + word.length > width) end();
    let from = 0;
    while (word.length - from > longest) {
      const cut = wholeCharacters(word, from, from + longest);
      line = word.slice(from, cut);
      end();
      from = cut;
    }
    const rest = from === 0 ? word : word.slice(from);
    line = line === undefined || line === "" ? rest : `${line} ${rest}`;
  }
  if (line !== "" || lines.length === 0) end();
  return lines;
}

/** Where to split without breaking a surrogate pair. */
function wholeCharacters(text: string, from: number, end: number): number {
  const last = text.charCodeAt(end - 1);
  return last >= 0xd800 && last < 0xdc00 && end - 1 > from ? end - 1 : end;
}

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Foreign text with `?` for what could move a cursor, hide text or add a line. */
export function maskUnprintable(text: string): string {
  return text.replace(UNPRINTABLE, "?");
}
