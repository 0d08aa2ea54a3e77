// serve-out started on a spool whose files were cut, emptied, changed and joined by others while it was not running.
import assert from "node:assert/strict";
import { basename } from "@std/path";
import { Workspace } from "../support/mailapp.ts";
import { names } from "./checked_message.ts";
import {
  configureServeOut,
  handOver,
  Receiver,
  relayOne,
  serveOut,
  SpoolFiles,
  untilEmpty,
} from "./serve_out_setting.ts";

Deno.test("serve-out started on a damaged spool puts aside what is damaged, and delivers the rest", async () => {
  await using workspace = await Workspace.create();
  await using receiver = new Receiver();
  const files = new SpoolFiles(workspace);
  receiver.atDot = () => Promise.resolve("refuse");
  const config = await configureServeOut(workspace, receiver.port);
  const accept = async () => {
    const { server, port } = await serveOut(config);
    await using _ = server;
    const handed = [];
    for (let number = 0; number < 8; number++) {
      const message = await handOver(port);
      handed.push(message);
      await server.event("attempt.deferred", { where: { id: message.queueId } });
    }
    assert.equal(await server.stop(), 0);
    return handed;
  };
  const [whole, cut, empty, head, body, state, stateless, last] = await accept();
  assert.ok(whole && cut && empty && head && body && state && stateless && last);
  const change = (path: string, at: (size: number) => number) => {
    const bytes = Deno.readFileSync(path);
    const index = at(bytes.length);
    bytes[index] = (bytes[index] ?? 0) ^ 1;
    Deno.writeFileSync(path, bytes);
  };
  Deno.truncateSync(files.message(cut.queueId), Deno.statSync(files.message(cut.queueId)).size - 1);
  Deno.truncateSync(files.message(empty.queueId), 0);
  change(files.message(head.queueId), () => 30);
  change(files.message(body.queueId), (size) => size - 20);
  change(files.state(state.queueId), (size) => size >> 1);
  Deno.removeSync(files.state(stateless.queueId));
  const shard = files.at("messages", whole.queueId.slice(-2));
  const foreign = ["note.txt", "a folder"];
  Deno.writeTextFileSync(`${shard}/note.txt`, "remember the milk\n");
  Deno.mkdirSync(`${shard}/a folder`);
  Deno.writeTextFileSync(files.at("incoming", whole.queueId), "half of somethi");
  Deno.writeTextFileSync(files.at("journal"), `{"dotSent":"${whole.queueId}","reci\n`, { append: true });

  receiver.atDot = () => Promise.resolve("take");
  const { server, port } = await serveOut(config);
  await using _ = server;
  for (const { id, digest } of [whole, stateless, last]) {
    await receiver.has(id);
    assert.deepEqual(receiver.copies(id).map((copy) => copy.digest), [digest]);
  }
  const damaged = [cut, empty, head, body, state].map(({ queueId }) => queueId);
  const wanted = [...damaged, ...foreign, "journal"].sort();
  const aside = new Set<string>();
  // An entry may be told of twice, once for each of its files.
  for (let count = 0; aside.size < wanted.length; count++) {
    const event = await server.event("queue.damaged", { after: count });
    assert.equal(event["level"], "error");
    assert.notEqual(event["reason"], "");
    aside.add(basename(String(event["file"])).replace(".json", ""));
  }
  assert.deepEqual([...aside].sort(), wanted);
  for (const name of [...damaged, ...foreign]) assert.ok(names(files.at("damaged")).includes(name), name);
  assert.deepEqual(names(files.at("incoming")), []);
  for (const { id } of [cut, empty, head, body, state]) assert.deepEqual(receiver.copies(id), []);
  await relayOne(port, receiver);
  await untilEmpty(server, files);
  assert.equal(await server.stop(), 0);
  assert.deepEqual(files.ids(), []);
});
