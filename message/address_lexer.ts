/**
 * Splits an address list (RFC 5322 §3.2, §3.4) into tokens.
 *
 * @module
 */

/**
 * The kind of a token. `word`: a run of other characters, dots included; `other`: a character without meaning where it
 * stands unquoted, such as `)`; `end`: no more tokens.
 */
export type AddressToken =
  | "word"
  | "quoted"
  | "comment"
  | "literal"
  | "<"
  | ">"
  | "@"
  | ","
  | ";"
  | ":"
  | "other"
  | "end";

const BACKSLASH = 0x5c;
const SPACE = 1;
/** The kind of token that each ASCII character begins: an index into `TOKENS`, or `SPACE`. */
const CLASSES = new Uint8Array(128);
const TOKENS: AddressToken[] = ["word", "word"];
for (const character of " \t\r\n") CLASSES[character.charCodeAt(0)] = SPACE;
for (const token of ["<", ">", "@", ",", ";", ":"] as const) enter(token, token);
enter("quoted", '"');
enter("literal", "[");
enter("comment", "(");
enter("other", ")]\\");

function enter(token: AddressToken, characters: string): void {
  for (const character of characters) CLASSES[character.charCodeAt(0)] = TOKENS.length;
  TOKENS.push(token);
}

/** Reads a text token by token; looks at each character at most twice. */
export class AddressLexer {
  readonly #text: string;
  /** Where the token begins. */
  start = 0;
  /** Where it ends. */
  end = 0;
  /** Whether white space or a comment stands before it. */
  spaced = false;
  /** Whether a quoted string, comment or literal is closed. */
  closed = true;

  /** Stands before the first token. */
  constructor(text: string) {
    this.#text = text;
  }

  /** Advances to the next token, and returns its kind. */
  next(): AddressToken {
    const text = this.#text;
    const length = text.length;
    let at = this.end;
    while (at < length && classOf(text.charCodeAt(at)) === SPACE) at++;
    this.spaced = at > this.end || this.#behindComment;
    this.#behindComment = false;
    this.closed = true;
    this.start = this.end = at;
    if (at === length) return "end";
    const first = text.charCodeAt(at);
    const token = TOKENS[classOf(first)] as AddressToken;
    switch (token) {
      case "word":
        while (at < length && classOf(text.charCodeAt(at)) === 0) at++;
        this.end = at;
        return token;
      case "quoted":
        this.end = this.#closing(at + 1, 0x22);
        return token;
      case "literal":
        this.end = this.#closing(at + 1, 0x5d);
        return token;
      case "comment":
        this.end = this.#commentEnd(at);
        this.#behindComment = true;
        return token;
    }
    // A backslash quotes the next character, here too.
    this.end = first === BACKSLASH ? Math.min(at + 2, length) : at + 1;
    return token;
  }

  #behindComment = false;

  #closing(start: number, closing: number): number {
    const text = this.#text;
    for (let at = start; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === BACKSLASH) at++;
      else if (code === closing) return at + 1;
    }
    this.closed = false;
    return text.length;
  }

  #commentEnd(start: number): number {
    const text = this.#text;
    let depth = 0;
    for (let at = start; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === BACKSLASH) at++;
      else if (code === 0x28) depth++;
      else if (code === 0x29 && --depth === 0) return at + 1;
    }
    this.closed = false;
    return text.length;
  }
}

function classOf(code: number): number {
  return code < 128 ? CLASSES[code] as number : 0;
}
