// `mailapp trace` on the logs of running servers: one message from a program of this machine to a mailbox of this
// machine, and one that waits.
import assert from "node:assert/strict";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";
import { until } from "../support/peers/process.ts";
import { WireClient } from "../support/wire_client.ts";

/** Submits a message; the id that serve-out gave it. */
async function submit(
  port: number,
  { to, messageId }: { readonly to: string; readonly messageId: string },
): Promise<string> {
  using client = await WireClient.connect(port);
  await client.hear();
  for (const command of ["EHLO client.test", "MAIL FROM:<ann@example.com>", `RCPT TO:<${to}>`, "DATA"]) {
    assert.match(await client.say(command), /^[23]/, command);
  }
  const reply = await client.say(`Subject: x\r\nMessage-ID: ${messageId}\r\n\r\nx\r\n.`);
  return /^250 2\.0\.0 (\w+) accepted/.exec(reply)?.[1] ?? assert.fail(reply);
}

interface Setting extends AsyncDisposable {
  readonly workspace: Workspace;
  readonly config: string;
  /** Of serve-out. */
  readonly port: number;
  readonly serveIn: RunningMailapp;
  readonly serveOut: RunningMailapp;
}

/** Both servers, which log into one file. */
async function begin(): Promise<Setting> {
  const stack = new AsyncDisposableStack();
  const workspace = stack.use(await Workspace.create());
  const port = freePort();
  const config = await workspace.configure({
    log: { file: workspace.file("mailapp.log") },
    "serve-in": { port: freePort() },
    "serve-out": {
      listen: ["127.0.0.1"],
      port,
      min_free_space: 0,
      allow_private_targets: true,
    },
    "serve-out.routes": { "late.test": `127.0.0.1:${freePort()}` },
  });
  const serveIn = stack.use(new RunningMailapp(["serve-in", "--config", config]));
  const serveOut = stack.use(new RunningMailapp(["serve-out", "--config", config]));
  await logged(workspace, /"server.ready".*"serve-in"/s);
  await logged(workspace, /"server.ready".*"serve-out"/s);
  return { workspace, config, port, serveIn, serveOut, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Waits until a line of the log is like this; gives it. */
async function logged(workspace: Workspace, pattern: RegExp): Promise<Record<string, unknown>> {
  const line = await until(async () => {
    const text = await Deno.readTextFile(workspace.file("mailapp.log")).catch(() => "");
    return text.split("\n").find((line) => pattern.test(line));
  }, { what: `a line like ${pattern}` });
  return JSON.parse(line);
}

Deno.test("trace shows a message's way through serve-out, serve-in and the mailbox, whatever it is named by", async () => {
  await using setting = await begin();
  const { workspace, config, port } = setting;
  const messageId = "<whole-way@example.com>";
  const id = await submit(port, { to: "alice@example.com", messageId });
  await submit(port, { to: "bob@example.com", messageId: "<other@example.com>" });
  await logged(workspace, new RegExp(`"queue\\.done".*"id":"${id}"`, "s"));
  const { file } = await logged(workspace, /"message\.delivered".*alice/s);
  for (const what of [id, messageId, "ALICE@example.com", String(file), `queue id ${id}.`]) {
    const { code, stdout, stderr } = await runMailapp(["trace", what, "--config", config]);
    assert.deepEqual([code, stderr], [0, ""], what);
    assert.match(
      stdout,
      new RegExp(
        [
          `^message ${id}, \\w+ from ann@example\\.com to alice@example\\.com$`,
          `Z  serve-out accepted from ann@example\\.com to alice@example\\.com, \\d+ octets, Message-ID ${messageId}$`,
          "Z  serve-in  stored for alice@example\\.com: .*/alice/new/",
          "Z  serve-in  accepted from ann@example\\.com to alice@example\\.com",
          "Z  serve-out alice@example\\.com: accepted by .*: 250 2\\.0\\.0 \\w+ accepted$",
          "Z  serve-out done; it leaves the queue$",
          "^now in the inbox, not seen by a mail reader yet:$",
        ].join("[^]*"),
        "m",
      ),
      what,
    );
    assert.doesNotMatch(stdout, /bob@example\.com/, what);
  }
  const { stdout } = await runMailapp(["trace", id, "--json", "--config", config]);
  const [story] = JSON.parse(stdout);
  assert.ok(story.ids.includes(id));
  assert.deepEqual(story.queue, []);
  assert.equal(story.stored[0].seen, false);
  assert.ok(
    story.events.some((event: Record<string, unknown>) =>
      event["event"] === "attempt.relayed" && event["recipient"] === "alice@example.com"
    ),
  );
});

Deno.test("trace says where a stored message is once a mail reader has moved it, and that it is gone", async () => {
  await using setting = await begin();
  const { workspace, config, port } = setting;
  const id = await submit(port, { to: "alice@example.com", messageId: "<moved@example.com>" });
  const { file } = await logged(workspace, /"message\.delivered".*alice/s);
  const path = String(file);
  const folder = workspace.file("mail", "example.com", "alice", ".Archive.2026");
  await Deno.mkdir(`${folder}/cur`, { recursive: true });
  const moved = `${folder}/cur/${path.slice(path.lastIndexOf("/") + 1)}:2,S`;
  await Deno.rename(path, moved);
  const first = await runMailapp(["trace", id, "--config", config]);
  assert.ok(
    first.stdout.includes(`now in the folder Archive.2026, seen by a mail reader:\n  ${moved}\n`),
    first.stdout,
  );
  await Deno.remove(moved);
  const second = await runMailapp(["trace", id, "--config", config]);
  assert.match(second.stdout, /: gone; a mail reader has deleted it or moved it elsewhere/);
});

Deno.test("trace tells of a message that waits: why, how often it was tried, when it is tried next; --follow shows what comes", async () => {
  await using setting = await begin();
  const { workspace, config, port, serveOut } = setting;
  const id = await submit(port, { to: "carl@late.test", messageId: "<late@example.com>" });
  await logged(workspace, new RegExp(`"attempt\\.deferred".*"id":"${id}"`, "s"));
  const { code, stdout } = await runMailapp(["trace", "carl@late.test", "--config", config]);
  assert.equal(code, 0);
  assert.match(stdout, /carl@late\.test: deferred by 127\.0\.0\.1: .*connection refused$/m);
  assert.match(stdout, /attempt 1; tried again at \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ, /);
  assert.match(
    stdout,
    new RegExp(`in the queue now:\n${id} [^]*carl@late\\.test: next try in \\d+ (?:s|min), 1 try`),
  );

  await using following = new RunningMailapp(["trace", id, "--follow", "--json", "--config", config]);
  // It starts to follow at an unknown moment: it sees one retry of many.
  let over = false;
  const seen = following.output().then((line) => {
    over = true;
    return JSON.parse(line) as Record<string, unknown>;
  });
  await until(async () => {
    await runMailapp(["queue", "retry", id, "--config", config]);
    return over;
  }, { what: "a followed event", within: 120_000 });
  const event = await seen;
  assert.equal(event["id"], id);
  assert.match(String(event["words"]), /carl@late\.test/);
  following.signal("SIGTERM");
  assert.equal(await following.ended(), 0);
  assert.equal(await serveOut.stop(), 0);
});

Deno.test("trace says that the log has nothing, what it begins with, and what the queue knows all the same", async () => {
  await using setting = await begin();
  const { workspace, config, port, serveOut } = setting;
  const id = await submit(port, { to: "carl@late.test", messageId: "<gone@example.com>" });
  await logged(workspace, new RegExp(`"attempt\\.deferred".*"id":"${id}"`, "s"));
  const later = new Date(Date.now() + 60_000).toISOString();
  await Deno.writeTextFile(
    workspace.file("other.log"),
    `{"time":"${later}","level":"info","event":"log.reopened"}\n`,
  );
  const ask = (what: string) =>
    runMailapp(["trace", what, "--log", workspace.file("other.log"), "--config", config]);
  for (const what of [id, "carl@late.test"]) {
    const { code, stdout } = await ask(what);
    assert.equal(code, 0, what);
    assert.match(stdout, /^the log has nothing about .*; the log begins at \d{4}-/, what);
    assert.match(stdout, new RegExp(`in the queue now:\n${id} `), what);
  }
  assert.match((await ask(id)).stdout, /, and earlier entries are gone/);
  const nothing = await ask("nobody@example.com");
  assert.equal(nothing.code, 69);
  assert.equal(await serveOut.stop(), 0);
});

Deno.test("trace and status end with 66 where a log that was named is not there, and say what else they know", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure();
  const fields = { event: "command.refused", session: "abcd12", command: "VRFY x", reply: "502 5.5.1 no" };
  const there = workspace.file("there.log");
  await Deno.writeTextFile(
    there,
    `${JSON.stringify({ time: new Date().toISOString(), level: "info", ...fields })}\n`,
  );
  const gone = workspace.file("gone", "x.log");
  const ask = (...args: readonly string[]) => runMailapp([...args, "--config", config]);
  assert.equal((await ask("trace", "abcd12", "--log", there)).code, 0);
  for (
    const logs of [["--log", gone], ["--log", there, "--log", gone], ["--log", workspace.file("no.log")]]
  ) {
    const { code, stdout, stderr } = await ask("trace", "abcd12", ...logs);
    assert.equal(code, 66, logs.join(" "));
    assert.match(stderr, /(?:gone\/x\.log cannot be read|there is no log .*no\.log)/);
    assert.equal(/VRFY x/.test(stdout), logs.includes(there));
  }
  assert.equal((await ask("trace", "abcd12", "--follow", "--log", gone)).code, 66);
  assert.equal((await ask("status", "--log", gone)).code, 66);
});

Deno.test("trace lets nothing of a log move the cursor", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure();
  const fields = {
    event: "command.refused",
    session: "abcd12",
    command: "\u001b[2J\u202eRCPT",
    reply: "500 \u0007no",
  };
  await Deno.writeTextFile(
    workspace.file("odd.log"),
    `${JSON.stringify({ time: new Date().toISOString(), level: "info", ...fields })}\n`,
  );
  const { stdout } = await runMailapp([
    "trace",
    "abcd12",
    "--log",
    workspace.file("odd.log"),
    "--config",
    config,
  ]);
  assert.ok(stdout.includes("\\u001b[2J\\u202eRCPT: 500 \\u0007no"), stdout);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u202e]/);
});

