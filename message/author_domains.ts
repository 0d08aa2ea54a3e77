/**
 * The domains of the addresses in a From field (RFC 5322 §3.6.2): who a message claims to be from.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { normalizeDomain } from "../net/domain_name.ts";

/**
 * The domains in the field's value, one for each address, in lower case with A-labels; addresses without a domain, or
 * with an address literal, are left out.
 * @param value behind the colon, one character a byte
 */
export function authorDomains(value: string): string[] {
  return splitAddresses(plainText(value)).flatMap((item) => {
    const [, inBrackets] = /<([^<>]*)>[^<>]*$/.exec(item) ?? [];
    const address = inBrackets ?? item;
    const at = address.lastIndexOf("@");
    // A UTF-8 address (RFC 6532) has its domain as U-labels.
    const name = Buffer.from(address.slice(at + 1).replace(/[ \t\r\n]/g, ""), "latin1").toString("utf8");
    const domain = at < 0 ? undefined : normalizeDomain(name);
    return domain === undefined ? [] : [domain];
  });
}

/** The value without comments, and with `q` for each quoted string: what is in them is no syntax. */
function plainText(value: string): string {
  let text = "";
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < value.length; i++) {
    const character = value[i] ?? "";
    if (quoted || depth > 0) {
      if (character === "\\") i++;
      else if (quoted) quoted = character !== '"';
      else if (character === "(") depth++;
      else if (character === ")") depth--;
    } else if (character === "(") depth++;
    else if (character === '"') {
      quoted = true;
      text += "q";
    } else text += character;
  }
  return text;
}

/** Cut at commas, at the ends of groups and behind their names, but for those within angle brackets (source routes). */
function splitAddresses(text: string): string[] {
  return text.match(/(?:<[^<>]*>|[^,;:<])+/g) ?? [];
}
