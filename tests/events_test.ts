// Every event that the program logs is in observe/events.ts, and docs/logs.md is made from it.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { EVENT_GROUPS, eventOf, eventsPage } from "../observe/events.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** What is not part of the product. */
const OTHERS = /(?:^|\/)(?:node_modules|tests|bench|build|dist|\.\w[^/]*)$/;
/** A call such as `log.info("session.closed"`, and one that chooses its level. */
const CALL = /\b(?:log|logger|#log)\.(?:(error|warn|info|debug|trace)|\w+\[[^\]]*\])\(\s*"([\w.]+)"/gs;
const CHOSEN_CALL = /\b(?:log|logger)\[[^\]]*\]\(\s*"([\w.]+)"/gs;

async function* sources(directory: string): AsyncGenerator<readonly [path: string, text: string]> {
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    if (isDirectory) {
      if (!OTHERS.test(path) && !path.endsWith("observe/events")) yield* sources(path);
    } else if (name.endsWith(".ts") && !name.endsWith("_test.ts") && name !== "events.ts") {
      yield [path, await Deno.readTextFile(path)];
    }
  }
}

/** Paragraphs and rows of tables, without what `deno fmt` makes of them: padded cells, wrapped lines. */
function blocks(markdown: string): string[] {
  return markdown.replace(/-{3,}/g, "---").split(/\n(?=\n|\||#)/).map((block) =>
    block.trim().replace(/\s+/g, " ")
  )
    .filter((block) => block !== "");
}

const texts = new Map(await Array.fromAsync(sources(ROOT.replace(/\/$/, ""))));

Deno.test("every call that logs an event names one of observe/events.ts, at a level that stands there", () => {
  const unknown: string[] = [];
  let calls = 0;
  for (const [path, text] of texts) {
    for (const [, level, name = ""] of text.matchAll(CALL)) {
      calls++;
      const row = eventOf(name);
      if (row === undefined) unknown.push(`${path}: ${name}`);
      else if (level !== undefined && !row[1].split(", ").includes(level)) {
        unknown.push(`${path}: ${name} at ${level}`);
      }
    }
    for (const [, name = ""] of text.matchAll(CHOSEN_CALL)) {
      if (eventOf(name) === undefined) unknown.push(`${path}: ${name}`);
    }
  }
  assert.deepEqual(unknown, []);
  assert.ok(calls > 100, `only ${calls} calls were found: the expression does not fit the code`);
});

Deno.test("every event of observe/events.ts is logged somewhere", () => {
  const all = [...texts.values()].join("\n");
  const dead = EVENT_GROUPS.flatMap(({ events }) => events).map(([name]) => name).filter((name) =>
    !all.includes(name.endsWith(".*") ? `\`${name.slice(0, -1)}` : `"${name}"`)
  );
  assert.deepEqual(dead, []);
});

Deno.test("no event is listed twice", () => {
  const names = EVENT_GROUPS.flatMap(({ events }) => events).map(([name]) => name);
  assert.deepEqual(names.filter((name, index) => names.indexOf(name) !== index), []);
});

Deno.test("docs/logs.md lists the events as observe/events.ts does (deno task logs-page)", async () => {
  const page = await Deno.readTextFile(`${ROOT}/docs/logs.md`);
  const written = page.slice(page.indexOf("\n## Events\n") + "\n## Events\n".length);
  assert.deepEqual(blocks(written), blocks(eventsPage()));
});
