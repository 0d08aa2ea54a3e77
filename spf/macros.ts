/**
 * The macros of SPF (RFC 7208 §7): their grammar and their expansion. No I/O.
 *
 * @module
 */

/** A piece of a macro-string: text as it is, or a macro to expand. */
export type Token = string | Macro;

/** `%{…}`, or `%%`, `%_` and `%-`, whose letter is what follows the percent sign. */
export interface Macro {
  /** Lower case; one of `slodiphvcrt%_-`. */
  readonly letter: string;
  /** Whether the letter was upper case: the value is URL-escaped. */
  readonly escaped: boolean;
  /** How many parts are kept, from the right, at least 1; `Infinity`: all. */
  readonly parts: number;
  /** Whether the parts are turned round before. */
  readonly reversed: boolean;
  /** What the value is split at. */
  readonly delimiters: string;
}

/** A parsed domain-spec: expanded with {@linkcode expandDomain}. */
export type DomainSpec = readonly Token[];

/** The values of the macros by letter; `undefined` for one that has none here. */
export type MacroValues = (letter: string) => string | undefined;

const MACRO = /%(?:\{([slodiphvcrt])(\d*)(r?)([.\-+,/_=]*)\}|([%_-]))/iy;
const LITERAL = /[\x21-\x24\x26-\x7e]+/y;
const LITERAL_OR_SPACE = /[\x20-\x24\x26-\x7e]+/y;
const ONLY_IN_EXPLANATIONS = "crt";
const ESCAPES: Readonly<Record<string, string>> = { "%": "%", "_": " ", "-": "%20" };
// A name has at most 253 characters, an explanation 500 of which we show; a record may have 65,535.
const MAX_TOKENS = 500;

/**
 * Splits a macro-string (§7.1) into its pieces; `undefined` where it is none, or has more than 500.
 * @param options `explanation`: spaces and the macros `c`, `r` and `t` are allowed
 */
export function parseMacros(
  text: string,
  { explanation = false }: { readonly explanation?: boolean } = {},
): Token[] | undefined {
  const tokens: Token[] = [];
  const literal = explanation ? LITERAL_OR_SPACE : LITERAL;
  for (let at = 0; at < text.length;) {
    if (tokens.length >= MAX_TOKENS) return undefined;
    const pattern = text[at] === "%" ? MACRO : literal;
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    const token = pattern === MACRO ? readMacro(match) : match[0];
    if (token === undefined) return undefined;
    if (typeof token !== "string" && !explanation && ONLY_IN_EXPLANATIONS.includes(token.letter)) {
      return undefined;
    }
    tokens.push(token);
  }
  return tokens;
}

function readMacro(match: RegExpExecArray): Macro | undefined {
  const [, letter = match[5] ?? "", digits = "", reverse = "", delimiters = ""] = match;
  const parts = digits === "" ? Infinity : Number(digits);
  // "The DIGIT transformer … MUST be nonzero" (§7.3).
  if (parts === 0) return undefined;
  const lower = letter.toLowerCase();
  return {
    letter: lower,
    escaped: letter !== lower,
    parts,
    reversed: reverse !== "",
    delimiters: delimiters === "" ? "." : delimiters,
  };
}

/** Parses a domain-spec (§7.1), which ends in a macro or in a top-level label; `undefined` where it is none. */
export function parseDomainSpec(text: string): DomainSpec | undefined {
  const tokens = parseMacros(text);
  const last = tokens?.at(-1);
  if (last === undefined) return undefined;
  if (typeof last !== "string") return tokens;
  const end = last.endsWith(".") ? last.slice(0, -1) : last;
  const dot = end.lastIndexOf(".");
  return dot >= 0 && isTopLabel(end.slice(dot + 1)) ? tokens : undefined;
}

/** Letters, digits and inner hyphens, and not digits alone. */
function isTopLabel(label: string): boolean {
  return /^[a-z0-9-]+$/i.test(label) && /[a-z-]/i.test(label) && !label.startsWith("-") &&
    !label.endsWith("-");
}

const LONGEST_NAME = 253;

/**
 * Expands a domain-spec to a name to ask for: lower case, without a trailing dot, and without as many labels on the
 * left as it takes to fit into 253 characters (§7.3). No more of it than that is ever built.
 */
export function expandDomain(spec: DomainSpec, values: MacroValues): string {
  let name = "";
  // From the right: what would be cut off on the left need not be expanded. One more for a trailing dot, one more to
  // see whether the cut falls between labels.
  for (let i = spec.length - 1; i >= 0 && name.length < LONGEST_NAME + 2; i--) {
    name = expand(spec[i] ?? "", values) + name;
  }
  if (name.endsWith(".")) name = name.slice(0, -1);
  if (name.length > LONGEST_NAME) {
    const cut = name.indexOf(".", name.length - LONGEST_NAME - 1);
    name = cut < 0 ? "" : name.slice(cut + 1);
  }
  return name.toLowerCase();
}

/** Expands the text of an explanation (§6.2), at most `limit` characters of it. */
export function expandExplanation(tokens: readonly Token[], values: MacroValues, limit: number): string {
  let text = "";
  for (const token of tokens) {
    text += expand(token, values);
    if (text.length >= limit) return text.slice(0, limit);
  }
  return text;
}

function expand(token: Token, values: MacroValues): string {
  if (typeof token === "string") return token;
  const escape = ESCAPES[token.letter];
  if (escape !== undefined) return escape;
  const value = values(token.letter) ?? "";
  const parts = split(value, token.delimiters);
  if (token.reversed) parts.reverse();
  const kept = (token.parts < parts.length ? parts.slice(-token.parts) : parts).join(".");
  return token.escaped ? escapeUrl(kept) : kept;
}

function split(value: string, delimiters: string): string[] {
  const parts: string[] = [];
  let start = 0;
  for (let i = 0; i < value.length; i++) {
    if (!delimiters.includes(value[i] ?? "")) continue;
    parts.push(value.slice(start, i));
    start = i + 1;
  }
  return [...parts, value.slice(start)];
}

/** All but the unreserved characters of RFC 3986 §2.3 as `%XX`. */
function escapeUrl(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9\-._~]/.test(character)
      ? character
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }).join("");
}
