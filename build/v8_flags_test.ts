import assert from "node:assert/strict";
import project from "../deno.json" with { type: "json" };
import { V8_FLAGS } from "./v8_flags.ts";

Deno.test("The program from source gets the flags of the built one", () => {
  assert.ok(project.tasks.mailapp.command.includes(` --v8-flags=${V8_FLAGS} `));
});
