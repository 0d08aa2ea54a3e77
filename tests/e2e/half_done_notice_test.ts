// A crash between a notice and the record of it, and an operator who comes before the next serve-out.
import assert from "node:assert/strict";
import { silentLogger } from "../../base/log.ts";
import { Spool } from "../../relay/spool/spool.ts";
import { runInProcess } from "../support/in_process.ts";
import { Workspace } from "../support/mailapp.ts";
import { recipient } from "../support/queue_entry.ts";
import { add, entryOf } from "../support/spool.ts";

Deno.test("queue remove and queue bounce leave a half-done notice alone while serve-out is stopped", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure({});
  const directory = workspace.file("state", "spool");
  await Deno.mkdir(workspace.file("state"), { recursive: true });
  const [notice, other] = await (async () => {
    await using spool = await Spool.open({ directory, logger: silentLogger });
    const ids = [spool.newId(), spool.newId()];
    await add(spool, [recipient("b@one.test", { status: "failed", notice: ids[0] ?? "" })]);
    for (const id of ids) {
      const entry = { ...entryOf(id, [recipient("alice@example.com")], 4), reversePath: "" };
      await spool.add(entry, new TextEncoder().encode("A: 1\r\n").subarray(0, 4));
    }
    return ids;
  })();
  const queue = async (...args: readonly string[]) => {
    const { out, err } = await runInProcess(["queue", ...args, "--config", config]);
    return out + err;
  };
  for (const action of ["remove", "bounce"]) {
    assert.match(await queue(action, notice ?? "", "--yes"), /a notice that may be half done/);
  }
  assert.doesNotMatch(await queue("remove", other ?? "", "--yes"), /half done/);
  await using spool = await Spool.open({ directory, logger: silentLogger });
  assert.equal((await spool.load(notice ?? ""))?.recipients[0]?.status, "pending");
  assert.equal(await spool.load(other ?? ""), undefined);
});
