import assert from "node:assert/strict";
import type { Script } from "../tests/support/fake_server.ts";
import { queueEntry } from "../tests/support/recording_queue.ts";
import type { QueueEntry } from "./queue_entry.ts";
import { brief, type World, world } from "../tests/support/host_connection.ts";

/** Opens and sends once. */
async function send(
  given: World,
  entry: QueueEntry = queueEntry(["x@d.test"]),
  recipients?: readonly number[],
) {
  const all = world(given);
  const opened = await all.open();
  assert.ok(opened.kind === "open");
  const { connection } = opened;
  const result = await connection.send({
    entry,
    recipients: recipients ?? entry.recipients.map((_, i) => i),
    queue: all.queue,
  });
  return { ...all, ...result, connection };
}

Deno.test("HostConnection.send() records host, address, TLS level and reply", async () => {
  const { outcomes, connection } = await send({ script: { dot: "250-2.0.0 thanks\r\n250 2.0.0 as 1234" } });
  assert.deepEqual(outcomes, [{
    recipient: 0,
    result: "relayed",
    attempt: {
      at: Date.UTC(2026, 0, 1),
      host: "mx.test",
      address: "192.0.2.1",
      tls: "unverified",
      status: "2.0.0",
      reply: "250-2.0.0 thanks\n250 2.0.0 as 1234",
    },
    nextHost: false,
    dsnHandedOn: true,
  }]);
  await connection.close();
});

Deno.test("HostConnection.send() gives each recipient its own outcome and writes down whom the dot is for", async () => {
  const RCPT = (line: string) =>
    line.includes("no@") ? "550 5.1.1 no" : line.includes("later@") ? "450 4.2.1 later" : undefined;
  const entry = queueEntry(["done@t", "no@t", "yes@t", "later@t", "also@t"]);
  const { outcomes, queue, server, connection } = await send({ script: { RCPT } }, entry, [1, 2, 3, 4]);
  assert.deepEqual(outcomes.map(brief), [
    "1 failed 5.1.1",
    "2 relayed 2.0.0",
    "3 deferred 4.2.1",
    "4 relayed 2.0.0",
  ]);
  assert.deepEqual(queue.notes, ["dot 2,4 at mx.test", "relayed 2,4"]);
  assert.deepEqual(server.messages[0]?.to, ["yes@t", "also@t"]);
  await connection.close();
});

Deno.test("HostConnection.send() splits many recipients over transactions as the server wants", async () => {
  const entry = queueEntry(Array.from({ length: 250 }, (_, i) => `u${i}@t`));
  const plain = await send({}, entry);
  assert.deepEqual(plain.server.messages.map(({ to }) => to.length), [100, 100, 50]);
  assert.ok(plain.outcomes.every(({ result }) => result === "relayed"));
  assert.equal(plain.queue.notes.length, 6);
  await plain.connection.close();

  const limited = await send(
    { capabilities: ["LIMITS RCPTMAX=10", "PIPELINING"] },
    queueEntry(Array.from({ length: 25 }, (_, i) => `u${i}@t`)),
  );
  assert.deepEqual(limited.server.messages.map(({ to }) => to.length), [10, 10, 5]);
  await limited.connection.close();
});

Deno.test("HostConnection.send() sends at once to the recipients that were too many", async () => {
  for (const tooMany of ["452 4.5.3 too many", "452 too many", "552 too many"]) {
    let count = 0;
    const script: Script = {
      MAIL: () => {
        count = 0;
        return undefined;
      },
      RCPT: () => ++count > 2 ? tooMany : undefined,
    };
    const { outcomes, server, connection } = await send(
      { script },
      queueEntry(["a@t", "b@t", "c@t", "d@t", "e@t"]),
    );
    assert.deepEqual(server.messages.map(({ to }) => to), [["a@t", "b@t"], ["c@t", "d@t"], ["e@t"]]);
    assert.ok(outcomes.every(({ result }) => result === "relayed"));
    await connection.close();
  }
  for (const [tooMany, status] of [["552 5.5.3 too many", "4.5.3"], ["552 too many", "4.0.0"]] as const) {
    const script: Script = { RCPT: ["250 ok", tooMany], dot: "451 4.3.0 later" };
    const later = await send({ script }, queueEntry(["a@t", "b@t"]));
    assert.deepEqual(later.outcomes.map(brief), ["0 deferred 4.3.0", `1 deferred ${status}`]);
    await later.connection.close();
  }
  const alone = await send({ script: { RCPT: "552 too much" } });
  assert.deepEqual(alone.outcomes.map(brief), ["0 failed 5.0.0"]);
  await alone.connection.close();
  const none = await send({ script: { RCPT: "452 4.5.3 too many" } });
  assert.deepEqual(none.outcomes.map(brief), ["0 deferred 4.5.3"]);
  await none.connection.close();
  const full = await send(
    { script: { RCPT: ["250 ok", "552 5.2.2 mailbox full"] } },
    queueEntry(["a@t", "b@t"]),
  );
  assert.deepEqual(full.outcomes.map(brief), ["0 relayed 2.0.0", "1 failed 5.2.2"]);
  await full.connection.close();
});

