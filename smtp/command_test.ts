import assert from "node:assert/strict";
import { parseCommand } from "./command.ts";

Deno.test("parseCommand() takes verb and argument apart", () => {
  assert.deepEqual(parseCommand("mail FROM:<a@b.test>  \t"), { verb: "MAIL", argument: "FROM:<a@b.test>" });
  assert.deepEqual(parseCommand("NOOP"), { verb: "NOOP", argument: "" });
  assert.deepEqual(parseCommand(""), { verb: "", argument: "" });
  assert.deepEqual(parseCommand(" NOOP"), { verb: "", argument: "NOOP" });
  assert.deepEqual(parseCommand("NOOP  x"), { verb: "NOOP", argument: "x" });
  assert.deepEqual(parseCommand("DATA\t"), { verb: "DATA", argument: "" });
  assert.deepEqual(parseCommand("MAIL \t FROM: <a@b.test> \u00a0"), {
    verb: "MAIL",
    argument: "FROM: <a@b.test> \u00a0",
  });
  assert.equal(parseCommand("x".repeat(1000)).verb.length, 32);
});
