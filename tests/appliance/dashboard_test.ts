// The dashboard of the built file, whose thread reads its modules with no more than its grants.
import assert from "node:assert/strict";
import { builtMailapp } from "../support/built.ts";
import { RunningMailapp, Workspace } from "../support/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";

Deno.test("the built file serves the dashboard", async () => {
  await using workspace = await Workspace.create();
  const port = freePort();
  const config = await workspace.configure({ dashboard: { listen: `127.0.0.1:${port}` } });
  // Without a log file it reads the journal, if there is one.
  const log = workspace.file("mailapp.log");
  await Deno.writeTextFile(log, "");
  const program = [await builtMailapp()];
  await using dashboard = new RunningMailapp(["dashboard", "--log", log, "--config", config], { program });
  await dashboard.event("dashboard.ready");
  const token = (await Deno.readTextFile(workspace.file("state", "dashboard", "token"))).trim();
  for (const path of ["/", "/queue", "/refused", "/traffic", "/health", "/trace?what=a@b.example"]) {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    assert.equal(response.status, 200, await response.text());
  }
  assert.equal(await dashboard.stop(), 0);
});
