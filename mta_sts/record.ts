/**
 * The TXT record by which a domain says that it has an MTA-STS policy, and which (RFC 8461 §3.1).
 *
 * @module
 */

// The version comes first; other fields in any order, unknown ones ignored.
const FIELD = /^[ \t]*([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*=[ \t]*(?:([!-:<>-~]+)[ \t]*)?$/;
const ID = /^[A-Za-z0-9]{1,32}$/;
/** Longer records are none of ours to read; characters. */
const MAX_RECORD = 1024;

/**
 * The policy id of the TXT records at `_mta-sts.DOMAIN`; `undefined` where there is no policy: no record that begins
 * with `v=STSv1`, several of them, or one without a valid id.
 */
export function policyId(records: readonly string[]): string | undefined {
  const [record, ...others] = records.filter((text) => /^v=STSv1[ \t]*(?:;|$)/.test(text));
  if (record === undefined || others.length > 0 || record.length > MAX_RECORD) return undefined;
  const ids: string[] = [];
  for (const part of record.split(";").slice(1)) {
    if (part.trim() === "") continue;
    const [, name, value = ""] = FIELD.exec(part) ?? [];
    if (name === undefined) return undefined;
    if (name === "id") ids.push(value);
  }
  const [id, second] = ids;
  return id !== undefined && second === undefined && ID.test(id) ? id : undefined;
}
