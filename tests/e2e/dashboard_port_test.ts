import assert from "node:assert/strict";
import { runMailapp, Workspace } from "../support/mailapp.ts";

Deno.test("the dashboard says what to do where its port is taken, as the servers do", async () => {
  await using workspace = await Workspace.create();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  const config = await workspace.configure({ dashboard: { listen: `127.0.0.1:${port}` } });
  const { code, stdout, stderr } = await runMailapp(["dashboard", "--config", config]);
  assert.equal(code, 69, stdout + stderr);
  assert.match(
    stdout + stderr,
    new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port}: another program has that port`),
  );
});
