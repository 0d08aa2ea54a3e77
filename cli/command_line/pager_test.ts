import assert from "node:assert/strict";
import type { Io } from "../../server/io.ts";
import { paged, type PagerTerminal } from "./pager.ts";
import { recordingIo } from "../../tests/support/in_process.ts";

// deno-lint-ignore no-control-regex
const PROMPT = /--More--[^\r]*\r\u001b\[K/;

function terminalIo(out: (text: string) => unknown): Io {
  return recordingIo({ isTerminal: true, out: (text) => void out(text) }).io;
}

/** What a command that prints `text` shows on a screen of 5 rows and 10 columns, prompt by prompt. */
async function pagesOf(
  text: string,
  { keys = [], flags = {}, size = { rows: 5, columns: 10 } }: {
    keys?: string[];
    flags?: { pager?: boolean; json?: true };
    size?: ReturnType<PagerTerminal["size"]>;
  } = {},
): Promise<string[]> {
  let shown = "";
  const io = terminalIo((text) => shown += text);
  const left = [...keys];
  const terminal: PagerTerminal = { size: () => size, keys: () => left.shift() ?? "" };
  const code = await paged((io) => {
    for (const piece of text.split(/(?<=e)/)) io.out(piece);
    return Promise.resolve(69);
  }, { flags, io, terminal });
  assert.equal(code, 69);
  return shown.split(PROMPT);
}

const lines = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, at) => `line ${from + at}\n`).join("");

Deno.test("paged() asks for a key each time that the screen is full, and not for what fits on it", async () => {
  assert.deepEqual(await pagesOf(lines(1, 4)), [lines(1, 4)]);
  assert.deepEqual(await pagesOf(lines(1, 9), { keys: [" ", " "] }), [lines(1, 4), lines(5, 8), lines(9, 9)]);
  assert.deepEqual(await pagesOf(lines(1, 9), { keys: ["\u001b[6~", "x", "\r", "q"] }), [
    lines(1, 4),
    lines(5, 8),
    lines(9, 9),
  ]);
  assert.deepEqual(await pagesOf(lines(1, 9), { keys: ["\r", "jq"] }), [
    lines(1, 4),
    lines(5, 5),
    lines(6, 6),
    "",
  ]);
});

Deno.test("paged() ends at q, Ctrl-C, Ctrl-D and the end of the input", async () => {
  for (const key of ["q", "\u0003", "\u0004", ""]) {
    assert.deepEqual(await pagesOf(lines(1, 9), { keys: [key] }), [lines(1, 4), ""]);
  }
});

Deno.test("paged() counts the rows that long and wide lines take", async () => {
  const long = `${"x".repeat(25)}\n`;
  assert.deepEqual(await pagesOf(long + long, { keys: [" "] }), [long, long]);
  const wide = `${"例".repeat(15)}\n`;
  assert.deepEqual(await pagesOf(wide + "y\nz\n", { keys: [" "] }), [`${wide}y\n`, "z\n"]);
  // One that is longer than the screen is shown all the same.
  const longest = `${"x".repeat(200)}\n`;
  assert.deepEqual(await pagesOf(longest + "y\n", { keys: [" "] }), [longest, "y\n"]);
});

Deno.test("paged() counts the rows of lines that are folded between words", async () => {
  const words = `${"x".repeat(21)} ${"y".repeat(21)} ${"z".repeat(21)}\n`;
  const folded = `${"x".repeat(21)}\n    ${"y".repeat(21)}\n    ${"z".repeat(21)}\n`;
  const size = { rows: 5, columns: 40 };
  assert.deepEqual(await pagesOf(`${words}a\nb\n`, { keys: [" "], size }), [`${folded}a\n`, "b\n"]);
});

Deno.test("paged() prints everything with --no-pager, as JSON", async () => {
  for (const options of [{ flags: { pager: false } }, { flags: { json: true } as const }]) {
    assert.deepEqual(await pagesOf(lines(1, 9), options), [lines(1, 9)]);
  }
});

Deno.test("paged() shows what a command printed before it failed", async () => {
  let shown = "";
  const io = terminalIo((text) => shown += text);
  const terminal: PagerTerminal = { size: () => ({ rows: 5, columns: 10 }), keys: () => "" };
  await assert.rejects(
    paged((io) => {
      io.out("so far\n");
      return Promise.reject(new Error("broken"));
    }, { flags: {}, io, terminal }),
    /broken/,
  );
  assert.equal(shown, "so far\n");
});
