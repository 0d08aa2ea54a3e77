/**
 * Changes to a complete header section.
 *
 * @module
 */
import { fieldValue, type HeaderField } from "./header_section.ts";

/** One change. Names are compared in lower case. */
export interface HeaderEdit {
  /** Of the field. */
  readonly name: string;
  /** Which field of that name, from the top and counted from 1, as earlier changes have left them; or all of them. */
  readonly index: number | "all";
  /** Its value from now on, folded with CRLF, one character an octet; absent: the field goes. */
  readonly value?: string;
}

/**
 * The fields after all changes, in their order; `undefined` where they change nothing. A value for a field that is not
 * there makes it the last one.
 */
export function editHeader(
  fields: readonly HeaderField[],
  edits: readonly HeaderEdit[],
): HeaderField[] | undefined {
  let edited = [...fields];
  let changed = false;
  for (const { name, index, value } of edits) {
    const lower = name.toLowerCase();
    // Lines that are not fields have no name.
    if (lower === "") continue;
    let seen = 0;
    let found = false;
    edited = edited.flatMap((field) => {
      if (field.name !== lower || (++seen !== index && index !== "all")) return [field];
      found = true;
      if (value === fieldValue(field)) return [field];
      changed = true;
      return value === undefined ? [] : [{ name: lower, text: `${label(field)}:${value}` }];
    });
    if (found || value === undefined) continue;
    edited.push({ name: lower, text: `${name}:${value}` });
    changed = true;
  }
  return changed ? edited : undefined;
}

function label({ text }: HeaderField): string {
  return text.slice(0, text.indexOf(":"));
}
