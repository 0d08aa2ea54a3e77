/**
 * Values with parameters, such as those of Content-Type and Content-Disposition (RFC 2045 §5.1, RFC 2183 §2).
 *
 * @module
 */
import { AddressLexer } from "./address_lexer.ts";

/** A parameter with its position. */
export interface Parameter {
  /** In lower case. */
  readonly name: string;
  /** Without quotes. */
  readonly value: string;
  /** Where it begins in the text, at its name. */
  readonly start: number;
  /** Where it ends. */
  readonly end: number;
}

/** A value with its parameters. */
export interface ParameterizedValue {
  /** The part before the first semicolon, in lower case: `text/plain`. */
  readonly value: string;
  /** In order; no name twice. */
  readonly parameters: ReadonlyMap<string, Parameter>;
}

const TOKEN = String.raw`[!#$%&'*+\-.0-9A-Z^_\x60a-z{|}~]+`;
const VALUE = new RegExp(`^${TOKEN}(?:/${TOKEN})?$`);
const NAME = new RegExp(`^${TOKEN}$`);

/**
 * Reads a value with parameters; `undefined` where it does not follow the grammar, except that octets above 127 are
 * allowed in the values of parameters. Looks at each character a bounded number of times.
 * @param text with or without its folding
 */
export function parseParameters(text: string): ParameterizedValue | undefined {
  const words = new Words(text);
  const value = words.next() === "word" ? words.text : "";
  if (!VALUE.test(value)) return undefined;
  const parameters = new Map<string, Parameter>();
  for (let token = words.next(); token !== "end"; token = words.next()) {
    if (token !== ";") return undefined;
    // An empty one, as after a trailing semicolon, is ignored.
    if (words.peek() === ";" || words.peek() === "end") continue;
    const parameter = readParameter(words);
    if (parameter === undefined || parameters.has(parameter.name)) return undefined;
    parameters.set(parameter.name, parameter);
  }
  return { value: value.toLowerCase(), parameters };
}

function readParameter(words: Words): Parameter | undefined {
  if (words.next() !== "word") return undefined;
  const { start, text } = words;
  let equals = text.indexOf("=");
  const name = equals < 0 ? text : text.slice(0, equals);
  let rest = equals < 0 ? "" : text.slice(equals + 1);
  if (equals < 0) {
    if (words.next() !== "word" || !words.text.startsWith("=")) return undefined;
    equals = 0;
    rest = words.text.slice(1);
  }
  if (rest === "") {
    const token = words.next();
    if (token !== "word" && token !== "quoted") return undefined;
    rest = token === "word" ? words.text : words.text.slice(1, -1).replaceAll(/\\([\s\S])/g, "$1");
  }
  if (!NAME.test(name) || rest === "") return undefined;
  return { name: name.toLowerCase(), value: rest, start, end: words.end };
}

/** The tokens of a text, without comments. */
class Words {
  readonly #lexer: AddressLexer;
  readonly #value: string;
  #next: ReturnType<AddressLexer["next"]>;
  start = 0;
  end = 0;

  constructor(text: string) {
    this.#value = text;
    this.#lexer = new AddressLexer(text);
    this.#next = this.#skip();
  }

  /** The text of the last token. */
  get text(): string {
    return this.#value.slice(this.start, this.end);
  }

  peek(): string {
    return this.#next;
  }

  next(): string {
    const token = this.#next;
    const closed = this.#lexer.closed;
    this.start = this.#lexer.start;
    this.end = this.#lexer.end;
    if (token !== "end") this.#next = this.#skip();
    return closed ? token : "other";
  }

  #skip(): ReturnType<AddressLexer["next"]> {
    let token = this.#lexer.next();
    while (token === "comment" && this.#lexer.closed) token = this.#lexer.next();
    return token;
  }
}
