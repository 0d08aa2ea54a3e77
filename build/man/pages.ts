/**
 * The manual: every page, from the texts of `--help`, config.example.toml and docs/queue.md.
 *
 * @module
 */
import { describeProgram } from "../../cli/command_line/command_line.ts";
import { EXAMPLE } from "../../config/example.ts";
import { commandPages, type ManualPage, type PageOptions } from "./commands.ts";
import { markdownToRoff } from "./markdown.ts";
import { section, tidy, title } from "./roff.ts";
import { settingsPage } from "./settings.ts";

/** Other names of mailapp, and the page of each. */
export const MANUAL_ALIASES: Readonly<Record<string, string>> = {
  "sendmail.8": "mailapp-sendmail.1",
  "mailq.1": "mailapp-sendmail.1",
  "newaliases.1": "mailapp-sendmail.1",
};

/** All pages, by file. */
export async function manualPages(options: PageOptions): Promise<ManualPage[]> {
  const queue = await Deno.readTextFile(new URL("../../docs/queue.md", import.meta.url));
  const pages = [
    ...commandPages(await describeProgram(), options),
    settingsPage(EXAMPLE, options),
    {
      file: "mailapp-queue.5",
      text: title({ name: "mailapp-queue", number: 5, ...options }) + section("Name") +
        "mailapp\\-queue \\- the queue of mailapp on disk\n" + section("Description") + markdownToRoff(queue),
    },
  ];
  return pages.map(({ file, text }) => ({ file, text: tidy(text) }));
}
