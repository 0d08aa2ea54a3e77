/**
 * The Authentication-Results field (RFC 8601): what the checks found, on the face of the message.
 *
 * @module
 */

/** What one method found (§2.2, "resinfo"). */
export interface MethodResult {
  /** Registered with IANA: `spf`, `dkim`, `dmarc`, `arc`, `iprev`, `dnswl` … */
  readonly method: string;
  /** In the method's own words, such as `pass`. */
  readonly result: string;
  /** For people, in parentheses after the result; cut at 200 characters. */
  readonly comment?: string;
  /** Why, for programs; cut at 200 characters. */
  readonly reason?: string;
  /** What was looked at, such as `["smtp", "mailfrom", "a@example.com"]`; one that cannot be written is left out. */
  readonly properties?: readonly Property[];
}

/** Type, name and value of a property. The first two are our own words. */
export type Property = readonly [
  type: "smtp" | "header" | "body" | "policy" | "dns",
  name: string,
  value: string,
];

const FIELD = "Authentication-Results:";
const WIDTH = 78;
const MAX_TEXT = 200;
// A reverse-path has at most 254 characters (RFC 5321 §4.5.3.1.3); no line may have more than 998.
const MAX_VALUE = 320;
const MAX_RESULTS = 50;

/**
 * Writes the field, with the name of the server that made the checks and without a line end at the end. Its lines end
 * with CRLF and have at most 78 characters where their words allow it, 998 in any case. Whatever the texts hold, it
 * stays one field of printable ASCII. More than 50 results are cut.
 *
 * @example
 * ```ts
 * import { writeAuthenticationResults } from "./authentication_results.ts";
 *
 * writeAuthenticationResults("mx.example.com", [
 *   { method: "spf", result: "pass", properties: [["smtp", "mailfrom", "a@example.net"]] },
 * ]);
 * // Authentication-Results: mx.example.com;\r\n\tspf=pass smtp.mailfrom=a@example.net
 * ```
 */
export function writeAuthenticationResults(authservId: string, results: readonly MethodResult[]): string {
  const lines = [`${FIELD} ${writeValue(authservId) ?? "localhost"};`];
  if (results.length === 0) lines[0] += " none";
  const shown = results.slice(0, MAX_RESULTS);
  for (const [index, result] of shown.entries()) {
    let line = "";
    const words = writeResult(result);
    for (const [at, word] of words.entries()) {
      const text = at === words.length - 1 && index < shown.length - 1 ? `${word};` : word;
      if (line !== "" && line.length + 1 + text.length > WIDTH) {
        lines.push(line);
        line = "";
      }
      line += `${line === "" ? "\t" : " "}${text}`;
    }
    lines.push(line);
  }
  return lines.join("\r\n");
}

/** The words of a result; a line may be folded between them. */
function writeResult({ method, result, comment, reason, properties = [] }: MethodResult): string[] {
  return [
    `${method}=${result}`,
    ...(comment === undefined ? [] : writeComment(comment)),
    ...(reason === undefined ? [] : [`reason=${quote(printable(reason, MAX_TEXT))}`]),
    ...properties.flatMap(([type, name, value]) => {
      const written = writePropertyValue(value);
      return written === undefined ? [] : [`${type}.${name}=${written}`];
    }),
  ];
}

function writeComment(text: string): string[] {
  // Semicolons and quotation marks would be allowed, and mislead readers that look for no comments.
  const safe = printable(text, MAX_TEXT).replace(/\(/g, "[").replace(/\)/g, "]").replace(/[\\;"]/g, "?")
    .trim();
  return safe === "" ? [] : `(${safe})`.split(/ +/);
}

const TOKEN = /^[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+$/;
const ADDRESS =
  /^(?:[!#$%&'*+\-/=?0-9A-Z^_`a-z{|}~]+(?:\.[!#$%&'*+\-/=?0-9A-Z^_`a-z{|}~]+)*)?@[a-z0-9_.-]+$/i;

/** A `pvalue`: a token, a quoted string, or an address; `undefined` for what is too long or no printable ASCII. */
function writePropertyValue(value: string): string | undefined {
  return value.length <= MAX_VALUE && ADDRESS.test(value) ? value : writeValue(value);
}

function writeValue(value: string): string | undefined {
  if (value === "" || value.length > MAX_VALUE || /[^\x20-\x7e]/.test(value)) return undefined;
  return TOKEN.test(value) ? value : quote(value);
}

function quote(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** The text in ASCII, with `?` for anything else, cut where it is too long. */
function printable(text: string, longest: number): string {
  const clipped = text.length > longest ? `${text.slice(0, longest - 3)}...` : text;
  return clipped.replace(/[^\x20-\x7e]/g, "?");
}
