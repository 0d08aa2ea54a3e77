import assert from "node:assert/strict";
import { bytesOf } from "../tests/support/bytes.ts";
import { settle } from "../tests/support/fake_clock.ts";
import { Dialogue } from "../tests/support/server_dialogue.ts";

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

Deno.test("a message whose end comes after the 421 of a timeout is not stored", async () => {
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

Deno.test("a reset in mid-data leaves nothing behind", async () => {
  await using dialogue = new Dialogue();
  await dialogue.toData();
  await dialogue.say("Subject: x\r\n");
  dialogue.transport.reset();
  await dialogue.done;
  assert.equal(dialogue.reason, "connection lost (ECONNRESET)");
  assert.deepEqual(dialogue.delivery.stored, []);
});

Deno.test("a client that closes its side after QUIT-less commands gets its replies", async () => {
  await using dialogue = new Dialogue();
  dialogue.transport.send(bytesOf("NOOP\r\nHELO x\r\n"));
  dialogue.transport.end();
  await dialogue.done;
  assert.match(dialogue.heard(), /^220 .*\r\n250 2.0.0 OK\r\n250 mx.*\r\n$/);
  assert.equal(dialogue.reason, "closed by the peer");
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