Deno.test("HostConnection.send() keeps what was relayed when the connection ends before the rest", async () => {
  const entry = queueEntry(Array.from({ length: 150 }, (_, i) => `u${i}@t`));
  const { outcomes, usable } = await send({ script: { MAIL: ["250 ok", "421 4.3.2 enough"] } }, entry);
  assert.equal(outcomes.filter(({ result }) => result === "relayed").length, 100);
  assert.equal(
    outcomes.filter(({ result, attempt }) => result === "deferred" && attempt.reply === "421 4.3.2 enough")
      .length,
    50,
  );
  assert.equal(usable, false);
});

const UTF8 = queueEntry(["ö@d.test", "x@d.test"]);

const CONTENT:
  readonly (readonly [name: string, capabilities: string[], entry: QueueEntry, expected: string[]])[] = [
    [
      "8-bit body, 8BITMIME",
      ["8BITMIME"],
      queueEntry(["x@d.test"], { content: { eightBitHeader: false, eightBitBody: true } }),
      ["0 relayed 2.0.0", "MAIL FROM:<a@client.test> BODY=8BITMIME"],
    ],
    [
      "8-bit body, none",
      [],
      queueEntry(["x@d.test"], { content: { eightBitHeader: false, eightBitBody: true } }),
      ["0 failed 5.6.3"],
    ],
    [
      "8-bit body declared 7BIT, none",
      [],
      queueEntry(["x@d.test"], { body: "7BIT", content: { eightBitHeader: false, eightBitBody: true } }),
      ["0 failed 5.6.3"],
    ],
    ["7-bit body declared 8BITMIME, none", [], queueEntry(["x@d.test"], { body: "8BITMIME" }), [
      "0 relayed 2.0.0",
      "MAIL FROM:<a@client.test>",
    ]],
    [
      "UTF-8 header, SMTPUTF8",
      ["8BITMIME", "SMTPUTF8"],
      queueEntry(["x@d.test"], { content: { eightBitHeader: true, eightBitBody: false } }),
      ["0 relayed 2.0.0", "MAIL FROM:<a@client.test> BODY=8BITMIME SMTPUTF8"],
    ],
    [
      "UTF-8 header, 8BITMIME only",
      ["8BITMIME"],
      queueEntry(["x@d.test"], { content: { eightBitHeader: true, eightBitBody: false } }),
      ["0 failed 5.6.9"],
    ],
    ["SMTPUTF8 declared and not needed, none", [], queueEntry(["x@d.test"], { smtputf8: true }), [
      "0 relayed 2.0.0",
      "MAIL FROM:<a@client.test>",
    ]],
    ["UTF-8 recipient beside an ASCII one, none", [], UTF8, [
      "0 failed 5.6.7",
      "1 relayed 2.0.0",
      "MAIL FROM:<a@client.test>",
      "RCPT TO:<x@d.test>",
    ]],
    ["UTF-8 sender, none", [], queueEntry(["x@d.test"], { reversePath: "ä@client.test" }), [
      "0 failed 5.6.7",
    ]],
    ["UTF-8 domains only, none", [], queueEntry(["x@bücher.test"], { reversePath: "a@bücher.test" }), [
      "0 relayed 2.0.0",
      "MAIL FROM:<a@xn--bcher-kva.test>",
      "RCPT TO:<x@xn--bcher-kva.test>",
    ]],
    ["too large", ["SIZE 1000"], queueEntry(["x@d.test"], { size: 1001 }), ["0 failed 5.3.4"]],
    ["just not too large", ["SIZE 1000"], queueEntry(["x@d.test"], { size: 1000 }), [
      "0 relayed 2.0.0",
      "MAIL FROM:<a@client.test> SIZE=1000",
    ]],
    ["any size", ["SIZE 0"], queueEntry(["x@d.test"], { size: 1001 }), [
      "0 relayed 2.0.0",
      "MAIL FROM:<a@client.test> SIZE=1001",
    ]],
    ["an address that is an attack", [], queueEntry(["x@d.test>\r\nRSET\r\n", "y@d.test"]), [
      "0 failed 5.1.3",
      "1 relayed 2.0.0",
    ]],
  ];

for (const [name, capabilities, entry, expected] of CONTENT) {
  Deno.test(`HostConnection.send() decides by content: ${name}`, async () => {
    const { outcomes, server, connection } = await send({ capabilities }, entry);
    const seen = [...outcomes.map(brief), ...server.commands.filter((line) => /^(MAIL|RCPT)/.test(line))];
    assert.deepEqual(seen.slice(0, expected.length), expected);
    if (expected.every((line) => line.includes("failed"))) assert.equal(server.messages.length, 0);
    assert.ok(
      outcomes.every(({ result, attempt, nextHost }) =>
        result !== "failed" || (attempt.error !== undefined && !nextHost)
      ),
    );
    await connection.close();
  });
}

