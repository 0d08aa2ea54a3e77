// serve-out and its database, with serve-out's own permissions, which are fewer than those of the tests of its parts.
import assert from "node:assert/strict";
import { freePort } from "../support/peers/ports.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";

Deno.test("serve-out says for each server of its database why it cannot be used", async () => {
  const ports = [freePort(), freePort()];
  const hosts = ports.map((port) => `127.0.0.1:${port}`);
  for (const password of ["", ":secret"]) {
    await using workspace = await Workspace.create();
    const urlFile = workspace.file("queue.url");
    await Deno.writeTextFile(
      urlFile,
      `postgres://mailapp${password}@${hosts.join()}/mailapp?sslmode=disable\n`,
      {
        mode: 0o600,
      },
    );
    const config = await workspace.configure({
      "serve-out": { port: freePort() },
      queue: { store: "postgres", url_file: urlFile },
    });
    const { code, stderr } = await runMailapp(["serve-out", "--config", config]);
    assert.notEqual(code, 0);
    for (const host of hosts) {
      assert.match(stderr, new RegExp(`${host}: [^;]*ECONNREFUSED[^;]*: nothing listens there`));
    }
    assert.ok(!stderr.includes("secret"));
  }
});
