/**
 * mailapp.toml(5), from config.example.toml.
 *
 * @module
 */
import { bold, paragraph, roffText, section, subsection, tagged, title } from "./roff.ts";
import type { ManualPage, PageOptions } from "./commands.ts";

/** The page. */
export function settingsPage(example: string, options: PageOptions): ManualPage {
  const [head = "", ...rest] = example.split("\n\n");
  const parts = [
    title({ name: "mailapp.toml", number: 5, ...options }),
    section("Name"),
    "mailapp.toml \\- configuration of mailapp\n",
    section("Description"),
    paragraph(
      `${bold("mailapp")} reads \\fI/etc/mailapp/config.toml\\fR, or the file that ${
        bold("\\-\\-config".replaceAll("\\", ""))
      } or ` +
        `${bold("MAILAPP_CONFIG")} names. It is in TOML. ${bold("mailapp check-config")} checks it, ` +
        `${bold("mailapp config")} shows what differs from the defaults.`,
    ),
    paragraph(roffText(comments(head.split("\n")))),
    section("Settings"),
    ...rest.join("\n\n").split("\n").flatMap(settingLine),
    section("See also"),
    paragraph(`${bold("mailapp")}(1), ${bold("mailapp-check-config")}(1), ${bold("mailapp-config")}(1)`),
  ];
  return { file: "mailapp.toml.5", text: parts.join("") };
}

function comments(lines: readonly string[]): string {
  return lines.map((line) => line.replace(/^# ?/, "")).join("\n");
}

/** A table, a key, or a comment between them. */
function settingLine(line: string): string[] {
  if (line === "") return [];
  const [, table, about = ""] = /^(?:# )?\[([\w.-]+)\](?:\s*#\s?(.*))?$/.exec(line) ?? [];
  if (table !== undefined) {
    return [subsection(`[${table}]`), ...(about === "" ? [] : [paragraph(roffText(about))])];
  }
  const [, off, key, rest = ""] = /^(# )?([\w"*.-]+) = (.*)$/.exec(line) ?? [];
  if (key === undefined) return [paragraph(roffText(line.replace(/^# ?/, "")))];
  const [value, why] = splitComment(rest);
  const shown = `${bold(key)} = ${roffText(value)}`;
  return [tagged(shown, `${off === undefined ? "" : "(no default) "}${roffText(why)}` || "\\&")];
}

/** The value and the comment after it; a `#` in quotes is part of the value. */
function splitComment(text: string): [value: string, comment: string] {
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '"') quoted = !quoted;
    if (text[at] === "#" && !quoted) return [text.slice(0, at).trim(), text.slice(at + 1).trim()];
  }
  return [text.trim(), ""];
}
