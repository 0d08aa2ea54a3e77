/**
 * The lines of Dovecot's authentication protocol.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** What Dovecot answers to a request. */
export interface DovecotReply {
  /** Right, wrong, or more is wanted. */
  readonly kind: "OK" | "FAIL" | "CONT";
  /** The request's. */
  readonly id: number;
  /** Its parameters; one without a value has an empty one. */
  readonly fields: ReadonlyMap<string, string>;
}

/** Text as a parameter carries it: tabs, line ends and the escape character itself are escaped. */
function escaped(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\0\x01\t\n\r]/g, (character) => `\x01${ESCAPES[character]}`);
}

const ESCAPES: Readonly<Record<string, string>> = { "\0": "0", "\x01": "1", "\t": "t", "\n": "n", "\r": "r" };
const UNESCAPES: Readonly<Record<string, string>> = { 0: "\0", 1: "\x01", t: "\t", n: "\n", r: "\r" };

function unescaped(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/\x01(.)/gs, (_, character: string) => UNESCAPES[character] ?? character);
}

/** Asks whether a password is right: PLAIN, from a client that came by TLS. */
export function plainRequest(
  id: number,
  { login, password, address, session }: {
    readonly login: string;
    readonly password: string;
    readonly address: string;
    readonly session: string;
  },
): string {
  const response = Buffer.from(`\0${login}\0${password}`).toString("base64");
  // resp= must come last.
  const parameters = ["service=smtp", "secured", `rip=${escaped(address)}`, `session=${escaped(session)}`];
  return `AUTH\t${id}\tPLAIN\t${parameters.join("\t")}\tresp=${response}\n`;
}

/** Reads a reply; `undefined` for a line that is none. */
export function parseReply(line: string): DovecotReply | undefined {
  const [kind = "", number = "", ...parameters] = line.split("\t");
  if ((kind !== "OK" && kind !== "FAIL" && kind !== "CONT") || !/^\d{1,10}$/.test(number)) return undefined;
  const fields = new Map<string, string>();
  for (const parameter of parameters) {
    const at = parameter.indexOf("=");
    if (at === -1) fields.set(parameter, "");
    else fields.set(parameter.slice(0, at), unescaped(parameter.slice(at + 1)));
  }
  return { kind, id: Number(number), fields };
}
