import assert from "node:assert/strict";
import { isInstalled, testWith, testWithData } from "./requires.ts";
import { sharedPath } from "./shared.ts";

Deno.test("isInstalled() looks on PATH and at paths", () => {
  assert.ok(isInstalled("sh"));
  assert.ok(isInstalled("/bin/sh"));
  assert.ok(!isInstalled("/bin"));
  assert.ok(!isInstalled("no-such-program-of-that-name"));
});

testWith(["sh"], "testWith() runs a test whose programs are there", () => {});

Deno.test("sharedPath() knows what is missing", () => {
  assert.equal(sharedPath("no-such-data"), undefined);
});

testWithData("README.md", { name: "testWithData() gives the path of the data" }, async (path) => {
  assert.ok((await Deno.stat(path)).isFile);
});
