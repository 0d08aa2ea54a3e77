import assert from "node:assert/strict";
import { errorText } from "./error_text.ts";

Deno.test("errorText() gives the message of whatever was thrown", () => {
  assert.equal(errorText(new TypeError("no such thing")), "no such thing");
  assert.equal(errorText(new DOMException("too late", "TimeoutError")), "too late");
  assert.equal(errorText(new Deno.errors.NotFound("")), "NotFound");
  for (const [thrown, text] of [["a text", "a text"], [undefined, "undefined"], [7, "7"]]) {
    assert.equal(errorText(thrown), text);
  }
});

Deno.test("errorText() gives the system's words and the path, without numbers and calls", async () => {
  const directory = Deno.makeTempDirSync();
  const tried = [
    [() => Deno.readTextFile(`${directory}/none`), `No such file or directory: ${directory}/none`],
    [() => Deno.readTextFile(directory), `Is a directory: ${directory}`],
    [() => Deno.mkdir(directory), `File exists: ${directory}`],
    [
      () => Deno.rename(`${directory}/a`, `${directory}/b`),
      `No such file or directory: ${directory}/a -> ${directory}/b`,
    ],
    [() => Deno.stat(`${directory}/it's`), `No such file or directory: ${directory}/it's`],
  ] as const;
  for (const [call, text] of tried) {
    const error = await (call() as Promise<unknown>).then(() => undefined, (error: unknown) => error);
    assert.equal(errorText(error), text);
  }
  assert.equal(errorText(new Error("Connection refused (os error 111)")), "Connection refused");
  Deno.removeSync(directory);
});
