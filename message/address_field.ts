/**
 * Bare addresses in header fields, as programs on a machine write them: `To: alice`, `From: root (Cron Daemon)`.
 *
 * @module
 */

const ATEXT = String.raw`[A-Za-z0-9!#$%&'*+\-/=?^_\x60{|}~]+`;
const BARE = String.raw`${ATEXT}(?:\.${ATEXT})*`;
const SPACE = String.raw`[ \t\r\n]*`;
const COMMENT = String.raw`\([^()\\]*\)`;
// alice | root (Cron Daemon)
const PLAIN = new RegExp(String.raw`^${SPACE}${BARE}(?=${SPACE}(?:${COMMENT}${SPACE})?$)`);
// Alice <alice> | "Alice, the one" <alice> | <alice> (comment)
const PHRASE = String.raw`(?:"(?:[^"\\]|\\[^])*"|[^"<>(),:;@[\]\\])*`;
const BRACKETED = new RegExp(
  String.raw`^${PHRASE}<${SPACE}${BARE}(?=${SPACE}>${SPACE}(?:${COMMENT}${SPACE})?$)`,
);
// Complete already, in either form. The address is not looked at closely: it stays as it is.
const COMPLETE = new RegExp(
  String.raw`^(?:${PHRASE}<[^<>()]*@[^<>()]*>|${SPACE}[^"<>(),:;\\ \t\r\n]+@[^"<>(),:;\\ \t\r\n]+)` +
    String.raw`${SPACE}(?:${COMMENT}${SPACE})?$`,
);

/**
 * Completes the bare local-parts in a field's value; everything else in it stays as it is, white space and folding
 * included. `undefined` when there is nothing to complete, or when anything in the field is not plainly understood
 * (groups, nested comments, source routes): then it is not ours to touch.
 * @param value behind the colon, one character a byte
 */
export function completeAddresses(value: string, domain: string): string | undefined {
  let changed = false;
  const items: string[] = [];
  for (const item of splitItems(value)) {
    const end = PLAIN.exec(item)?.[0].length ?? BRACKETED.exec(item)?.[0].length;
    if (end !== undefined) {
      items.push(`${item.slice(0, end)}@${domain}${item.slice(end)}`);
      changed = true;
    } else if (item.trim() === "" || COMPLETE.test(item)) items.push(item);
    else return undefined;
  }
  return changed ? items.join(",") : undefined;
}

/** Splits at the commas outside quotes, comments and angle brackets. */
function splitItems(value: string): string[] {
  const items: string[] = [];
  let start = 0;
  let inside: "" | '"' | "(" | "<" = "";
  for (let i = 0; i < value.length; i++) {
    const character = value[i];
    if (character === "\\") i++;
    else if (inside === '"') inside = character === '"' ? "" : inside;
    else if (inside === "(") inside = character === ")" ? "" : inside;
    else if (inside === "<") inside = character === ">" ? "" : inside;
    else if (character === '"' || character === "(" || character === "<") inside = character;
    else if (character === ",") {
      items.push(value.slice(start, i));
      start = i + 1;
    }
  }
  items.push(value.slice(start));
  return items;
}
