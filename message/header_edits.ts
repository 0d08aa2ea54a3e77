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
  const edited: (HeaderField | undefined)[] = [...fields];
  /** Where the fields of a name stand, so that a change costs no more than the fields of its name. */
  const places = new Map<string, number[]>();
  fields.forEach(({ name }, place) => {
    const alike = places.get(name);
    if (alike === undefined) places.set(name, [place]);
    else alike.push(place);
  });
  let changed = false;
  for (const { name, index, value } of edits) {
    const lower = name.toLowerCase();
    // Lines that are not fields have no name.
    if (lower === "") continue;
    const alike = places.get(lower) ?? [];
    const one = index === "all" ? undefined : alike[index - 1];
    const meant = index === "all" ? alike : one === undefined ? [] : [one];
    for (const place of meant) {
      const field = edited[place];
      if (field === undefined || value === fieldValue(field)) continue;
      changed = true;
      edited[place] = value === undefined ? undefined : { name: lower, text: `${label(field)}:${value}` };
    }
    if (value === undefined) {
      if (index === "all") places.delete(lower);
      else if (one !== undefined) alike.splice(index - 1, 1);
    } else if (meant.length === 0) {
      alike.push(edited.push({ name: lower, text: `${name}:${value}` }) - 1);
      places.set(lower, alike);
      changed = true;
    }
  }
  return changed ? edited.filter((field) => field !== undefined) : undefined;
}

function label({ text }: HeaderField): string {
  return text.slice(0, text.indexOf(":"));
}
