/**
 * Line numbers of the keys of a TOML file, for messages only: the parser has no positions.
 *
 * @module
 */
const KEY = String.raw`(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*')`;
const DOTTED = String.raw`${KEY}(?:\s*\.\s*${KEY})*`;
const HEADER = new RegExp(String.raw`^\s*\[\s*(${DOTTED})\s*\]`);
const ASSIGNMENT = new RegExp(String.raw`^\s*(${DOTTED})\s*=(.*)`, "s");
const PART = new RegExp(KEY, "g");

/**
 * The line, from 1, of the key at this path or else of the nearest table above it; `undefined` when neither is found.
 * Takes one key a line as people write them; a key inside an inline table has the line of the table.
 */
export function lineOfKey(text: string, path: readonly PropertyKey[]): number | undefined {
  const lines = keyLines(text);
  for (let length = path.length; length > 0; length--) {
    const line = lines.get(joined(path.slice(0, length)));
    if (line !== undefined) return line;
  }
  return undefined;
}

function keyLines(text: string): Map<string, number> {
  const lines = new Map<string, number>();
  let table: string[] = [];
  let openString: string | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    if (openString !== undefined) {
      if (line.includes(openString)) openString = undefined;
      continue;
    }
    const header = HEADER.exec(line)?.[1];
    const [, key, value] = ASSIGNMENT.exec(line) ?? [];
    const path = header === undefined ? [...table, ...parts(key ?? "")] : parts(header);
    if (header !== undefined) table = path;
    if (header !== undefined || key !== undefined) {
      const name = joined(path);
      if (!lines.has(name)) lines.set(name, index + 1);
    }
    const quotes = /"""|'''/.exec(value ?? "")?.[0];
    if (quotes !== undefined && (value ?? "").split(quotes).length === 2) openString = quotes;
  }
  return lines;
}

function parts(dotted: string): string[] {
  return [...dotted.matchAll(PART)].map(([part]) => part.replace(/^(["'])(.*)\1$/s, "$2"));
}

function joined(path: readonly PropertyKey[]): string {
  return path.map(String).join("\0");
}
