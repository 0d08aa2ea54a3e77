// serve-out stopped for longer than its deadlines, as by SIGSTOP, a frozen container or a paused virtual machine: an
// answer that came meanwhile counts (behaviour.md, 44).
import assert from "node:assert/strict";
import { Workspace } from "../support/mailapp.ts";
import { configureServeOut, handOver, Receiver, serveOut } from "./serve_out_setting.ts";

const DATA_END = 1_000;

Deno.test("serve-out sends nothing twice whose final dot was answered while it was stopped for longer than data_end", async () => {
  await using workspace = await Workspace.create();
  await using receiver = new Receiver();
  const config = await configureServeOut(workspace, receiver.port, {
    timeouts: { data_end: `${DATA_END / 1000}s` },
  });
  const { server, port } = await serveOut(config);
  await using _server = server;
  const count = 4;
  const stopped = Promise.withResolvers<"take">();
  const waiting = Array.from({ length: count }, () => Promise.withResolvers<void>());
  let dots = 0;
  receiver.atDot = () => {
    waiting[dots++]?.resolve();
    return stopped.promise;
  };
  const messages = [];
  for (const { promise } of waiting) {
    messages.push(await handOver(port));
    await promise;
  }
  server.signal("SIGSTOP");
  receiver.atDot = () => Promise.resolve("take");
  stopped.resolve("take");
  for (const { id } of messages) await receiver.has(id);
  // What is under test is that this much time has passed.
  await new Promise((resolve) => setTimeout(resolve, 2 * DATA_END));
  server.signal("SIGCONT");
  for (const { queueId } of messages) await server.event("queue.done", { where: { id: queueId } });
  assert.deepEqual(messages.map(({ id }) => receiver.copies(id).length), Array(count).fill(1));
  assert.deepEqual(server.events.filter(({ event }) => event === "attempt.deferred"), []);
});
