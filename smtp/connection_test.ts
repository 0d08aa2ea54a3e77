import assert from "node:assert/strict";
import { bytesOf, FALSE_ENDS, textOf } from "../tests/support/bytes.ts";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { MemoryTransport } from "../tests/support/memory_transport.ts";
import { RecordingDelivery } from "../tests/support/recording_delivery.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import type { Delivery, Header, PendingMessage, TopForecast } from "./delivery.ts";
import type { Inspector } from "./inspector.ts";
import { type ServerLimits, SmtpServer } from "./server.ts";
import type { ServerPolicy } from "./server_policy.ts";
import type { UpgradeToTls } from "../net/transport.ts";

interface Options {
  readonly limits?: Partial<ServerLimits>;
  readonly policy?: Partial<ServerPolicy>;
  /** Changes what the delivery does with a message. */
  readonly wrap?: (pending: PendingMessage, forecast?: TopForecast) => PendingMessage;
  readonly inspector?: Inspector;
  readonly upgradeToTls?: UpgradeToTls;
  readonly implicitTls?: boolean;
}

/** A dialogue under way. */
class Dialogue implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly log = new RecordingLog();
  readonly transport = new MemoryTransport({ clock: this.clock });
  readonly delivery: RecordingDelivery;
  readonly server: SmtpServer;
  readonly done: Promise<void>;

  constructor(
    { limits = {}, policy = {}, wrap, inspector, upgradeToTls, implicitTls = false }: Options = {},
  ) {
    const recording = new RecordingDelivery();
    this.delivery = recording;
    const wrapped: Delivery = {
      checkSender: (envelope) => recording.checkSender(envelope),
      checkRecipient: (recipient) => recording.checkRecipient(recipient),
      begin: (envelope, { forecast }) =>
        wrap ? wrap(recording.begin(envelope), forecast) : recording.begin(envelope),
    };
    this.server = new SmtpServer({
      hostname: "mx.here.example",
      delivery: wrapped,
      policy,
      log: this.log,
      clock: this.clock,
      limits,
      ...(upgradeToTls ? { upgradeToTls } : {}),
      ...(inspector ? { inspector } : {}),
    });
    this.done = this.server.handle(this.transport, { implicitTls });
  }

  /** Sends, and gives back what the server says to it. */
  async say(text: string, sizes: readonly number[] = []): Promise<string> {
    this.transport.send(bytesOf(text), sizes);
    await this.transport.waiting();
    return this.heard();
  }

  heard(): string {
    return textOf(this.transport.take());
  }

  /** From the greeting to 354. */
  async toData(recipient = "alice"): Promise<void> {
    const replies = await this.say(
      "EHLO client.test\r\nMAIL FROM:<a@client.test>\r\n" +
        `RCPT TO:<${recipient}@here.example>\r\nDATA\r\n`,
    );
    assert.match(replies, /\r\n354 /);
  }

  get reason(): unknown {
    const [event, ...more] = this.log.named("session.closed");
    assert.deepEqual(more, []);
    return event?.fields["reason"];
  }

  /** The client goes away; nothing may be left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.transport.flow();
    this.transport.end();
    await this.done;
    assert.ok(this.transport.closed, "the transport is closed");
    assert.equal(this.delivery.open, 0, "no message is left open");
    assert.equal(this.clock.pending, 0, "no timer is left");
    assert.equal(this.server.connectionCount, 0);
  }
}

const BEHIND = "MAIL FROM:<smuggled@client.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\nsmuggled\r\n";

for (const sequence of FALSE_ENDS) {
  const lawful = !/\r(?!\n)|(?<!\r)\n/.test(sequence);
  const data = `Subject: x\r\n\r\nhello${sequence}${BEHIND}`;
  const name = JSON.stringify(sequence);

  for (const [how, sizes] of [["", []], [", cut into single bytes", [1]]] as const) {
    Deno.test(`a second message never appears behind ${name}${how}`, async () => {
      await using dialogue = new Dialogue();
      await dialogue.toData();
      assert.equal(await dialogue.say(data, sizes), "", "the data goes on");
      assert.match(await dialogue.say(".\r\n", sizes), lawful ? /^250 2.0.0 M1 / : /^550 5.5.2 /);
      assert.equal(await dialogue.say("NOOP\r\n"), "250 2.0.0 OK\r\n", "replies are in step");
      assert.deepEqual(dialogue.delivery.stored.map(({ id }) => id), lawful ? ["M1"] : []);
    });

    Deno.test(`a second message never appears behind ${name} in an oversize message${how}`, async () => {
      await using dialogue = new Dialogue({ limits: { maxMessageSize: 20 } });
      await dialogue.toData();
      assert.equal(await dialogue.say(data, sizes), "", "the data goes on");
      assert.match(await dialogue.say(".\r\n", sizes), /^55[02] 5/);
      assert.equal(await dialogue.say("NOOP\r\n"), "250 2.0.0 OK\r\n", "replies are in step");
      assert.deepEqual(dialogue.delivery.stored, []);
    });

    Deno.test(`a second message never appears behind ${name} in a message that could not be kept${how}`, async () => {
      await using dialogue = new Dialogue();
      await dialogue.toData("no-write");
      assert.equal(await dialogue.say(data, sizes), "", "the data goes on");
      assert.match(await dialogue.say(".\r\n", sizes), /^452 4.3.1 |^550 5.5.2 /);
      assert.equal(await dialogue.say("NOOP\r\n"), "250 2.0.0 OK\r\n", "replies are in step");
      assert.deepEqual(dialogue.delivery.stored, []);
    });

    Deno.test(`a second message never appears behind ${name} by BDAT${how}`, async () => {
      await using dialogue = new Dialogue();
      await dialogue.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<bob@here.example>\r\n");
      const replies = await dialogue.say(`BDAT ${data.length}\r\n${data}BDAT 3 LAST\r\n.\r\nNOOP\r\n`, sizes);
      assert.match(
        replies,
        lawful
          ? /^250 2.0.0 \d+ octets received\r\n250 2.0.0 M1 accepted\r\n250 2.0.0 OK\r\n$/
          : /^550 5.5.2 .*\r\n503 5.5.1 .*\r\n250 2.0.0 OK\r\n$/,
      );
      assert.deepEqual(
        dialogue.delivery.stored.map(({ content }) => content),
        lawful ? [`${data}.\r\n`] : [],
      );
    });

    Deno.test(`a second message never appears behind ${name} after refused recipients${how}`, async () => {
      await using dialogue = new Dialogue();
      await dialogue.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<nobody@here.example>\r\n");
      const replies = await dialogue.say(`DATA\r\n${data}.\r\n`, sizes);
      assert.match(replies, /^503 5.5.1 .*\r\n421 4.7.0 .*\r\n$/);
      assert.deepEqual(dialogue.delivery.stored, []);
    });

    Deno.test(`a second message never appears behind ${name} after one refused recipient of two${how}`, async () => {
      await using dialogue = new Dialogue();
      await dialogue.say(
        "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<nobody@here.example>\r\n" +
          "RCPT TO:<bob@here.example>\r\nDATA\r\n",
      );
      assert.equal(await dialogue.say(data, sizes), "", "the data goes on");
      assert.match(await dialogue.say(".\r\n", sizes), lawful ? /^250 2.0.0 M1 / : /^550 5.5.2 /);
      assert.deepEqual(dialogue.delivery.stored.map(({ id }) => id), lawful ? ["M1"] : []);
    });

    Deno.test(`a second message never appears behind ${name} where line ends are repaired${how}`, async () => {
      await using dialogue = new Dialogue({ policy: { bareLineEndings: "repair" } });
      await dialogue.toData();
      assert.equal(await dialogue.say(data, sizes), "", "the data goes on");
      assert.match(await dialogue.say(".\r\n", sizes), /^250 2.0.0 M1 /);
      assert.equal(dialogue.delivery.stored.length, 1);
      assert.doesNotMatch(dialogue.delivery.stored[0]?.content ?? "", /\r(?!\n)|(?<!\r)\n/);
    });
  }

  Deno.test(`a message that begins with ${name} behind a refused DATA is not run, whenever it comes`, async () => {
    await using dialogue = new Dialogue();
    await dialogue.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<nobody@here.example>\r\n");
    assert.match(await dialogue.say("DATA\r\n"), /^503 5.5.1 /);
    await dialogue.say(`hello${sequence}${BEHIND}.\r\n`);
    dialogue.transport.end();
    await dialogue.done;
    assert.deepEqual(dialogue.delivery.stored, []);
    assert.equal(dialogue.reason, "sent on behind a refused DATA");
  });
}

Deno.test("no reply follows a 421 that is still being written when a command comes", async () => {
  await using dialogue = new Dialogue();
  await dialogue.say("EHLO client.test\r\n");
  dialogue.transport.stall();
  const shutdown = dialogue.server.shutdown({ grace: 60_000 });
  dialogue.transport.send(bytesOf("MAIL FROM:<a@client.test>\r\n"));
  await settle();
  dialogue.transport.flow();
  await shutdown;
  assert.equal(dialogue.heard(), "421 4.3.2 mx.here.example is shutting down; try again later\r\n");
  assert.equal(dialogue.reason, "shutdown");
});

for (const [where, last] of [["in commands", "NOOP\r\n"], ["in mid-data", "x\r\n"]] as const) {
  Deno.test(`a client that reads no last words ${where} is closed in time, whatever it sends meanwhile`, async () => {
    await using dialogue = new Dialogue();
    if (where === "in commands") await dialogue.say("EHLO client.test\r\n");
    else await dialogue.toData();
    dialogue.transport.stall();
    await dialogue.clock.advance(301_000);
    dialogue.transport.send(bytesOf(last));
    await dialogue.clock.advance(10_000);
    assert.ok(dialogue.transport.closed);
    await dialogue.done;
  });
}

Deno.test("a message whose end comes behind the 421 of a timeout is not stored", async () => {
  await using dialogue = new Dialogue();
  await dialogue.toData();
  await dialogue.say("Subject: x\r\n");
  dialogue.transport.stall();
  await dialogue.clock.advance(300_000);
  dialogue.transport.send(bytesOf(".\r\n"));
  await settle();
  dialogue.transport.flow();
  await dialogue.done;
  assert.equal(dialogue.heard(), "421 4.4.2 Timeout; goodbye\r\n");
  assert.deepEqual(dialogue.delivery.stored, []);
});

for (const step of ["write", "commit"] as const) {
  Deno.test(`a ${step} that takes an hour loses neither the message nor its 250`, async () => {
    const slow = Promise.withResolvers<void>();
    await using dialogue = new Dialogue({
      wrap: (pending) => ({
        id: pending.id,
        async write(chunk) {
          const copy = chunk.slice();
          if (step === "write") await slow.promise;
          await pending.write(copy);
        },
        async commit(headers) {
          if (step === "commit") await slow.promise;
          await pending.commit(headers);
        },
        [Symbol.asyncDispose]: () => pending[Symbol.asyncDispose](),
      }),
    });
    await dialogue.toData();
    dialogue.transport.send(bytesOf("x\r\n.\r\n"));
    await dialogue.clock.advance(3_600_000);
    assert.equal(dialogue.heard(), "");
    slow.resolve();
    await dialogue.transport.waiting();
    assert.match(dialogue.heard(), /^250 2.0.0 M1 accepted\r\n/);
    assert.equal(dialogue.delivery.stored.length, 1);
  });
}

const ENVELOPE = "MAIL FROM:<a@c.test>\r\nRCPT TO:<alice@here.example>\r\n";

for (
  const [what, before, last] of [
    ["BDAT in one piece with its envelope", "", `${ENVELOPE}BDAT 6 LAST\r\nx: y\r\n`],
    ["BDAT in one piece with its chunk", ENVELOPE, "BDAT 6 LAST\r\nx: y\r\n"],
    ["DATA in one piece with its mail data", ENVELOPE, "DATA\r\nx: y\r\n.\r\n"],
  ] as const
) {
  Deno.test(`a commit that takes an hour loses neither the message nor its 250: ${what}`, async () => {
    const slow = Promise.withResolvers<void>();
    await using dialogue = new Dialogue({
      wrap: (pending) => ({
        id: pending.id,
        write: (chunk) => pending.write(chunk),
        async commit(headers) {
          await slow.promise;
          await pending.commit(headers);
        },
        [Symbol.asyncDispose]: () => pending[Symbol.asyncDispose](),
      }),
    });
    await dialogue.say(`EHLO c.test\r\n${before}`);
    dialogue.transport.send(bytesOf(last));
    await dialogue.clock.advance(3_600_000);
    slow.resolve();
    await dialogue.transport.waiting();
    assert.match(dialogue.heard(), /250 2.0.0 M1 accepted\r\n/);
    assert.equal(dialogue.delivery.stored.length, 1);
  });
}

Deno.test("a delivery can have what is put on top before the message is there", async () => {
  let early: readonly Header[] | undefined;
  let late: readonly Header[] | undefined;
  let top: TopForecast | undefined;
  await using dialogue = new Dialogue({
    wrap: (pending, given) => {
      top = given;
      return {
        id: pending.id,
        write(chunk) {
          early ??= top?.fields();
          assert.equal(top?.reserve(), 0);
          return pending.write(chunk);
        },
        commit(headers) {
          late = headers;
          return pending.commit(headers);
        },
        [Symbol.asyncDispose]: () => pending[Symbol.asyncDispose](),
      };
    },
  });
  await dialogue.toData();
  dialogue.transport.send(bytesOf("x\r\n.\r\n"));
  await dialogue.transport.waiting();
  assert.match(dialogue.heard(), /^250 2.0.0 M1 accepted\r\n/);
  assert.deepEqual(early, late);
  assert.match(
    late?.map(({ name, value }) => `${name}: ${value}`).join("\n") ?? "",
    /^Received: [^]*\tid M1/m,
  );
});

Deno.test("a write that takes an hour does not count against the client's rate", async () => {
  let slow: PromiseWithResolvers<void> | undefined = Promise.withResolvers<void>();
  await using dialogue = new Dialogue({
    wrap: (pending) => ({
      id: pending.id,
      async write(chunk) {
        const copy = chunk.slice();
        await slow?.promise;
        await pending.write(copy);
      },
      commit: (headers) => pending.commit(headers),
      [Symbol.asyncDispose]: () => pending[Symbol.asyncDispose](),
    }),
  });
  await dialogue.toData();
  dialogue.transport.send(bytesOf("x\r\n\r\n"));
  await dialogue.clock.advance(3_600_000);
  slow.resolve();
  slow = undefined;
  await dialogue.transport.waiting();
  await dialogue.clock.advance(299_000);
  assert.match(await dialogue.say("y\r\n.\r\n"), /^250 2.0.0 M1 accepted\r\n/);
});

Deno.test("each refused attempt stands in the log at info, which is what is shown by default", async () => {
  await using dialogue = new Dialogue();
  await dialogue.say("MAIL TO: a@b\r\nNONSENSE\r\nplain\nEHLO c.test\r\nMAIL FROM:<a@c.test>\r\n");
  await dialogue.say("RCPT TO:<nobody@here.example>\r\nDATA\r\n");
  assert.deepEqual(
    dialogue.log.named("command.refused").map(({ level, fields }) => [level, fields["command"]]),
    [
      ["info", "MAIL TO: a@b"],
      ["info", "NONSENSE"],
      ["info", "plain"],
      ["info", "RCPT TO:<nobody@here.example>"],
      ["info", "DATA"],
    ],
  );
});

/** Commands of which each is refused, with a reply that counts as no error of the client. */
const REFUSED = {
  "RCPT beyond the limit": {
    before: "MAIL FROM:<a@c.test>\r\nRCPT TO:<bob@here.example>\r\n",
    again: "RCPT TO:<alice@here.example>\r\n",
  },
  "MAIL of a message that is too big": { before: "", again: "MAIL FROM:<a@c.test> SIZE=2000\r\n" },
  "MAIL without room for it": { before: "", again: "MAIL FROM:<no-room@c.test>\r\n" },
  "a full mailbox": { before: "MAIL FROM:<a@c.test>\r\n", again: "RCPT TO:<full@here.example>\r\n" },
  "a mailbox that cannot be looked up": {
    before: "MAIL FROM:<a@c.test>\r\n",
    again: "RCPT TO:<broken@here.example>\r\n",
  },
  "a message that cannot be stored": {
    before: "",
    again: "MAIL FROM:<a@c.test>\r\nRCPT TO:<no-commit@here.example>\r\nDATA\r\nx\r\n.\r\n",
  },
  "a chunk that is too big": {
    before: "",
    again: "MAIL FROM:<a@c.test>\r\nRCPT TO:<bob@here.example>\r\nBDAT 2000\r\n" + "x".repeat(2000),
  },
};
for (const [what, { before, again }] of Object.entries(REFUSED)) {
  Deno.test(`a session is ended behind so many refusals, and its log is short: ${what}`, async () => {
    await using dialogue = new Dialogue({
      limits: { maxRefusals: 150, maxRecipients: 1, maxMessageSize: 1000, maxErrors: 10 },
    });
    await dialogue.say(`EHLO c.test\r\n${before}`);
    let refused = 0;
    for (let said = ""; !said.includes("\r\n421 ") && refused < 1000;) {
      said = `\r\n${await dialogue.say(again)}`;
      const refusals = said.match(/\r\n[45]\d\d /g)?.length ?? 0;
      refused += refusals - (said.includes("\r\n421 ") ? 1 : 0);
      assert.ok(refusals > 0, said);
      if (said.includes("\r\n421 ")) assert.match(said, /\r\n421 4\.7\.0 Too many refusals; goodbye\r\n$/);
    }
    assert.equal(refused, 151);
    await dialogue.clock.advance(10_000);
    await dialogue.done;
    assert.equal(dialogue.reason, "too many refusals");
    assert.equal(dialogue.log.named("session.closed")[0]?.fields["refusals"], 151);
    assert.ok(dialogue.log.named("command.refused").length <= 100);
    assert.ok(dialogue.log.named("command.failed").length <= 100);
  });
}

