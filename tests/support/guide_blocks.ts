/**
 * The blocks of a page of docs/guide, or of one of its sections, for tests that do what it says.
 *
 * @module
 */
import assert from "node:assert/strict";

/** What the guide has one type. */
export interface Block {
  readonly kind: "sh" | "console";
  readonly text: string;
}

/** A guide, or what is in it below a heading. */
async function readGuide(guide: string, section?: string): Promise<string> {
  const text = await Deno.readTextFile(new URL(`../../docs/guide/${guide}.md`, import.meta.url));
  if (section === undefined) return text;
  const [, found = ""] = text.split(`\n## ${section}\n`);
  assert.notEqual(found, "", `${guide}: ${section}`);
  return found.split("\n## ", 1)[0] ?? "";
}

/** What is to be written into the configuration. */
export async function readSettings(guide: string, section?: string): Promise<string> {
  const text = await readGuide(guide, section);
  const [, settings = ""] = /^```toml\n\[[^\]]+\]\n([^]*?)^```$/m.exec(text) ?? [];
  assert.notEqual(settings, "", guide);
  return settings;
}

/** The blocks of commands, in order. */
export async function readBlocks(guide: string, section?: string): Promise<Block[]> {
  const text = await readGuide(guide, section);
  return [...text.matchAll(/^```(sh|console)\n([^]*?)^```$/gm)].map(([, kind, text = ""]) => ({
    kind: kind === "sh" ? "sh" : "console",
    text,
  }));
}
