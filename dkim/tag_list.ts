/**
 * Tag lists, as DKIM keys, DMARC and their kin write their records (RFC 6376 §3.2): `v=DKIM1; k=rsa; p=…`.
 *
 * @module
 */

/** How names are told apart. */
export interface TagListOptions {
  /** Whether names in upper case are other names, as in DKIM signatures and keys (RFC 6376 §3.2); by default not. */
  readonly caseSensitive?: boolean;
}

/** No record and no signature has as many; a hostile one of 64 KiB could have thousands. */
const MAX_TAGS = 100;

/**
 * The tags, by name and in order; white space around names and values is gone. Names are in lower case unless
 * `caseSensitive`. `undefined` where the text is not a tag list: a part without `=`, a name that is none, a name twice; or
 * more than 100 tags. Takes time linear in the text.
 */
export function parseTagList(
  text: string,
  { caseSensitive = false }: TagListOptions = {},
): ReadonlyMap<string, string> | undefined {
  const tags = new Map<string, string>();
  const parts = text.split(";", MAX_TAGS + 2);
  if (trimSpace(parts.at(-1) ?? "") === "") parts.pop();
  if (parts.length > MAX_TAGS) return undefined;
  for (const part of parts) {
    const equals = part.indexOf("=");
    if (equals < 0) return undefined;
    const written = trimSpace(part.slice(0, equals));
    const name = caseSensitive ? written : written.toLowerCase();
    if (!/^[A-Za-z][A-Za-z0-9_-]*$/.test(name) || tags.has(name)) return undefined;
    tags.set(name, trimSpace(part.slice(equals + 1)));
  }
  return tags;
}

/** The text without folding white space around it; other space, such as the no-break space, is text. */
function trimSpace(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isSpace(text.charCodeAt(start))) start++;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isSpace(code: number): boolean {
  return code === 32 || code === 9 || code === 13 || code === 10;
}