Deno.test("a program may name ten times as many recipients as a message takes, and keeps those that were taken", async () => {
  await using dialogue = new Dialogue({ limits: { maxRefusals: 10, maxRecipients: 100 } });
  await dialogue.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\n");
  const said = await dialogue.say("RCPT TO:<alice@here.example>\r\n".repeat(1000));
  assert.equal(said.match(/^250 /gm)?.length, 100);
  assert.equal(said.match(/^452 4\.5\.3 /gm)?.length, 900);
  assert.match(await dialogue.say("DATA\r\nx\r\n.\r\n"), /^354 [^]*\r\n250 /);
});

Deno.test("a failure to clean up behind a commit does not lose the 250", async () => {
  await using dialogue = new Dialogue({
    wrap: (pending) => ({
      id: pending.id,
      write: (chunk) => pending.write(chunk),
      commit: (headers) => pending.commit(headers),
      [Symbol.asyncDispose]: () => Promise.reject(new Error("unlink")),
    }),
  });
  await dialogue.toData();
  assert.match(await dialogue.say(".\r\nNOOP\r\n"), /^250 2.0.0 M1 accepted\r\n250 2.0.0 OK\r\n$/);
  assert.equal(dialogue.log.named("message.cleanup_failed").length, 1);
});

Deno.test("a failure to clean up at the end of the session is logged, and the connection closed", async () => {
  const dialogue = new Dialogue({
    wrap: (pending) => ({
      id: pending.id,
      write: (chunk) => pending.write(chunk),
      commit: (headers) => pending.commit(headers),
      [Symbol.asyncDispose]: () => Promise.reject(new Error("unlink")),
    }),
  });
  await dialogue.toData();
  dialogue.transport.end();
  await dialogue.done;
  assert.ok(dialogue.transport.closed);
  assert.equal(dialogue.log.named("message.cleanup_failed").length, 1);
});

