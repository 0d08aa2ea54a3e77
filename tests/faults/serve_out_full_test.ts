// serve-out with a spool on a file system without any room left, octets or files: what was accepted leaves, through
// restarts too, operators get their answers, and nothing is lost or doubled without a record.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";
import { run } from "./disk.ts";
import {
  configureServeOut,
  type Handed,
  handOver,
  Receiver,
  serveOut,
  SpoolFiles,
  unanswered,
  untilEmpty,
} from "./serve_out_setting.ts";
import { asRoot } from "./setting.ts";

/** A file system in memory that others fill up to the last octet and the last file. */
class TinyDisk implements AsyncDisposable {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  static async mount(path: string, { size, files }: { size: string; files: number }): Promise<TinyDisk> {
    await Deno.mkdir(path, { recursive: true });
    await run(
      "mount",
      "-t",
      "tmpfs",
      "-o",
      `size=${size},nr_inodes=${files},mode=0755`,
      "mailapp-test",
      path,
    );
    return new TinyDisk(path);
  }

  /** Takes what is left. */
  fill(): void {
    const others = join(this.#path, "others");
    try {
      Deno.mkdirSync(others, { recursive: true });
      for (let n = 0; n < 100_000; n++) {
        Deno.writeFileSync(join(others, `${n}`), new Uint8Array(n === 0 ? 1 << 30 : 1));
      }
    } catch {
      // Nothing is left.
    }
    try {
      for (let n = 100_000;; n++) {
        Deno.openSync(join(others, `${n}`), { createNew: true, write: true }).close();
      }
    } catch {
      // Nor a file.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("umount", "--lazy", this.#path);
  }
}

const DISKS = [
  { name: "without a file left", size: "64m", files: 300, octets: 2_000 },
  { name: "without an octet left", size: "6m", files: 100_000, octets: 60_000 },
];

/** Hands over messages until one is refused for want of room. */
async function fillUp(port: number, octets: number): Promise<Handed[]> {
  const handed: Handed[] = [];
  for (;;) {
    const message = await handOver(port, { octets });
    if (!message.reply.startsWith("250 ")) {
      assert.match(message.reply, /^452 4\.3\.1 /);
      return handed;
    }
    handed.push(message);
    assert.ok(handed.length < 1000);
  }
}

for (const { name, size, files, octets } of DISKS) {
  testWith(asRoot("mount"), `serve-out on a disk ${name} empties itself once its host is back`, async () => {
    await using workspace = await Workspace.create();
    await using disk = await TinyDisk.mount(workspace.file("state"), { size, files });
    await using receiver = new Receiver();
    const config = await configureServeOut(workspace, receiver.port);
    receiver.atDot = () => Promise.resolve("refuse");
    const { server, port } = await serveOut(config);
    await using _ = server;
    const handed = await fillUp(port, octets);
    assert.ok(handed.length >= 20, `${handed.length} messages`);
    disk.fill();
    for (const { queueId } of handed) await server.event("attempt.deferred", { where: { id: queueId } });
    receiver.atDot = () => Promise.resolve("take");
    const retried = await runMailapp(["queue", "retry", "--all", "--config", config]);
    // 75: all are being sent just then.
    assert.ok(retried.code === 0 || retried.code === 75, retried.stderr);
    for (const { id, queueId } of handed) {
      await receiver.has(id);
      await server.event("queue.done", { where: { id: queueId } });
    }
    for (const { id } of handed) assert.equal(receiver.copies(id).length, 1);
    assert.equal(await server.stop(), 0);
    assert.deepEqual(new SpoolFiles(workspace).ids(), []);
  });

  testWith(asRoot("mount"), `serve-out starts on a disk ${name}, and empties it`, async () => {
    await using workspace = await Workspace.create();
    await using disk = await TinyDisk.mount(workspace.file("state"), { size, files });
    await using receiver = new Receiver();
    const spool = new SpoolFiles(workspace);
    const config = await configureServeOut(workspace, receiver.port);
    receiver.atDot = () => Promise.resolve("refuse");
    const first = await serveOut(config);
    await using before = first.server;
    const handed = await fillUp(first.port, octets);
    disk.fill();
    // One is killed between its dot and the answer.
    const dot = Promise.withResolvers<void>();
    receiver.atDot = async () => {
      dot.resolve();
      before.signal("SIGKILL");
      await before.ended();
      return "refuse";
    };
    await dot.promise;
    await before.ended();
    disk.fill();

    // No recipient gets anything: an operator looks, and removes one.
    const listed = await runMailapp(["queue", "list", "--json", "--config", config]);
    assert.equal(listed.code, 0, listed.stderr);
    assert.equal(JSON.parse(listed.stdout).length, handed.length);
    const [removed] = handed;
    assert.ok(removed);
    const removal = await runMailapp(["queue", "remove", removed.queueId, "--config", config]);
    assert.equal(removal.code, 0, removal.stderr);
    disk.fill();

    receiver.atDot = () => Promise.resolve("take");
    const { server } = await serveOut(config);
    await using _ = server;
    const others = handed.filter(({ id }) => id !== removed.id);
    for (const { id } of others) await receiver.has(id);
    await untilEmpty(server, spool);
    const doubtful = unanswered(server, spool);
    for (const { id, queueId } of others) {
      const copies = receiver.copies(id).length;
      assert.ok(copies === 1 || (copies === 2 && doubtful.has(queueId)), `${queueId}: ${copies} copies`);
    }
    assert.deepEqual(receiver.copies(removed.id), []);
    assert.equal(await server.stop(), 0);
    assert.deepEqual(spool.ids(), []);
  });
}
