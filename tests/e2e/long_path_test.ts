import assert from "node:assert/strict";
import { makeFolder } from "../support/peers/folder.ts";
import { startServeOut } from "../support/peers/mailapp.ts";
import { sendRaw } from "../support/peers/raw_smtp.ts";

Deno.test("serve-out in a directory too deep for a socket says so, and takes mail", async () => {
  await using folder = await makeFolder("x".repeat(100));
  await using serveOut = await startServeOut({ folder, routes: { "*": "127.0.0.1:9" } });
  const { error } = await serveOut.event("control.failed");
  assert.match(
    String(error),
    /^the path has \d+ octets, and that of a socket at most 103: make data_dir shorter$/,
  );
  const data = new TextEncoder().encode("Subject: x\r\n\r\n");
  assert.match(await sendRaw({ port: serveOut.port, from: "", to: ["a@x.test"], data }), /^250 /);
});
