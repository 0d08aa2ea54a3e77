import assert from "node:assert/strict";
import { parseConfig } from "../../config/load.ts";
import { createSharedClaims } from "../../storage/shared_claims.ts";
import { RecordingLog } from "../../tests/support/recording_log.ts";
import { freePort } from "../../tests/support/peers/ports.ts";
import { until } from "../../tests/support/until.ts";
import { EXIT } from "../exit_codes.ts";
import type { FromDialogues, ToDialogues } from "./messages.ts";
import { type DialoguesWorker, DialogueThreads, type DialogueThreadsOptions } from "./threads.ts";

/** A thread that does what it is told, unless it is `silent`. */
class FakeThread implements DialoguesWorker {
  onmessage: DialoguesWorker["onmessage"] = null;
  onerror: DialoguesWorker["onerror"] = null;
  readonly heard: ToDialogues[] = [];
  silent = false;
  terminated = false;

  constructor(readonly failure?: string) {
    queueMicrotask(() => this.say({ kind: "loaded" }));
  }

  say(data: FromDialogues): void {
    this.onmessage?.({ data } as MessageEvent<FromDialogues>);
  }

  die(message: string): void {
    this.onerror?.(new ErrorEvent("error", { message }));
  }

  postMessage(message: ToDialogues): void {
    this.heard.push(message);
    if (this.silent) return;
    if (message.kind === "start") {
      this.say(
        this.failure === undefined
          ? { kind: "ready" }
          : { kind: "failed", error: this.failure, exitCode: EXIT.config },
      );
    }
    if ("number" in message && message.kind !== "answer") {
      this.say({ kind: "done", number: message.number, figures: [] });
    }
    if (message.kind === "stop") this.say({ kind: "ended", figures: [] });
  }

  terminate(): void {
    this.terminated = true;
  }
}

interface World {
  readonly threads: DialogueThreads;
  readonly started: FakeThread[];
  readonly log: RecordingLog;
}

async function open(
  { failure, ...options }: Partial<DialogueThreadsOptions> & { readonly failure?: string } = {},
): Promise<World> {
  const started: FakeThread[] = [];
  const log = new RecordingLog();
  const threads = await DialogueThreads.open({
    count: 2,
    startThread: () => {
      const thread = new FakeThread(failure);
      started.push(thread);
      return thread;
    },
    start: { server: "serve-in", dnsServers: [], isTerminal: false },
    config: parseConfig('hostname = "mx.example.com"\n'),
    endpoints: [],
    clients: 100,
    claims: createSharedClaims({ threads: 3, paths: 2 }),
    startData: () => ({}),
    answer: () => Promise.resolve(undefined),
    logger: log,
    times: { poll: 1, pause: 1, answer: 1_000 },
    ...options,
  });
  return { threads, started, log };
}

const forced = new AbortController().signal;

Deno.test("DialogueThreads replaces a thread that dies, and one that does not answer any more", async () => {
  const { threads, started, log } = await open();
  started[0]?.die("out of luck");
  await until(() => log.named("thread.started").length === 1, "another thread");
  assert.deepEqual(log.named("thread.died").map(({ fields }) => [fields["thread"], fields["error"]]), [
    [0, "out of luck"],
  ]);
  assert.ok(started[0]?.terminated && started.length === 3);
  const [, second] = started;
  assert.ok(second);
  second.silent = true;
  await until(() => log.named("thread.started").length === 2, "another one");
  assert.equal(log.named("thread.died")[1]?.fields["error"], "it does not answer");
  assert.ok(second.terminated);
  await threads.shutdown("SIGTERM", { forced });
  assert.deepEqual(started.slice(2).map(({ heard }) => heard.at(-1)?.kind), ["stop", "stop"]);
});

Deno.test("DialogueThreads tries again and again with a thread that cannot start, and waits longer each time", async () => {
  const { threads, started, log } = await open();
  let failing = 4;
  const start = started.push.bind(started);
  started.push = (thread: FakeThread) => {
    if (failing-- > 0) Object.assign(thread, { failure: "no memory" });
    return start(thread);
  };
  started[1]?.die("no memory");
  await until(() => log.named("thread.started").length === 1, "another thread");
  assert.equal(log.named("thread.died").length, 5);
  await threads.shutdown("SIGTERM", { forced });
});

Deno.test("DialogueThreads.open() fails as the thread that cannot start, and ends the others", async () => {
  await assert.rejects(open({ failure: "[tls] no certificate" }), { exitCode: EXIT.config });
});

Deno.test("DialogueThreads.open() finds a port that another program has", async () => {
  using other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const endpoints = [{ address: "127.0.0.1", port: other.addr.port, tls: "off", tentative: false }] as const;
  await assert.rejects(open({ endpoints }), { exitCode: EXIT.unavailable });
});

