/**
 * The header section of a message, field by field (RFC 5322 §2.2).
 *
 * @module
 */

/** A header field as it came. */
export interface HeaderField {
  /** In lower case; `""` for a line that is no field. */
  readonly name: string;
  /** Name, colon and value with its line breaks, without the last CRLF; one character a byte. */
  readonly text: string;
}

/**
 * The fields of a header section, from the top.
 * @param section without the empty line that ends it; one character a byte
 */
export function headerFields(section: string): HeaderField[] {
  if (section === "") return [];
  return section.split(/\r\n(?![ \t])/).filter((text) => text !== "").map((text) => ({
    name: fieldName(text),
    text,
  }));
}

/** What stands behind the colon of a field. */
export function fieldValue({ text }: HeaderField): string {
  return text.slice(text.indexOf(":") + 1);
}

/** Only space and tab are white space here: a byte that is a no-break space in Latin-1 is part of a word. */
function fieldName(text: string): string {
  const colon = text.indexOf(":");
  const [, name = ""] = /^([!-9;-~]+)[ \t]*$/.exec(text.slice(0, Math.max(colon, 0))) ?? [];
  return name.toLowerCase();
}
