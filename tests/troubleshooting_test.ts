// docs/guide/troubleshooting.md says what the program says: texts of doctor, log, replies and errors, by their sources.
import assert from "node:assert/strict";
import { EVENT_GROUPS } from "../observe/events.ts";

const ROOT = new URL("../", import.meta.url);

/** Rooms whose texts people see. */
const ROOMS = ["cli", "config", "doctor", "maildir", "net", "relay", "server", "smtp", "submit", "tls"];

async function* sources(directory: URL): AsyncGenerator<URL> {
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    if (isDirectory) yield* sources(new URL(`${name}/`, directory));
    else if (name.endsWith(".ts") && !name.endsWith("_test.ts")) yield new URL(name, directory);
  }
}

/** Each source as one line, its strings joined where `+` does so. */
async function readTexts(rooms: readonly string[]): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const room of rooms) {
    for await (const url of sources(new URL(`${room}/`, ROOT))) {
      const text = await Deno.readTextFile(url);
      texts.set(
        url.href.slice(ROOT.href.length),
        text.replaceAll(/["`]\s*\+\s*["`]/g, "").replaceAll('\\"', '"'),
      );
    }
  }
  return texts;
}

/** The first cells of the tables. */
async function symptoms(): Promise<string[]> {
  const page = await Deno.readTextFile(new URL("docs/guide/troubleshooting.md", ROOT));
  return page.split("\n").filter((line) => /^\| (?!you see|---)/.test(line)).map((line) =>
    line.split(" | ")[0]?.slice(2) ?? ""
  );
}

const spans = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code);
const isEvent = (code: string) => /^[a-z]+(?:_[a-z]+)*(?:\.[a-z_]+)+$/.test(code);

Deno.test("each text of troubleshooting.md is one that the program writes", async () => {
  const texts = await readTexts(ROOMS);
  const foundIn = (quote: string) =>
    [...texts.values()].some((text) => quote.split("…").every((part) => text.includes(part.trim())));
  assert.ok(!foundIn("the mail server has gone for lunch"));
  // What is not a sentence is a command, a setting or a code.
  const quotes = (await symptoms()).flatMap(spans).map((code) => code.replace(/^\d{3} \d\.\d+\.\d+ /, ""))
    .filter((code) => !isEvent(code) && /\S \S+ \S/.test(code));
  assert.deepEqual(quotes.filter((quote) => !foundIn(quote)), []);
  assert.ok(quotes.length > 25, `${quotes.length}`);
});

Deno.test("troubleshooting.md has each event of level error, and names none that is not there", async () => {
  const cells = await symptoms();
  const named = new Set(cells.flatMap(spans).filter(isEvent));
  const rows = EVENT_GROUPS.flatMap(({ events }) => events);
  const errors = rows.filter(([, levels]) => /\berror\b/.test(levels)).map(([name]) => name);
  // What dsn.held needs is in the table about sending.
  assert.deepEqual(errors.filter((name) => !named.has(name)), []);
  assert.deepEqual([...named].filter((name) => !rows.some(([event]) => event === name)), []);
});

Deno.test("troubleshooting.md quotes doctor, and names in every row where to look", async () => {
  const doctor = [...(await readTexts(["doctor"])).values()].join("\n");
  const cells = await symptoms();
  const quoted = cells.flatMap(spans).filter((code) =>
    /\S \S+ \S/.test(code) && code.split("…").every((part) => doctor.includes(part.trim()))
  );
  assert.ok(quoted.length >= 9, quoted.join("\n"));
  const page = await Deno.readTextFile(new URL("docs/guide/troubleshooting.md", ROOT));
  const rows = page.split("\n").filter((line) => /^\| (?!you see|---)/.test(line)).map((line) =>
    line.slice(2, -2).split(" | ")
  );
  for (const row of rows) {
    assert.equal(row.length, 4, row.join(" | "));
    assert.ok(row.every((cell) => cell.trim() !== ""), row.join(" | "));
    assert.match(row[1] ?? "", /`|\]\(/, row.join(" | "));
  }
});