Deno.test("drain() tells an idle client 421, and lets a transaction end", async () => {
  await using idle = new Dialogue();
  await idle.say("EHLO client.test\r\n");
  await idle.server.shutdown({ grace: 1000 });
  assert.match(idle.heard(), /^421 4.3.2 /);

  await using busy = new Dialogue();
  await busy.toData();
  const shutdown = busy.server.shutdown({ grace: 60_000 });
  await settle();
  assert.equal(busy.heard(), "");
  const replies = await busy.say("x\r\n.\r\nMAIL FROM:<b@client.test>\r\n");
  assert.match(replies, /^250 2.0.0 M1 accepted\r\n421 4.3.2 .*\r\n$/);
  busy.transport.end();
  await shutdown;
  assert.equal(busy.delivery.stored.length, 1);
  assert.equal(busy.reason, "shutdown");
});

Deno.test("abort() tells a client 421 that is to say something, and cuts one off in mid-data", async () => {
  await using waiting = new Dialogue();
  await waiting.say("EHLO client.test\r\nMAIL FROM:<a@client.test>\r\n");
  const over = waiting.server.shutdown({ grace: 1000 });
  await settle();
  assert.equal(waiting.heard(), "");
  await waiting.clock.advance(1000);
  await over;
  assert.match(waiting.heard(), /^421 4.3.2 /);
  assert.equal(waiting.reason, "shutdown");

  await using busy = new Dialogue();
  await busy.toData();
  const end = busy.server.shutdown({ grace: 1000 });
  await busy.clock.advance(1000);
  await end;
  assert.equal(busy.heard(), "");
  assert.deepEqual([busy.transport.closed, busy.reason], [true, "shutdown"]);
});

