// mailapp selftest beside running servers, seen by strace: it changes no file of theirs, and connects to nothing but
// loopback, and there to none of them.
import assert from "node:assert/strict";
import { loadConfig } from "../../config/load.ts";
import { copyConfig } from "../../selftest/copies.ts";
import { handOver, Receiver, relayOne, serveOut } from "../faults/serve_out_setting.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";
import { testWith } from "../support/requires.ts";

const CHANGES = [
  ...[
    "openat",
    "creat",
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
  ],
  ...[
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "truncate",
    "chmod",
    "fchmodat",
    "chown",
    "fchownat",
    "utimensat",
  ],
];
const TRACE = [...CHANGES, "connect", "sendto"];

/** What of a line of strace changes something below the path. */
function changes(line: string, path: string): boolean {
  const [, call = ""] = /^\d+ +(\w+)\(/.exec(line) ?? [];
  if (!CHANGES.includes(call) || !line.includes(`"${path}/`)) return false;
  // What is copied into the copies' directory may come from there.
  if (call === "openat") return /O_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND)/.test(line);
  return true;
}

testWith(
  ["strace"],
  "mailapp selftest changes nothing of running servers, and talks to none of them",
  async () => {
    await using workspace = await Workspace.create();
    await using elsewhere = await Workspace.create();
    await using receiver = new Receiver();
    const port = freePort();
    const config = await workspace.configure({
      log: { format: "json" },
      tls: { self_signed: true },
      "serve-in": { port: freePort() },
      "serve-out": { listen: ["127.0.0.1"], port, min_free_space: 0 },
      "serve-out.routes": { "*": `127.0.0.1:${receiver.port}` },
    });
    const serving = await serveOut(config);
    await using _serveOut = serving.server;
    await using serveIn = new RunningMailapp(["serve-in", "--config", config]);
    await serveIn.event("server.ready");
    const inPort = Number((await serveIn.event("listener.ready"))["port"]);
    await relayOne(serving.port, receiver);
    receiver.atDot = () => Promise.resolve("refuse");
    const waiting = await handOver(serving.port);
    await serving.server.event("attempt.deferred", { where: { id: waiting.queueId } });
    const sessions = () =>
      [serveIn, serving.server].flatMap(({ events }) =>
        events.filter(({ event }) => /^(?:session|command|message|config)\./.test(event)).map(({ event }) =>
          event
        )
      );
    const before = sessions();

    const trace = elsewhere.file("trace");
    const { stdout, stderr } = await runMailapp([
      "selftest",
      "--config",
      config,
      "--only",
      "receive,send,list,submit",
    ], {
      // Deno itself looks for a newer Deno where it runs a checkout.
      env: { TMPDIR: elsewhere.path, DENO_NO_UPDATE_CHECK: "1" },
      through: [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-s",
        "300",
        "-o",
        trace,
        "-e",
        `trace=${TRACE.join(",")}`,
      ],
    });
    assert.match(stdout, /ok: a message of a local program to a mailbox here/, stderr);
    const lines = (await Deno.readTextFile(trace)).split("\n");
    assert.ok(lines.some((line) => changes(line, elsewhere.path)), "strace has seen nothing");
    assert.deepEqual(lines.filter((line) => changes(line, workspace.path)), []);
    const connects = lines.filter((line) => /^\d+ +(?:connect|sendto)\(.*sa_family/.test(line));
    assert.ok(connects.length > 50, `${connects.length} connections`);
    const strange = connects.filter((line) => {
      if (line.includes("AF_UNIX")) return line.includes(workspace.path);
      const [, number] = /htons\((\d+)\)/.exec(line) ?? [];
      const loopback = /inet_addr\("127\.|"::1"/.test(line);
      return !loopback || [port, inPort, receiver.port].includes(Number(number));
    });
    assert.deepEqual(strange, []);
    assert.deepEqual(sessions(), before);
    const left = await Array.fromAsync(Deno.readDir(elsewhere.path), ({ name }) => name);
    assert.deepEqual(left, ["trace"]);
  },
);

Deno.test("copies for the self-test keep their queue in a spool of their own, wherever the real one is", async () => {
  await using workspace = await Workspace.create();
  const urlFile = workspace.file("queue.url");
  await Deno.writeTextFile(urlFile, "postgres://mail:secret@192.0.2.1/mail\n", { mode: 0o600 });
  const config = await loadConfig(
    await workspace.configure({ queue: { store: "postgres", url_file: urlFile } }),
    { env: { get: () => undefined } },
  );
  assert.equal(config.queue.store, "postgres");
  const places = { directory: workspace.path, dnsPort: 1, peersPort: 1, entry: import.meta.url };
  const copy = await copyConfig(config, { name: "copy", places });
  assert.deepEqual(copy.queue, { store: "spool" });
  assert.equal(copy.dataDir, workspace.file("copy"));
});
