import assert from "node:assert/strict";
import { errorWriter, isJournal } from "./journal.ts";

Deno.test("errorWriter() gives each line the priority of errors for the journal, and none elsewhere", () => {
  const write = (text: string, toJournal: boolean) => {
    let written = "";
    errorWriter((text) => void (written += text), { toJournal })(text);
    return written;
  };
  for (const text of ["one\n", "one\ntwo\n\nthree\n", "no end", "one\u2028line\r\n"]) {
    assert.equal(write(text, false), text);
    assert.equal(write(text, true), text.split("\n").map((line) => line && `<3>${line}`).join("\n"));
  }
});

Deno.test("isJournal() is true for the stream of standard error alone", () => {
  const { dev, ino } = Deno.statSync("/proc/self/fd/2");
  assert.ok(isJournal(`${dev}:${ino}`));
  for (const other of [undefined, "", "x", `${dev}:${Number(ino) + 1}`]) assert.ok(!isJournal(other));
});