Deno.test("abort() lets a message that is being stored be answered", async () => {
  await using dialogue = new Dialogue();
  const stored = Promise.withResolvers<void>();
  dialogue.delivery.beforeCommit = stored.promise;
  await dialogue.toData();
  dialogue.transport.send(bytesOf("x\r\n.\r\n"));
  await settle();
  const over = dialogue.server.shutdown({ grace: 1000 });
  await dialogue.clock.advance(1000);
  assert.ok(!dialogue.transport.closed);
  stored.resolve();
  await settle();
  assert.match(dialogue.heard(), /^250 2.0.0 M1 accepted\r\n421 4.3.2 .*\r\n$/);
  dialogue.transport.end();
  await over;
  assert.equal(dialogue.delivery.stored.length, 1);
});

Deno.test("drain() is not missed while a reply is being written", async () => {
  await using dialogue = new Dialogue();
  await dialogue.say("EHLO client.test\r\n");
  dialogue.transport.stall();
  dialogue.transport.send(bytesOf("NOOP\r\n"));
  await settle();
  const shutdown = dialogue.server.shutdown({ grace: 60_000 });
  await settle();
  dialogue.transport.flow();
  await dialogue.transport.waiting();
  dialogue.transport.end();
  await shutdown;
  assert.match(dialogue.heard(), /^250 2.0.0 OK\r\n421 4.3.2 .*\r\n$/);
});

