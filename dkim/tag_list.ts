/**
 * Tag lists, as DKIM keys, DMARC and their kin write their records (RFC 6376 §3.2): `v=DKIM1; k=rsa; p=…`.
 *
 * @module
 */

/**
 * The tags, by name in lower case and in order; white space around names and values is gone. `undefined` where the
 * text is no tag list: a part without `=`, a name that is none, a name twice.
 */
export function parseTagList(text: string): ReadonlyMap<string, string> | undefined {
  const tags = new Map<string, string>();
  const parts = text.split(";");
  if (parts.at(-1)?.trim() === "") parts.pop();
  for (const part of parts) {
    const [, name, value = ""] = /^\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*([\s\S]*?)\s*$/.exec(part) ?? [];
    if (name === undefined || tags.has(name.toLowerCase())) return undefined;
    tags.set(name.toLowerCase(), value);
  }
  return tags;
}
