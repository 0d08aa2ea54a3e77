import assert from "node:assert/strict";
import { join } from "@std/path";
import { until } from "../tests/support/until.ts";
import { tailOf } from "./log_tail.ts";

/** Follows a log in a directory of its own; `lines` are those that came so far. */
async function following(
  names: readonly string[],
  use: (log: { path(name: string): string; readonly lines: readonly string[] }) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "mailapp-tail-" });
  const stopping = new AbortController();
  const path = (name: string) => join(directory, name);
  const lines: string[] = [];
  try {
    const pieces = tailOf(names.map(path), { signal: stopping.signal })[Symbol.asyncIterator]();
    // It has seen where the files end as soon as it comes back with a line of each.
    const first = pieces.next();
    const reading = (async () => {
      for (let piece = await first; !piece.done; piece = await pieces.next()) {
        lines.push(...piece.value.split("\n").slice(0, -1));
      }
    })();
    for (const name of names) {
      await until(async () => {
        await Deno.writeTextFile(path(name), "begin\n", { append: true });
        return lines.includes("begin");
      }, "the first line");
      lines.length = 0;
    }
    await use({ path, lines });
    stopping.abort();
    await reading;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const add = (path: string, text: string) => Deno.writeTextFile(path, text, { append: true });

Deno.test("tailOf() yields what was written to a file before and after it was rotated away, and then the next one", async () => {
  await following(["mailapp.log"], async ({ path, lines }) => {
    const seen = (...expected: readonly string[]) =>
      until(
        () => expected.every((line) => lines.includes(line)),
        `${expected} of ${lines}`,
      );
    using server = await Deno.open(path("mailapp.log"), { append: true });
    const write = (text: string) => server.write(new TextEncoder().encode(text));
    await write("one\ntwo, ");
    await seen("one");
    // All of this between two looks: the end of a line, a rotation, a line to the old file, one to the new.
    await write("in two pieces\nbefore\n");
    await Deno.rename(path("mailapp.log"), path("mailapp.log.1"));
    await write("after the rotation\n");
    await add(path("mailapp.log"), "new\n");
    await seen("two, in two pieces", "before", "after the rotation", "new");
    assert.ok(lines.indexOf("before") < lines.indexOf("new"), String(lines));
    // The server has not reopened its log yet.
    await write("late\n");
    await seen("late");
    await add(path("mailapp.log"), "newer\n");
    await seen("newer");
    assert.equal(new Set(lines.filter((line) => line !== "begin")).size, 7);
  });
});

Deno.test("tailOf() waits for a file that is not there yet, follows several, and starts again in one that was emptied", async () => {
  await following(["in.log", "out.log"], async ({ path, lines }) => {
    await add(path("in.log"), "in 1\n");
    await add(path("out.log"), "out 1\n");
    await until(() => lines.includes("in 1") && lines.includes("out 1"), "both");
    await Deno.remove(path("in.log"));
    await Deno.truncate(path("out.log"));
    await until(async () => {
      await add(path("in.log"), "in 2\n");
      await add(path("out.log"), "out 2\n");
      return lines.includes("in 2") && lines.includes("out 2");
    }, "both again");
  });
});