Deno.test("drain() is not missed during a handshake", async () => {
  const handshake = Promise.withResolvers<void>();
  await using dialogue = new Dialogue({
    implicitTls: true,
    upgradeToTls: async (transport) => {
      await handshake.promise;
      return { transport, tls: { protocol: "TLSv1.3", cipher: "X" } };
    },
  });
  const shutdown = dialogue.server.shutdown({ grace: 60_000 });
  handshake.resolve();
  await settle();
  dialogue.transport.end();
  await shutdown;
  assert.match(dialogue.heard(), /^220 .*\r\n421 4.3.2 .*\r\n$/);
});

Deno.test("shutdown() closes what is left when the grace is over, and nothing of it is stored", async () => {
  await using dialogue = new Dialogue();
  await dialogue.toData();
  await dialogue.say("Subject: x\r\n");
  const shutdown = dialogue.server.shutdown({ grace: 1000 });
  await dialogue.clock.advance(1000);
  await shutdown;
  assert.ok(dialogue.transport.closed);
  assert.deepEqual(dialogue.delivery.stored, []);
  assert.equal(dialogue.reason, "shutdown");
});

Deno.test("replies to chunks that are at hand go out together", async () => {
  await using dialogue = new Dialogue();
  await dialogue.say("EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<alice@here.example>\r\n");
  const { transport } = dialogue;
  let writes = 0;
  const write = transport.write.bind(transport);
  transport.write = (data) => {
    writes++;
    return write(data);
  };
  const heard = await dialogue.say(`${"BDAT 1\r\nx".repeat(400)}BDAT 2 LAST\r\n\r\n`);
  assert.equal(heard, `${"250 2.0.0 1 octets received\r\n".repeat(400)}250 2.0.0 M1 accepted\r\n`);
  assert.ok(writes <= 2, `${writes} writes`);
});

