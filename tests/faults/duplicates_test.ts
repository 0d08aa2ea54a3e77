// mailapp duplicates, held against what real servers have done: each message that arrived twice is listed with its
// reason, and each that an operator or time stopped; and nothing else is.
import assert from "node:assert/strict";
import { runMailapp, type RunningMailapp, Workspace } from "../support/mailapp.ts";
import {
  configureServeOut,
  handOver,
  Receiver,
  relayOne,
  serveOut,
  SpoolFiles,
} from "./serve_out_setting.ts";

interface Listed {
  readonly kind: string;
  readonly id: string;
  readonly why?: string;
  readonly what?: string;
  readonly again_at?: string;
  readonly released_at?: string;
}

/** What the command lists of the logs of these processes. */
async function listed(
  workspace: Workspace,
  { config, servers }: { readonly config: string; readonly servers: readonly RunningMailapp[] },
): Promise<Listed[]> {
  const log = workspace.file("log");
  const lines = servers.flatMap(({ events }) => events.map((event) => `${JSON.stringify(event)}\n`));
  await Deno.writeTextFile(log, lines.join(""));
  const { code, stdout, stderr } = await runMailapp([
    "duplicates",
    "--json",
    "--config",
    config,
    "--log",
    log,
  ]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Listed[];
}

Deno.test("mailapp duplicates lists what arrived twice: an answer that was lost, a process that was killed, a restored queue", async () => {
  await using workspace = await Workspace.create();
  await using receiver = new Receiver();
  const config = await configureServeOut(workspace, receiver.port);
  const files = new SpoolFiles(workspace);
  const first = await serveOut(config);
  await using _first = first.server;

  await relayOne(first.port, receiver);
  receiver.atDot = () => {
    receiver.atDot = () => Promise.resolve("take");
    return Promise.resolve("lose");
  };
  const lost = await handOver(first.port);
  await receiver.has(lost.id, 2);
  await first.server.event("queue.done", { where: { id: lost.queueId } });

  const dot = Promise.withResolvers<void>();
  const held = Promise.withResolvers<"take">();
  receiver.atDot = () => {
    dot.resolve();
    receiver.atDot = () => Promise.resolve("take");
    return held.promise;
  };
  const killed = await handOver(first.port);
  await dot.promise;
  first.server.signal("SIGKILL");
  await first.server.ended();
  held.resolve("take");
  await receiver.has(killed.id);
  const second = await serveOut(config);
  await using _second = second.server;
  await receiver.has(killed.id, 2);
  await second.server.event("queue.done", { where: { id: killed.queueId } });

  receiver.atDot = () => Promise.resolve("refuse");
  const restored = await handOver(second.port);
  await second.server.event("attempt.deferred", { where: { id: restored.queueId } });
  second.server.signal("SIGSTOP");
  await copy(files.path, workspace.file("backup"));
  receiver.atDot = () => Promise.resolve("take");
  second.server.signal("SIGCONT");
  await receiver.has(restored.id);
  await second.server.event("queue.done", { where: { id: restored.queueId } });
  assert.equal(await second.server.stop(), 0);
  await Deno.remove(files.path, { recursive: true });
  await Deno.rename(workspace.file("backup"), files.path);
  const third = await serveOut(config);
  await using _third = third.server;
  await receiver.has(restored.id, 2);
  await third.server.event("queue.done", { where: { id: restored.queueId } });

  const found = await listed(workspace, { config, servers: [first.server, second.server, third.server] });
  const twice = new Map(
    [...new Set(receiver.arrivals.map(({ id }) => id))].filter((id) => receiver.copies(id).length > 1).map((
      id,
    ) => [receiver.copies(id)[0]?.queueId, id] as const),
  );
  assert.deepEqual(
    found.filter(({ kind, again_at }) => kind === "duplicate" && again_at !== undefined).map(({ id }) => id)
      .sort(),
    [...twice.keys()].sort(),
  );
  assert.equal(twice.size, 3);
  const why = (queueId: string) => found.find(({ id }) => id === queueId)?.why ?? "";
  assert.match(why(lost.queueId), /no answer to the final dot/);
  assert.match(why(killed.queueId), /dot/);
  assert.match(why(restored.queueId), /restored from a copy/);
});

Deno.test("mailapp duplicates lists what was held, removed and returned by hand", async () => {
  await using workspace = await Workspace.create();
  await using receiver = new Receiver();
  receiver.atDot = () => Promise.resolve("refuse");
  const config = await configureServeOut(workspace, receiver.port, { retry: ["1h"] });
  const { server, port } = await serveOut(config);
  await using _server = server;
  const waiting = async () => {
    const { id, queueId } = await handOver(port);
    await server.event("attempt.deferred", { where: { id: queueId } });
    return { id, queueId };
  };
  const operate = async (action: string, id: string) => {
    const { code, stderr, stdout } = await runMailapp(["queue", action, id, "--config", config]);
    assert.equal(code, 0, stderr + stdout);
  };
  const [held, released, removed, returned] = [
    await waiting(),
    await waiting(),
    await waiting(),
    await waiting(),
  ];
  for (const { queueId } of [held, released, removed, returned]) await operate("hold", queueId);
  await operate("remove", removed.queueId);
  await operate("bounce", returned.queueId);
  receiver.atDot = () => Promise.resolve("take");
  await operate("release", released.queueId);
  await receiver.has(released.id);
  const found = await listed(workspace, { config, servers: [server] });
  assert.deepEqual(
    found.map(({ id, what, released_at }) => [id, what, released_at !== undefined]),
    [
      [held.queueId, "held", false],
      [released.queueId, "held", true],
      [removed.queueId, "held", false],
      [returned.queueId, "held", false],
      [removed.queueId, "removed", false],
      [returned.queueId, "returned", false],
    ],
  );
});

async function copy(from: string, to: string): Promise<void> {
  const { code } = await new Deno.Command("cp", { args: ["-a", from, to] }).output();
  assert.equal(code, 0);
}
