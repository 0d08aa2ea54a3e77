import assert from "node:assert/strict";
import { join } from "@std/path";
import { fileSource } from "./log_files.ts";
import { linesWith, searchLog } from "./log_search.ts";
import { withWriter, writerOf } from "./log_writers.ts";

const READY = (server: string) =>
  `{"time":"2026-11-30T10:00:00.000Z","level":"info","event":"server.ready","server":"${server}"}`;
const STORED = '{"time":"2026-11-30T10:00:01.000Z","level":"info","event":"message.accepted","id":"mi1"}';

for (
  const { title, lines, writer } of [
    { title: "the server that starts there", lines: [READY("serve-in"), STORED], writer: "serve-in" },
    { title: "the file where none starts", lines: [STORED], writer: "incoming" },
    {
      title: "the file where several start",
      lines: [READY("serve-in"), READY("serve-out")],
      writer: "incoming",
    },
    {
      title: "the server of a log in text",
      lines: ["2026-11-30T10:00:00.000Z INFO  server.ready server=serve-out"],
      writer: "serve-out",
    },
  ]
) {
  Deno.test(`writerOf() names ${title}`, async () => {
    const directory = await Deno.makeTempDir();
    const path = join(directory, "incoming.log");
    await Deno.writeTextFile(path, lines.map((line) => `${line}\n`).join(""));
    assert.equal(await writerOf(path, [fileSource(path)]), writer);
    await Deno.remove(directory, { recursive: true });
  });
}

Deno.test("searchLog() and withWriter() add the server alike, and only where a line names none", async () => {
  const lines = [STORED, READY("serve-in"), "2026-11-30T10:00:01.000Z INFO  message.accepted id=mi1", "else"];
  const text = lines.map((line) => `${line}\n`).join("");
  const source = (text: string, server?: string) => ({
    name: "",
    begins: () => Promise.resolve(0),
    async *pieces() {
      yield await Promise.resolve(text);
    },
    ...(server !== undefined && { server }),
  });
  const found = (source: Parameters<typeof searchLog>[0][number]) =>
    Array.fromAsync(
      searchLog([source], {
        find: linesWith("INFO", { anyCase: true }),
        range: { since: 0, until: Infinity },
      }),
    );
  const marked = await found(source(withWriter(text, "serve-out")));
  assert.deepEqual(marked.map(({ fields }) => fields["server"]), ["serve-out", "serve-in", "serve-out"]);
  assert.deepEqual(await found(source(text, "serve-out")), marked);
});