Deno.test("a client that never reads is closed, and little is held for it", async () => {
  await using dialogue = new Dialogue();
  await dialogue.say("EHLO client.test\r\n");
  dialogue.transport.stall();
  dialogue.transport.send(bytesOf("HELP\r\n".repeat(100_000)), [4096]);
  await settle();
  assert.ok(dialogue.transport.heldOctets < 32 * 1024, `${dialogue.transport.heldOctets}`);
  assert.ok(dialogue.transport.unread > 500_000, "the server has stopped reading");
  await dialogue.clock.advance(300_000);
  assert.ok(dialogue.transport.closed);
  assert.equal(dialogue.reason, "timeout");
});

Deno.test("lines of any length are stored as they were sent, by DATA and by BDAT", async () => {
  for (const length of [998, 999, 1000, 1001, 10_000_000]) {
    await using dialogue = new Dialogue();
    const message = `Subject: x\r\n\r\n.${"y".repeat(length - 1)}\r\nend\r\n`;
    await dialogue.toData();
    assert.match(
      await dialogue.say(`${message.replaceAll("\r\n.", "\r\n..")}.\r\n`, [65_536]),
      /^250 2\.0\.0 /,
    );
    await dialogue.say("MAIL FROM:<a@client.test>\r\nRCPT TO:<alice@here.example>\r\n");
    assert.match(await dialogue.say(`BDAT ${message.length} LAST\r\n${message}`, [65_536]), /^250 2\.0\.0 /);
    assert.equal(dialogue.delivery.stored.length, 2);
    for (const { content } of dialogue.delivery.stored) assert.ok(content === message, `${length}`);
  }
});

