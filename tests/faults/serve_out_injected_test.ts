// System calls of serve-out that fail (strace's fault injection): a message that cannot be stored is refused for now
// and leaves nothing behind, one that was accepted is neither lost nor doubled without a record, and the same process
// goes on.
import assert from "node:assert/strict";
import { join } from "@std/path";
import { THREADS, Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";
import { freezeOnceThere, Strace, STRACE_NEEDS } from "../support/strace.ts";
import { names } from "./checked_message.ts";
import {
  configureServeOut,
  handOver,
  Receiver,
  relayOne,
  serveOut,
  SpoolFiles,
  unanswered,
  untilEmpty,
} from "./serve_out_setting.ts";
import type { Serving } from "./setting.ts";

interface Case extends Serving {
  readonly files: SpoolFiles;
  /** The folder in `messages/` that the next message gets into. */
  readonly folder: string;
  /** What the call fails with, such as `error=EIO`. */
  readonly failure: string;
}

/** A place for faults, by the system call, on the way into the spool. */
interface Place {
  readonly name: string;
  readonly errors: readonly string[];
  /** Puts the fault in place before the last dot; resolves, as the dot is on its way, when strace is there. */
  readonly arm: (at: Case) => Promise<{ readonly strace: Promise<Strace> }>;
}

const WRITING = ["ENOSPC", "EDQUOT", "EIO"];

function armed(call: string, path?: (at: Case) => string | string[]): Place["arm"] {
  return async (at) => {
    const strace = await Strace.attach(at.server.pid, {
      inject: [`${call}:${at.failure}`],
      ...(path && { paths: [path(at)].flat() }),
    });
    return { strace: Promise.resolve(strace) };
  };
}

const PLACES: readonly Place[] = [
  { name: "open in incoming/", errors: [...WRITING, "EMFILE", "EACCES"], arm: armed("openat") },
  {
    name: "write in incoming/",
    errors: WRITING,
    arm: async ({ server, files, failure }) => {
      // Without spare files it is a new one.
      for (const name of names(files.at("spare"))) Deno.removeSync(files.at("spare", name));
      const incoming = files.at("incoming");
      const { frozen } = await freezeOnceThere(server, () => names(incoming).length > 0);
      const strace = frozen.then(async () => {
        const paths = names(incoming).map((name) => join(incoming, name));
        const strace = await Strace.attach(server.pid, { inject: [`write:${failure}`], paths });
        server.signal("SIGCONT");
        return strace;
      });
      return { strace };
    },
  },
  {
    name: "write in spare/",
    errors: WRITING,
    arm: armed("write", ({ files }) => names(files.at("spare")).map((name) => files.at("spare", name))),
  },
  {
    name: "ftruncate in spare/",
    errors: WRITING,
    arm: armed("ftruncate"),
  },
  { name: "fsync of the file", errors: WRITING, arm: armed("fsync") },
  { name: "rename into messages/", errors: [...WRITING, "EACCES"], arm: armed("rename") },
  {
    name: "open of the folder",
    errors: ["EMFILE", "EACCES", "EIO"],
    arm: armed("openat", ({ folder }) => folder),
  },
  { name: "fsync of the folder", errors: WRITING, arm: armed("fsync", ({ folder }) => folder) },
];
// Threads that take mail have no spare files.
const SUBMISSION = PLACES.filter(({ name }) => THREADS === 1 || !name.endsWith("spare/"));

testWith(
  STRACE_NEEDS,
  "serve-out takes nothing that it cannot store, and the next message all the same",
  async (t) => {
    await using workspace = await Workspace.create();
    await using receiver = new Receiver();
    const serving = await serveOut(await configureServeOut(workspace, receiver.port));
    await using server = serving.server;
    const files = new SpoolFiles(workspace);
    const relay = async () => {
      const { queueId } = await relayOne(serving.port, receiver);
      await server.event("queue.done", { where: { id: queueId } });
      return files.at("messages", queueId.slice(-2));
    };
    const folder = await relay();
    for (const { name, errors, arm } of SUBMISSION) {
      for (const error of errors) {
        await t.step(`${error} at ${name}`, async () => {
          let waiting: Promise<Strace> | undefined;
          const beforeDot = async () => {
            waiting = (await arm({ ...serving, files, folder, failure: `error=${error}` })).strace;
          };
          const { id, reply } = await handOver(serving.port, { beforeDot });
          const strace = await waiting;
          assert.ok(strace);
          await strace.detach();
          assert.ok(strace.injected > 0, strace.lines.join("\n"));
          const full = error === "ENOSPC" || error === "EDQUOT";
          assert.match(reply, full ? /^452 4\.3\.1 / : /^451 4\.3\.0 /);
          assert.deepEqual(files.ids(), []);
          assert.deepEqual(names(files.at("incoming")), []);
          await relay();
          assert.deepEqual(receiver.copies(id), []);
        });
      }
    }
    assert.equal(await server.stop(), 0);
  },
);

testWith(
  STRACE_NEEDS,
  "serve-out that cannot write down what it does loses nothing, and doubles nothing without a record",
  async (t) => {
    await using workspace = await Workspace.create();
    await using receiver = new Receiver();
    const config = await configureServeOut(workspace, receiver.port);
    const files = new SpoolFiles(workspace);
    await using running = new AsyncDisposableStack();
    let { server, port } = await serveOut(config);
    running.use(server);
    await relayOne(port, receiver);

    for (const error of ["ENOSPC", "EIO"]) {
      await t.step(`${error}: a dot that cannot be written down is not sent`, async () => {
        let strace: Strace | undefined;
        receiver.beforeData = async () => {
          strace ??= await Strace.attach(server.pid, {
            inject: [`fsync:error=${error}`],
            paths: [files.at("journal")],
          });
        };
        const { id, queueId } = await handOver(port);
        const deferred = await server.event("attempt.deferred", { where: { id: queueId } });
        await strace?.detach();
        assert.equal(deferred["status"], "4.3.0");
        assert.equal(deferred["dot_sent_no_reply"], undefined);
        await server.event("queue.done", { where: { id: queueId } });
        assert.equal(receiver.copies(id).length, 1);
        receiver.beforeData = () => Promise.resolve();
        // Before, it accepts nothing.
        if (error === "ENOSPC") await server.event("queue.reserve_whole");
      });
    }

    await t.step("a state that cannot get its place is written again before the next attempt", async () => {
      let strace: Strace | undefined;
      receiver.atDot = async () => {
        if (strace !== undefined) return "take";
        strace = await Strace.attach(server.pid, { inject: ["rename:error=EIO"] });
        return "refuse";
      };
      const { id, queueId } = await handOver(port);
      await server.event("queue.store_failed", { where: { id: queueId } });
      await strace?.detach();
      await server.event("queue.done", { where: { id: queueId } });
      assert.equal(receiver.copies(id).length, 1);
    });

    await t.step(
      "an answer that could not be written down before a kill: a second copy, and a record",
      async () => {
        receiver.atDot = async () => {
          receiver.atDot = () => Promise.resolve("take");
          await Strace.attach(server.pid, { inject: ["write:error=EIO"], paths: [files.at("journal")] });
          return "take";
        };
        const { id, queueId } = await handOver(port);
        await server.event("queue.journal_failed", { where: { id: queueId } });
        // That it was relayed is known, but the entry cannot go either.
        await server.event("queue.store_failed", { where: { id: queueId } });
        server.signal("SIGKILL");
        await server.ended();
        ({ server, port } = await serveOut(config));
        running.use(server);
        await untilEmpty(server, files);
        assert.equal(receiver.copies(id).length, 2);
        await server.event("attempt.deferred", { where: { id: queueId, dot_sent_no_reply: true } });
        await relayOne(port, receiver);
      },
    );
    assert.equal(await server.stop(), 0);
  },
);

testWith(
  STRACE_NEEDS,
  "serve-out whose file system becomes read-only ends when it is told to, and loses nothing",
  async () => {
    await using workspace = await Workspace.create();
    await using receiver = new Receiver();
    const config = await configureServeOut(workspace, receiver.port);
    const files = new SpoolFiles(workspace);
    const handed = [];
    {
      const { server, port } = await serveOut(config);
      await using _ = server;
      receiver.atDot = () => Promise.resolve("refuse");
      for (let n = 0; n < 5; n++) handed.push(await handOver(port));
      for (const { queueId } of handed) await server.event("attempt.deferred", { where: { id: queueId } });
      const strace = await Strace.attach(server.pid, {
        inject: ["openat,fsync,write,rename:error=EROFS"],
        paths: [
          files.at("journal"),
          files.at("incoming", "journal"),
          ...handed.map(({ queueId }) => files.at("incoming", `${queueId}.json`)),
        ],
      });
      // Some are taken, and that cannot be written down; others are deferred.
      let dots = 0;
      receiver.atDot = () => Promise.resolve(++dots % 2 === 0 ? "refuse" : "take");
      await server.event("queue.store_failed");
      assert.equal(await server.stop(), 0);
      await strace.detach();
    }
    receiver.atDot = () => Promise.resolve("take");
    const { server } = await serveOut(config);
    await using _ = server;
    await untilEmpty(server, files);
    const doubtful = unanswered(server, files);
    for (const { id, queueId } of handed) {
      const copies = receiver.copies(id).length;
      assert.ok(copies === 1 || (copies === 2 && doubtful.has(queueId)), `${queueId}: ${copies} copies`);
    }
    assert.equal(await server.stop(), 0);
  },
);
