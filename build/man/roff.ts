/**
 * Text for the man macros of troff.
 *
 * @module
 */

/** Plain text, with what troff would understand escaped. */
export function roffText(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("'", "\\(aq").replaceAll("`", "\\(ga")
    .replaceAll("^", "\\(ha").replaceAll("~", "\\(ti").replaceAll(/(?<![^\n])\./g, "\\&.");
}

/** Text in bold. */
export function bold(text: string): string {
  return `\\fB${roffText(text)}\\fR`;
}

/** Text in italics. */
export function italic(text: string): string {
  return `\\fI${roffText(text)}\\fR`;
}

/** A heading. */
export function section(title: string): string {
  return `.SH ${quoted(title.toUpperCase())}\n`;
}

/** A heading below a section. */
export function subsection(title: string): string {
  return `.SS ${quoted(title)}\n`;
}

/** A paragraph of roff. */
export function paragraph(roff: string): string {
  return `.PP\n${roff.trim()}\n`;
}

/** What something is, with a tag in the margin; both are roff. */
export function tagged(tag: string, roff: string): string {
  return `.TP\n${tag}\n${roff.trim()}\n`;
}

/** Without the paragraphs that a heading begins by itself. */
export function tidy(roff: string): string {
  return roff.replaceAll(/(?<![^\n])(\.S[HS] [^\n]*\n)\.PP\n/g, "$1");
}

/** Lines as they are. */
export function verbatim(text: string): string {
  return `.PP\n.RS 4\n.EX\n${text.replace(/\n+$/, "").split("\n").map(roffText).join("\n")}\n.EE\n.RE\n`;
}

/** The first line of a page, such as that of mailapp(1). */
export function title(
  { name, number, version, date }: {
    readonly name: string;
    readonly number: number;
    readonly version: string;
    /** As YYYY-MM-DD. */
    readonly date: string;
  },
): string {
  return `.TH ${quoted(name.toUpperCase())} ${number} "${date}" ${quoted(`mailapp ${version}`)}\n`;
}

function quoted(text: string): string {
  return `"${roffText(text).replaceAll('"', "\\(dq")}"`;
}
