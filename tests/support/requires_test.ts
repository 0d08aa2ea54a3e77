import assert from "node:assert/strict";
import { isInstalled, testWith } from "./requires.ts";

Deno.test("isInstalled() looks on PATH and at paths", () => {
  assert.ok(isInstalled("sh"));
  assert.ok(isInstalled("/bin/sh"));
  assert.ok(!isInstalled("/bin"));
  assert.ok(!isInstalled("no-such-program-of-that-name"));
});

testWith(["sh"], "testWith() runs a test whose programs are there", () => {});
