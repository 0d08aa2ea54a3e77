import assert from "node:assert/strict";
import { join } from "@std/path";
import { type Logger, silentLogger } from "../base/log.ts";
import { systemClock } from "../base/clock.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { MemoryQueue } from "../tests/support/memory_queue.ts";
import { largestEntry } from "../tests/support/queue_entry.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { RelayNetwork } from "../tests/support/relay_network.ts";
import { until } from "../tests/support/until.ts";
import { ControlServer } from "./control.ts";
import { ControlClient } from "./control_client.ts";
import { ControlError } from "./control_protocol.ts";
import { QueueOperator } from "./operator.ts";
import { SCHEDULE } from "../tests/support/retry_schedule.ts";
import { Scheduler } from "./scheduler.ts";

async function withServer(
  test: (
    world: { path: string; queue: MemoryQueue; scheduler: Scheduler; network: RelayNetwork },
  ) => Promise<void>,
  { below = ".", logger = silentLogger, listenOn }: {
    readonly below?: string;
    readonly logger?: Logger;
    readonly listenOn?: (path: string) => Deno.Listener;
  } = {},
): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.mkdir(join(directory, below), { recursive: true });
    const clock = new FakeClock();
    const network = new RelayNetwork(clock);
    const queue = new MemoryQueue();
    const scheduler = new Scheduler({
      queue,
      clock,
      random: () => 0,
      logger: silentLogger,
      schedule: SCHEDULE,
      route: network.route,
      connect: network.connect,
      compose: () => Promise.reject(new Error("no notices here")),
    });
    const operator = new QueueOperator({
      queue,
      entries: scheduler.entries,
      clock,
      logger,
      change: (opened) => scheduler.change(opened),
    });
    const path = join(directory, below, "control.sock");
    await using _server = ControlServer.listen({
      path,
      operator,
      scheduler,
      settings: () => "as started",
      clock: systemClock,
      logger,
      ...(listenOn && { listenOn }),
    });
    await test({ path, queue, scheduler, network });
    await scheduler.stop(0);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function client(path: string): Promise<ControlClient> {
  const found = await ControlClient.find(path);
  assert(found !== undefined);
  return found;
}

async function ask(path: string, request: string): Promise<string> {
  const conn = await Deno.connect({ transport: "unix", path });
  try {
    await conn.write(new TextEncoder().encode(request));
    await conn.closeWrite();
    return await new Response(conn.readable).text();
  } finally {
    try {
      conn.close();
    } catch {
      // The stream closed it.
    }
  }
}

Deno.test("ControlClient.find() finds no server where none runs, also with a stale socket", async () => {
  const directory = await Deno.makeTempDir();
  const path = join(directory, "control.sock");
  assert.equal(await ControlClient.find(path), undefined);
  Deno.listen({ transport: "unix", path }).close();
  assert.equal(await ControlClient.find(path), undefined);
  await Deno.remove(directory, { recursive: true });
});

/** A serve-out that takes the request, says this, and then nothing more. */
async function withSilence(
  said: string,
  test: (world: { path: string; clock: FakeClock; asked: Promise<void> }) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  const path = join(directory, "control.sock");
  using listener = Deno.listen({ transport: "unix", path });
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const serving = (async () => {
    // The first connection only looks whether somebody is there.
    (await listener.accept()).close();
    using conn = await listener.accept();
    await conn.read(new Uint8Array(1000));
    await conn.write(new TextEncoder().encode(said));
    resolve();
    while (await conn.read(new Uint8Array(1000)) !== null);
  })();
  await test({ path, clock: new FakeClock(), asked });
  await serving;
  await Deno.remove(directory, { recursive: true });
}

Deno.test("ControlClient gives up on a server that hangs, whether or not it has begun to answer", async () => {
  for (const said of ["", '{"item":{"id":"one"}}\n{"item":']) {
    await withSilence(said, async ({ path, clock, asked }) => {
      const control = await ControlClient.find(path, { silence: 7_000, clock });
      const listing = Array.fromAsync(control?.list({}) ?? []);
      listing.catch(() => {});
      await asked;
      await clock.advance(7_000);
      await assert.rejects(listing, new ControlError("it has not answered for 7 s"));
    });
  }
});

