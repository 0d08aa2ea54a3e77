/**
 * The authserv-id of an Authentication-Results field (RFC 8601 §2.2): whose verdict the field claims to be.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { normalizeDomain } from "../net/domain_name.ts";

/**
 * Whether a reader may take the field for one that this server wrote (§5). Comments and white space may precede
 * the name, it may be quoted, and some readers drop comments inside it. Control characters, and white space that
 * is not ASCII, count as white space, since readers trim what their language calls white space. A field where this
 * cannot be determined counts as a forged one. Each character is looked at once.
 * @param value unfolded, one character an octet
 * @param hostname this server's name, in lower case with A-labels
 * @param whole whether it is all of the value; of a longer one its beginning is enough, if the name is in it
 */
export function claimsToBeOurs(
  value: string,
  { hostname, whole }: { readonly hostname: string; readonly whole: boolean },
): boolean {
  /** The first word, and all up to the semicolon, without comments and white space. */
  let word: string | undefined;
  let all = "";
  let depth = 0;
  let quoted = false;
  let ended = false;
  for (let at = 0; at < value.length && !ended; at++) {
    const character = value.charAt(at);
    if (character === "\\") {
      at++;
      if (depth === 0) all += value.charAt(at);
    } else if (quoted) {
      if (character === '"') quoted = false;
      else all += character;
    } else if (character === "(") {
      depth++;
      if (all !== "") word ??= all;
    } else if (depth > 0) {
      if (character === ")") depth--;
    } else if (character === '"') quoted = true;
    else if (character === ";") ended = true;
    else if (character <= " " || character === "\x7f" || character === "/") {
      if (all !== "") word ??= all;
    } else all += character;
  }
  const unclear = depth > 0 || quoted || all === "" || (!ended && !whole);
  return unclear || isName(all, hostname) || (word !== undefined && isName(word, hostname));
}

function isName(text: string, hostname: string): boolean {
  // A longer one is not a name.
  if (text.length > 512) return false;
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  // One character an octet: what is above 127 is UTF-8.
  if (!/[\u0080-\u00ff]/.test(name)) return name.toLowerCase() === hostname;
  const written = Buffer.from(text, "latin1").toString("utf8").replace(/\s/g, "");
  return normalizeDomain(written) === hostname;
}
