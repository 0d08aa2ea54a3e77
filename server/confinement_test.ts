import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { runMailapp } from "../tests/support/mailapp.ts";
import { fromSource } from "../tests/support/program.ts";

const program = fromSource(fileURLToPath(new URL("../tests/support/dying_server.ts", import.meta.url)));

for (
  const { way, says } of [
    { way: "closes", says: /^mailapp: serve-in has crashed: its thread does not answer$/m },
    { way: "hangs", says: /^mailapp: serve-in has crashed: its thread does not answer$/m },
    { way: "throws", says: /^mailapp: serve-in has crashed: Uncaught SyntaxError: /m },
    { way: "rejects", says: /^mailapp: serve-in has crashed: Uncaught \(in promise\) Error: unhandled$/m },
  ]
) {
  Deno.test(`confine() ends with 70 when the server's thread ${way}`, async () => {
    const { code, stderr } = await runMailapp([way], { program });
    assert.match(stderr, says);
    assert.equal(code, 70);
  });
}

Deno.test("confine() tells a server the routes of the machine before it starts", async () => {
  const { code, stderr } = await runMailapp(["looks"], { program });
  assert.deepEqual([code, stderr], [0, ""]);
});