Deno.test("HostConnection.send() says whether the server took over the notices", async () => {
  const entry = queueEntry(["x@d.test"], { dsn: { ret: "FULL", envelopeId: "e1" } });
  const announced = await send({ capabilities: ["DSN"] }, entry);
  assert.equal(announced.outcomes[0]?.dsnHandedOn, true);
  assert.ok(announced.server.commands.includes("MAIL FROM:<a@client.test> RET=FULL ENVID=e1"));
  await announced.connection.close();
  const other = await send({ capabilities: [] }, entry);
  assert.equal(other.outcomes[0]?.dsnHandedOn, false);
  await other.connection.close();
});

Deno.test("HostConnection.send() calls a kept connection stale that had ended meanwhile", async () => {
  const endings: Script[] = [{ MAIL: ["250 ok", "drop"] }, { MAIL: ["250 ok", "421 4.4.2 idle"] }, {
    RSET: "drop",
    RCPT: "550 5.1.1 no",
  }, {
    RSET: "502 5.5.1 what?",
    RCPT: "550 5.1.1 no",
  }];
  for (const script of endings) {
    const { connection, queue } = await send({ script, capabilities: [] });
    const again = await connection.send({ entry: queueEntry(["y@d.test"]), recipients: [0], queue });
    assert.equal(again.stale, true, JSON.stringify(script));
    assert.equal(again.usable, false);
  }
  const fresh = await send({ script: { MAIL: "421 4.3.2 no" } });
  assert.equal(fresh.stale, false);
  const later = await send({ script: { RCPT: ["250 ok", "drop"] }, capabilities: [] });
  const again = await later.connection.send({
    entry: queueEntry(["y@d.test"]),
    recipients: [0],
    queue: later.queue,
  });
  assert.equal(again.stale, false);
});

Deno.test("HostConnection.send() sends nothing where the dot cannot be written down, and defers without another host", async () => {
  for (const failing of ["open", "dotSent"] as const) {
    const all = world();
    all.queue.failing = failing;
    const opened = await all.open();
    assert.ok(opened.kind === "open");
    const { outcomes } = await opened.connection.send({
      entry: queueEntry(["x@d.test"]),
      recipients: [0],
      queue: all.queue,
    });
    assert.deepEqual(outcomes.map(brief), ["0 deferred 4.3.0"]);
    assert.equal(outcomes[0]?.nextHost, false);
    assert.equal(all.server.messages.length, 0);
    assert.equal(all.queue.openCount, 0);
  }
});

Deno.test("HostConnection.send() stays with what the server said when the answer cannot be written down", async () => {
  const all = world();
  all.queue.failing = "dotAnswered";
  const opened = await all.open();
  assert.ok(opened.kind === "open");
  const { outcomes } = await opened.connection.send({
    entry: queueEntry(["x@d.test"]),
    recipients: [0],
    queue: all.queue,
  });
  assert.deepEqual(outcomes.map(brief), ["0 relayed 2.0.0"]);
  assert.deepEqual(all.log.events.map(({ level, event }) => `${level} ${event}`), [
    "error queue.journal_failed",
  ]);
  await opened.connection.close();
});

Deno.test("HostConnection.send() waits where our own serve-in has not heard of a domain yet, and only there", async () => {
  const script = { RCPT: ["550 5.7.1 relaying denied", "550 5.1.1 no such mailbox"] };
  const entry = queueEntry(["x@d.test", "y@d.test"]);
  const local = await send({ script, target: { via: "local" } }, entry);
  assert.deepEqual(local.outcomes.map(brief), ["0 deferred 4.7.1", "1 failed 5.1.1"]);
  const elsewhere = await send({ script }, entry);
  assert.deepEqual(elsewhere.outcomes.map(brief), ["0 failed 5.7.1", "1 failed 5.1.1"]);
  const late = await send({ script: { dot: "550 5.7.1 policy" }, target: { via: "local" } });
  assert.deepEqual(late.outcomes.map(brief), ["0 failed 5.7.1"]);
});

Deno.test("HostConnection.abort() ends what is being sent", async () => {
  const all = world({ script: { dot: "stall" } });
  const opened = await all.open();
  assert.ok(opened.kind === "open");
  const sending = opened.connection.send({
    entry: queueEntry(["x@d.test"]),
    recipients: [0],
    queue: all.queue,
  });
  await all.clock.advance(1000);
  opened.connection.abort();
  const { outcomes } = await sending;
  assert.equal(outcomes[0]?.attempt.dotSentNoReply, true);
  assert.deepEqual(all.queue.notes, ["dot 0 at mx.test"]);
});

Deno.test("HostConnection.abort() can spare a message whose final dot has been sent, and no other", async () => {
  for (const moment of ["DATA", "dot"] as const) {
    const all = world({ script: { [moment]: "stall" } });
    const opened = await all.open();
    assert.ok(opened.kind === "open");
    const sending = opened.connection.send({
      entry: queueEntry(["x@d.test"]),
      recipients: [0],
      queue: all.queue,
    });
    await all.clock.advance(1000);
    let over = false;
    sending.then(() => over = true);
    opened.connection.abort({ unlessDotSent: true });
    await all.clock.advance(1000);
    assert.equal(over, moment === "DATA");
    opened.connection.abort();
    await sending;
  }
});