Deno.test("ControlClient leaves its caller the time between two entries", async () => {
  const answer = '{"item":{"id":"one"}}\n{"item":{"id":"two"}}\n{"end":{"count":2}}\n';
  await withSilence(answer, async ({ path, clock }) => {
    const control = await ControlClient.find(path, { silence: 7_000, clock });
    const ids: unknown[] = [];
    for await (const view of control?.list({}) ?? []) {
      ids.push(view);
      await clock.advance(60_000);
    }
    assert.deepEqual(ids, [{ id: "one" }, { id: "two" }]);
  });
});

Deno.test("ControlServer makes a socket for its own user only, over one left over, and removes it", async () => {
  let path = "";
  await withServer((world) => {
    path = world.path;
    const { mode } = Deno.statSync(path);
    assert.equal((mode ?? 0) & 0o777, 0o600);
    return Promise.resolve();
  });
  assert.throws(() => Deno.statSync(path), Deno.errors.NotFound);
});

Deno.test("ControlClient reaches a server whose data directory has a path too long for a socket", async () => {
  const below = "a-directory/".repeat(10);
  await withServer(async ({ path, queue }) => {
    const entry = await queue.put(["u@a.test"]);
    const views = await Array.fromAsync((await client(path)).list({}));
    assert.deepEqual(views.map(({ entry: { id } }) => id), [entry.id]);
    assert.equal((await Deno.stat(path)).isSocket, true);
  }, { below });
  assert.equal(await ControlClient.find(`/nowhere/${below}control.sock`), undefined);
});

Deno.test("ControlClient lists and manages what the server has", async () => {
  await withServer(async ({ path, queue }) => {
    const one = await queue.put(["u@a.test"]);
    const two = await queue.put(["u@b.test"]);
    const control = await client(path);
    const listed = await Array.fromAsync(control.list({ domain: "a.test" }));
    assert.deepEqual(listed, [{ entry: await queue.load(one.id), age: 0, inFlight: [] }]);
    const removed = await Array.fromAsync(control.apply("remove", { ids: [two.id] }));
    assert.deepEqual(removed, [{ id: two.id, changed: ["u@b.test"], inFlight: [] }]);
    assert.deepEqual(queue.entries.map(({ id }) => id), [one.id]);
  });
});

Deno.test("ControlClient.apply() has the log say who asked", async () => {
  const logger = new RecordingLog();
  await withServer(async ({ path, queue }) => {
    const { id } = await queue.put(["u@a.test"]);
    const control = await client(path);
    await Array.fromAsync(control.apply("hold", { ids: [id] }, { by: "ann at the dashboard" }));
    await Array.fromAsync(control.apply("release", { ids: [id] }));
  }, { logger });
  assert.deepEqual(
    [...logger.named("operator.hold"), ...logger.named("operator.release")].map(({ fields }) => fields["by"]),
    ["ann at the dashboard", undefined],
  );
});

Deno.test("ControlClient.list() takes an answer of thousands of entries", async () => {
  await withServer(async ({ path, queue }) => {
    for (let i = 0; i < 3000; i++) await queue.put([`user${i}ü@a.test`]);
    const listed = await Array.fromAsync((await client(path)).list({}));
    assert.equal(listed.length, 3000);
    assert.equal(listed[2999]?.entry.recipients[0]?.address, "user2999ü@a.test");
  });
});

Deno.test("ControlClient asks for as many ids as are named, in requests that the server reads", async () => {
  await withServer(async ({ path, queue }) => {
    const { id } = await queue.put(["u@a.test"]);
    const unknown = Array.from({ length: 60_000 }, (_, i) => `${i}`.padStart(32, "z"));
    const control = await client(path);
    const views = await Array.fromAsync(control.list({ ids: [id, ...unknown, id] }));
    assert.deepEqual(views.map(({ entry }) => entry.id), [id]);
    const results = await Array.fromAsync(control.apply("hold", { ids: [...unknown, id] }));
    assert.deepEqual(results.map(({ changed }) => changed), [["u@a.test"]]);
    assert.deepEqual(await Array.fromAsync(control.list({ ids: [] })), []);
  });
});

Deno.test("ControlClient reads the largest entry that a queue may have", async () => {
  await withServer(async ({ path, queue }) => {
    const { id } = await queue.put(largestEntry().recipients);
    const [view] = await Array.fromAsync((await client(path)).list({ ids: [id] }));
    assert.deepEqual(view?.entry, await queue.load(id));
  });
});

