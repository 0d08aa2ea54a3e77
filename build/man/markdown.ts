/**
 * The Markdown of docs/ as roff: headings, paragraphs, lists, tables, blocks of code, links.
 *
 * @module
 */
import { bold, italic, paragraph, roffText, section, subsection, tagged, verbatim } from "./roff.ts";

/** The page below its title. */
export function markdownToRoff(text: string): string {
  const out: string[] = [];
  const lines = text.split("\n");
  let at = 0;
  const takeWhile = (test: (line: string) => boolean): string[] => {
    const from = at;
    while (at < lines.length && test(lines[at] ?? "")) at++;
    return lines.slice(from, at);
  };
  while (at < lines.length) {
    const line = lines[at] ?? "";
    const [, marks = "", heading = ""] = /^(#+) (.*)$/.exec(line) ?? [];
    if (line.trim() === "") at++;
    else if (marks !== "") {
      at++;
      if (marks.length === 2) out.push(section(plain(heading)));
      else if (marks.length > 2) out.push(subsection(plain(heading)));
    } else if (line.startsWith("```")) {
      at++;
      out.push(verbatim(takeWhile((line) => !line.startsWith("```")).join("\n")));
      at++;
    } else if (line.startsWith("|")) out.push(...table(takeWhile((line) => line.startsWith("|"))));
    else if (/^(?:-|\d+\.) /.test(line)) {
      at++;
      const [, mark = "", first = ""] = /^(-|\d+\.) +(.*)$/.exec(line) ?? [];
      const rest = takeWhile((line) => /^ +\S/.test(line));
      const item = inline([first, ...rest.map((line) => line.trim())].join("\n"));
      out.push(`.IP ${mark === "-" ? "\\(bu 2" : `${mark} 4`}\n${item}\n`);
    } else {out.push(paragraph(inline(
        takeWhile((line) => /^(?!#|```|\||-  ?\S|\d+\. )\S/.test(line)).join("\n") || skip(),
      )));}
  }
  return out.join("");

  /** A line that nothing else takes, so that there is an end. */
  function skip(): string {
    return lines[at++] ?? "";
  }
}

function table(rows: readonly string[]): string[] {
  const cells = rows.map((row) => row.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim()));
  const [, , ...body] = cells;
  return body.map(([first = "", ...others]) =>
    tagged(inline(first), others.map(inline).filter((text) => text !== "").join("\n.br\n"))
  );
}

/** Text with code in bold and links by their words. */
function inline(text: string): string {
  const withoutLinks = text.replaceAll(/\[([^\]]+)\]\([^)\s]+\)/g, "$1").replaceAll("\\|", "|");
  return withoutLinks.split(/(`[^`]+`|\*\*[^*]+\*\*|\b_[^_\s]+_\b)/).map((part) => {
    if (part.startsWith("`")) return bold(part.slice(1, -1));
    if (part.startsWith("_")) return italic(part.slice(1, -1));
    return part.startsWith("**") ? bold(part.slice(2, -2)) : roffText(part);
  }).join("");
}

function plain(text: string): string {
  return text.replaceAll(/[`*]/g, "");
}