Deno.test("a reset in mid-data leaves nothing behind", async () => {
  await using dialogue = new Dialogue();
  await dialogue.toData();
  await dialogue.say("Subject: x\r\n");
  dialogue.transport.reset();
  await dialogue.done;
  assert.equal(dialogue.reason, "connection lost (ECONNRESET)");
  assert.deepEqual(dialogue.delivery.stored, []);
});

Deno.test("a client that closes its side behind QUIT-less commands gets its replies", async () => {
  await using dialogue = new Dialogue();
  dialogue.transport.send(bytesOf("NOOP\r\nHELO x\r\n"));
  dialogue.transport.end();
  await dialogue.done;
  assert.match(dialogue.heard(), /^220 .*\r\n250 2.0.0 OK\r\n250 mx.*\r\n$/);
  assert.equal(dialogue.reason, "closed by the peer");
});

Deno.test("a handshake that fails ends the session, and says why in the log", async () => {
  await using dialogue = new Dialogue({
    upgradeToTls: () => Promise.reject(new Error("wrong version number")),
  });
  await dialogue.say("EHLO client.test\r\n");
  dialogue.transport.send(bytesOf("STARTTLS\r\n"));
  await dialogue.done;
  assert.equal(dialogue.heard(), "220 2.0.0 Begin TLS\r\n");
  assert.equal(dialogue.reason, "TLS handshake failed");
});

Deno.test("the handshake has its own deadline", async () => {
  let deadline = 0;
  await using dialogue = new Dialogue({
    implicitTls: true,
    limits: { handshakeTimeout: 7000 },
    upgradeToTls: (transport) => {
      ({ deadline } = transport);
      return Promise.reject(new Error("silent"));
    },
  });
  await dialogue.done;
  assert.equal(deadline, 7000);
  assert.equal(dialogue.heard(), "");
});

Deno.test("last words reach a client that has sent more than was read", async () => {
  await using dialogue = new Dialogue();
  const replies = await dialogue.say(`GET / HTTP/1.1\r\n${"X: y\r\n".repeat(1000)}`, [100]);
  assert.match(replies, /^220 .*\r\n521 .*\r\n$/);
  await settle();
  // The server reads on, so that the client's system sends no reset that would swallow them.
  assert.equal(dialogue.transport.unread, 0);
  assert.ok(!dialogue.transport.closed);
  await dialogue.clock.advance(2000);
  await dialogue.done;
  assert.ok(dialogue.transport.closed);
});

Deno.test("the log says whose message did not arrive: refused, or left unfinished", async () => {
  const dialogue = new Dialogue();
  {
    await using _ended = dialogue;
    await dialogue.say(
      "EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<nobody@here.example>\r\nRSET\r\n",
    );
    await dialogue.toData();
    await dialogue.say("Subject: x\r\n");
  }
  const [refused] = dialogue.log.named("command.refused");
  assert.equal(refused?.fields["from"], "a@client.test");
  const [closed] = dialogue.log.named("session.closed");
  assert.equal(closed?.fields["reason"], "closed by the peer in mid-data");
  assert.deepEqual([closed?.fields["from"], closed?.fields["to"]], ["a@client.test", ["alice@here.example"]]);
});