Deno.test("ControlClient.domain() tells what waits and which hosts are left alone", async () => {
  await withServer(async ({ path, queue, scheduler, network }) => {
    network.host("mx.a.test", { state: "refused" });
    network.domain("a.test", ["mx.a.test"]);
    scheduler.submit(await queue.put(["u@a.test"]));
    await until(() => scheduler.status.waiting > 0, "a message that waits");
    const host = { host: "mx.a.test", address: "192.0.2.1", port: 25 };
    const other = { host: "mx2.a.test", address: "192.0.2.2", port: 25 };
    const { status, hosts } = await (await client(path)).domain("a.test", [host, other]);
    assert.equal(status.waiting, 1);
    assert.deepEqual(hosts, [
      { ...host, failure: { error: "connection refused", status: "4.4.1" }, forMs: 5000 },
    ]);
  });
});

Deno.test("ControlServer refuses what it does not understand, in words", async () => {
  await withServer(async ({ path }) => {
    const cases: [string, string][] = [
      ["hello\n", "not JSON"],
      ["[]\n", "not a JSON object"],
      ['{"mailapp":2,"command":"list"}\n', "unknown version 2; this is 1"],
      ['{"mailapp":1,"command":"dance"}\n', "unknown command"],
      ['{"mailapp":1,"command":"apply","action":"eat","selection":{}}\n', "unknown action"],
      ['{"mailapp":1,"command":"list","selection":{"id":1}}\n', "bad selection"],
      ['{"mailapp":1,"command":"apply","action":"hold","selection":{},"by":1}\n', "bad name"],
      ['{"mailapp":1,"command":"domain","domain":"a.test","hosts":[{}]}\n', "bad domain"],
      ["", "no request"],
    ];
    for (const [request, error] of cases) {
      assert.deepEqual(JSON.parse(await ask(path, request)), { error }, request);
    }
  });
});

Deno.test("ControlServer serves 16 at a time, tells some more so, and goes on when they have left", async () => {
  await withServer(async ({ path, queue }) => {
    await queue.put(["u@a.test"]);
    const others: Deno.Conn[] = [];
    for (let i = 0; i < 60; i++) others.push(await Deno.connect({ transport: "unix", path }));
    const control = await client(path);
    await assert.rejects(
      Array.fromAsync(control.list({})),
      (error) => error instanceof ControlError && /16 others are being served|broke off/.test(error.message),
    );
    const told = new Uint8Array(200);
    const read = await others[16]?.read(told) ?? 0;
    assert.match(new TextDecoder().decode(told.subarray(0, read)), /^\{"error":"16 others are being served/);
    for (const conn of others) conn.close();
    let listed: number | undefined;
    for (let turn = 0; turn < 1000 && listed === undefined; turn++) {
      listed = await Array.fromAsync(control.list({})).then(({ length }) => length, () => undefined);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.equal(listed, 1);
  });
});

Deno.test("ControlServer survives want of descriptors, said once, and connections that fail", async () => {
  const failures = ["EMFILE", "EMFILE", "ECONNABORTED", "ENFILE"].map((code) =>
    Object.assign(new Error(code), { code })
  );
  const listenOn = (path: string) => {
    const listener = Deno.listen({ transport: "unix", path });
    const accept = listener.accept.bind(listener);
    listener.accept = () => {
      const failure = failures.shift();
      return failure === undefined ? accept() : Promise.reject(failure);
    };
    return listener;
  };
  const logger = new RecordingLog();
  await withServer(async ({ path, queue }) => {
    await queue.put(["u@a.test"]);
    assert.equal((await Array.fromAsync((await client(path)).list({}))).length, 1);
  }, { listenOn, logger });
  assert.equal(failures.length, 0);
  assert.deepEqual(logger.named("accept.failed").map(({ fields }) => fields["error"]), ["EMFILE"]);
  assert.match(String(logger.named("accept.recovered")[0]?.fields["socket"]), /control\.sock$/);
  assert.deepEqual(logger.named("control.failed"), []);
});

Deno.test("ControlClient passes on what goes wrong in the server", async () => {
  await withServer(async ({ path, queue }) => {
    // deno-lint-ignore require-yield
    queue.ids = async function* () {
      await Promise.resolve();
      throw new Error("input/output error");
    };
    const control = await client(path);
    await assert.rejects(Array.fromAsync(control.list({})), ControlError);
  });
});
