import assert from "node:assert/strict";
import { StorageError } from "../storage/storage_error.ts";
import { EXIT } from "./exit_codes.ts";
import { reportFailure } from "./failure.ts";

function report(error: unknown): { code: number; said: string } {
  let said = "";
  const code = reportFailure(error, { err: (text) => void (said += text) });
  return { code, said };
}

Deno.test("reportFailure() tells what the system refused in one line, and a defect of the program with where it is", () => {
  const directory = Deno.makeTempDirSync();
  const calls: readonly (() => unknown)[] = [
    () => Deno.readTextFileSync(directory),
    () => Deno.openSync(directory, { write: true }),
    () => Deno.mkdirSync(directory),
    () => Deno.readTextFileSync(`${directory}/none`),
    () => {
      throw new StorageError("sync", {
        path: directory,
        cause: new Error("Input/output error (os error 5)"),
      });
    },
  ];
  for (const call of calls) {
    try {
      call();
    } catch (error) {
      const { code, said } = report(error);
      assert.match(said, /^mailapp: [^\n]*\n$/);
      assert.ok(said.includes(directory), said);
      assert.equal(code, EXIT.unavailable);
      continue;
    }
    assert.fail("it succeeded");
  }
  Deno.removeSync(directory);
  for (const defect of [new TypeError("x is not a function"), new RangeError("out of it")]) {
    const { code, said } = report(defect);
    assert.match(said, /^mailapp: (?:Type|Range)Error: [^]*failure_test\.ts/);
    assert.equal(code, EXIT.software);
  }
});
