/**
 * The samples of output in docs/guide/prove-it.md, each behind a comment with its name: `<!-- sample: prove -->`. With
 * MAILAPP_WRITE_SAMPLES=1 the tests write them anew from what the program prints.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const PAGE = fileURLToPath(new URL("../../docs/guide/prove-it.md", import.meta.url));

/** Whether the page is to be written anew. */
export const WRITES = Deno.env.get("MAILAPP_WRITE_SAMPLES") === "1";

const block = (name: string) => new RegExp(`(<!-- sample: ${name} -->\\n\\n\`\`\`\\n)([^]*?)(\`\`\`\\n)`);

/** The sample of this name. */
export function readSample(name: string): string {
  const [, , text] = block(name).exec(Deno.readTextFileSync(PAGE)) ?? [];
  assert.ok(text !== undefined, `docs/guide/prove-it.md has no sample ${name}`);
  return text;
}

function write(name: string, text: string): void {
  const page = Deno.readTextFileSync(PAGE);
  assert.match(page, block(name));
  Deno.writeTextFileSync(
    PAGE,
    page.replace(block(name), (_, head, __, tail) => `${head}${text.trimEnd()}\n${tail}`),
  );
}

/** The sample is this very text. */
export function isSample(name: string, text: string): void {
  if (WRITES) write(name, text);
  assert.equal(readSample(name).trim(), text.trim());
}

/** Each line of the sample has the form of a line of this text: the same but for numbers and names that chance makes. */
export function hasForm(
  name: string,
  text: string,
  { keep = () => true }: { readonly keep?: (line: string) => boolean } = {},
): void {
  if (WRITES) write(name, text.split("\n").filter((line) => line !== "" && keep(line)).join("\n"));
  const forms = new Set(text.split("\n").map(formOf));
  const strange = readSample(name).split("\n").filter((line) => line !== "" && !forms.has(formOf(line)));
  assert.deepEqual(strange, [], [...forms].join("\n"));
}

function formOf(line: string): string {
  return line.replace(/selftest-\d+-[0-9a-f]{8}/g, "TOKEN")
    .replace(/ at \/\S+ \(\w+, \S+\)/, " at PATH")
    .replace(/\d+(?:\.\d+)?/g, "0");
}
