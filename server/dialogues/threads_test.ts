import assert from "node:assert/strict";
import type { GreylistDecision, GreylistPort } from "../../checks/greylist.ts";
import { parseConfig } from "../../config/load.ts";
import { createNameParts } from "../../maildir/unique_name.ts";
import { createSharedClaims } from "../../storage/shared_claims.ts";
import { RecordingLog } from "../../tests/support/recording_log.ts";
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
    if ("number" in message && message.kind !== "greylist") {
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
    nameParts: createNameParts(),
    claims: createSharedClaims({ threads: 3, paths: 2 }),
    greylist: () => undefined,
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
  await threads.shutdown("SIGTERM", forced);
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
  await threads.shutdown("SIGTERM", forced);
});

Deno.test("DialogueThreads.open() fails as the thread that cannot start, and ends the others", async () => {
  await assert.rejects(open({ failure: "[tls] no certificate" }), { exitCode: EXIT.config });
});

Deno.test("DialogueThreads.open() finds a port that another program has", async () => {
  using other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const endpoints = [{ address: "127.0.0.1", port: other.addr.port, tls: "off", tentative: false }] as const;
  await assert.rejects(open({ endpoints }), { exitCode: EXIT.unavailable });
});

Deno.test("DialogueThreads answers what a thread asks about the greylist, also what makes no sense", async () => {
  const greylist: GreylistPort = {
    ask: ({ ip }) => ip === "x" ? assert.fail() : { known: false, waitMs: 60_000, network: "192.0.2.0/24" },
  };
  const { threads, started: [first] } = await open({ greylist: () => greylist });
  assert.ok(first);
  first.say({ kind: "greylist", number: 1, sender: { ip: "192.0.2.1", domain: "a.test" } });
  first.say({ kind: "greylist", number: 2, sender: { ip: "x", domain: "a.test" } });
  const answers = () => first.heard.filter((message) => message.kind === "greylist");
  await until(() => answers().length === 2, "another one");
  assert.deepEqual(answers().map(({ number, decision }) => [number, decision.known]).sort(), [
    [1, false],
    [2, true],
  ]);
  await threads.shutdown("SIGTERM", forced);
});

Deno.test("a reload does not wait for a thread that dies meanwhile", async () => {
  const { threads, started: [first] } = await open();
  assert.ok(first);
  first.silent = true;
  const reopened = threads.reopen();
  first.die("gone");
  await reopened;
  await threads.shutdown("SIGTERM", forced);
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
  await threads.shutdown("SIGTERM", forced);
});

Deno.test("what a thread asked before it died is not answered to the next one", async () => {
  const asked = Promise.withResolvers<GreylistDecision>();
  const { threads, started, log } = await open({ greylist: () => ({ ask: () => asked.promise }) });
  started[0]?.say({ kind: "greylist", number: 1, sender: { ip: "192.0.2.1", domain: "a.test" } });
  started[0]?.die("gone");
  await until(() => log.named("thread.started").length === 1, "another thread");
  asked.resolve({ known: true });
  await asked.promise;
  await threads.shutdown("SIGTERM", forced);
  assert.deepEqual(started[2]?.heard.filter(({ kind }) => kind === "greylist"), []);
});