Deno.test("DialogueThreads listens where the first address is that the machine has", async () => {
  const port = freePort();
  // The first one is for documentation (RFC 5737).
  const endpoints = ["192.0.2.1", "127.0.0.2", "127.0.0.1"]
    .map((address) => ({ address, port, tls: "off", tentative: false }) as const);
  const { threads } = await open({ endpoints });
  assert.equal(threads.listening?.address, "127.0.0.2");
  await threads.shutdown("SIGTERM", { forced });
});

Deno.test("DialogueThreads answers what a thread asks, also what makes no sense", async () => {
  const { threads, started: [first, second] } = await open({
    answer: (question, thread) => question === "x" ? assert.fail() : Promise.resolve([question, thread]),
  });
  assert.ok(first && second);
  first.say({ kind: "question", number: 1, question: "a" });
  first.say({ kind: "question", number: 2, question: "x" });
  second.say({ kind: "question", number: 1, question: "b" });
  const answers = ({ heard }: FakeThread) => heard.filter((message) => message.kind === "answer");
  await until(() => answers(first).length === 2 && answers(second).length === 1, "answers");
  const told = (thread: FakeThread) => answers(thread).map(({ number, answer }) => [number, answer]).sort();
  assert.deepEqual(told(first), [[1, ["a", 0]], [2, undefined]]);
  assert.deepEqual(told(second), [[1, ["b", 1]]]);
  await threads.shutdown("SIGTERM", { forced });
});

Deno.test("DialogueThreads gives no answer to a thread that has taken the place of the one that asked", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { threads, started, log } = await open({ answer: () => promise });
  started[0]?.say({ kind: "question", number: 1, question: "a" });
  started[0]?.die("gone");
  await until(() => log.named("thread.started").length === 1, "another thread");
  resolve();
  await threads.reopen();
  for (const { heard } of started) assert.deepEqual(heard.filter(({ kind }) => kind === "answer"), []);
  await threads.shutdown("SIGTERM", { forced });
});

Deno.test("DialogueThreads.shutdown() tells threads when to accept no more", async () => {
  const { threads, started } = await open({ times: { poll: 60_000 } });
  const { promise: accepting, resolve } = Promise.withResolvers<void>();
  for (const thread of started) thread.silent = true;
  const ended = threads.shutdown("SIGTERM", { forced, accepting });
  const last = () => started.map(({ heard }) => heard.at(-1));
  assert.deepEqual(last(), Array(2).fill({ kind: "stop", reason: "SIGTERM", accepting: true }));
  resolve();
  await until(() => last().every((message) => message?.kind === "refuse"), "both to be told");
  for (const thread of started) thread.say({ kind: "ended", figures: [] });
  await ended;
});

Deno.test("DialogueThreads.shutdown() does not wait for a thread that does not serve yet", async () => {
  for (const message of ["none", "start"] as const) {
    const { threads, started } = await open({ times: { poll: 1, pause: 1 } });
    const add = started.push.bind(started);
    started.push = (thread: FakeThread) => {
      thread.silent = true;
      // Then not even its modules are loaded.
      if (message === "none") thread.say = () => {};
      return add(thread);
    };
    started[0]?.die("gone");
    await until(() => started.length === 3, "another thread");
    if (message === "start") await until(() => started[2]?.heard[0]?.kind === "start", "its start");
    let over = false;
    const ended = threads.shutdown("SIGTERM", { forced }).then(() => over = true);
    try {
      await until(() => over, "the end");
    } finally {
      threads[Symbol.dispose]();
      await ended;
    }
    assert.ok(started[2]?.terminated);
  }
});

Deno.test("a reload does not wait for a thread that dies meanwhile", async () => {
  const { threads, started: [first] } = await open();
  assert.ok(first);
  first.silent = true;
  const reopened = threads.reopen();
  first.die("gone");
  await reopened;
  await threads.shutdown("SIGTERM", { forced });
});

Deno.test("a reload reaches a thread that is just being started", async () => {
  const { threads, started } = await open();
  const start = started.push.bind(started);
  started.push = (thread: FakeThread) => {
    thread.silent = true;
    return start(thread);
  };
  started[0]?.die("gone");
  await until(() => started[2]?.heard.some(({ kind }) => kind === "start") === true, "its start");
  const config = parseConfig('hostname = "mx2.example.com"\n');
  const applied = threads.apply(config);
  const reopened = threads.reopen();
  const [, , next] = started;
  assert.ok(next);
  assert.deepEqual(next.heard.map(({ kind }) => kind).filter((kind) => kind !== "figures"), [
    "start",
    "apply",
    "reopen",
  ]);
  for (const message of next.heard) {
    if (message.kind === "apply") assert.equal(message.config, config);
    if ("number" in message) next.say({ kind: "done", number: message.number, figures: [] });
  }
  await Promise.all([applied, reopened]);
  next.silent = false;
  next.say({ kind: "ready" });
  await threads.shutdown("SIGTERM", { forced });
});