Deno.test("trace names the server of each line of several logs that do not", async () => {
  await using workspace = await Workspace.create();
  const config = await workspace.configure();
  const time = new Date().toISOString();
  const logs = [["a.log", "serve-in"], ["b.log", "serve-out"]] as const;
  for (const [name, server] of logs) {
    const events = [{ event: "server.ready", server }, {
      event: "message.repaired",
      id: "abcd12",
      repairs: [server],
    }];
    const lines = events.map((fields) => `${JSON.stringify({ time, level: "info", ...fields })}\n`);
    await Deno.writeTextFile(workspace.file(name), lines.join(""));
  }
  const args = [
    "trace",
    "abcd12",
    "--config",
    config,
    ...logs.flatMap(([name]) => ["--log", workspace.file(name)]),
  ];
  const { stdout } = await runMailapp(args);
  for (const [, server] of logs) assert.match(stdout, new RegExp(`Z  ${server} +repaired: ${server}$`, "m"));
  const [story] = JSON.parse((await runMailapp([...args, "--json"])).stdout);
  assert.deepEqual(
    story.events.map(({ server, repairs }: Record<string, unknown>) => [server, repairs]),
    logs.map(([, server]) => [server, [server]]),
  );
});

Deno.test("trace refuses what names nothing, and times that are none", async () => {
  assert.equal((await runMailapp(["trace", "what is this"])).code, 64);
  assert.equal((await runMailapp(["trace", "abcd12", "--since", "yesterday"])).code, 64);
});
