import assert from "node:assert/strict";
import { settle } from "../tests/support/fake_clock.ts";
import { RecordingDelivery } from "../tests/support/recording_delivery.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { SmtpServer } from "./server.ts";
import { fail } from "./server_test.ts";
import { FakeListener, GREETED_AND_SENT_HOME, Served } from "../tests/support/fake_listener.ts";

Deno.test("shutdown() stops accepting, tells idle clients, and waits for messages in flight", async () => {
  await using served = new Served();
  const idle = await served.connect("192.0.2.1");
  const busy = await served.connect("192.0.2.2");
  busy.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\n");
  await settle();
  let over = false;
  const shutdown = served.server.shutdown({ grace: 10_000 }).then(() => over = true);
  await settle();
  assert.ok(served.listener.closed);
  await served.serving;
  assert.match(idle.heard, /^220 .*\r\n421 4.3.2 .*\r\n$/);
  assert.ok(idle.closed);
  assert.ok(!over);
  busy.say("x\r\n.\r\n");
  await settle();
  assert.match(busy.heard, /\r\n250 2.0.0 M1 accepted\r\n421 4.3.2 .*\r\n$/);
  busy.say(null);
  await shutdown;
});

Deno.test("shutdown() closes what is left after the grace", async () => {
  await using served = new Served();
  const busy = await served.connect("192.0.2.2");
  busy.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\n");
  await settle();
  const shutdown = served.server.shutdown({ grace: 10_000 });
  await served.clock.advance(9999);
  assert.ok(!busy.closed);
  await served.clock.advance(1);
  assert.ok(busy.closed);
  await shutdown;
});

Deno.test("shutdown() ends the grace period when it is forced", async () => {
  await using served = new Served();
  const busy = await served.connect("192.0.2.2");
  busy.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\n");
  await settle();
  const force = new AbortController();
  const shutdown = served.server.shutdown({ grace: 10_000, forced: force.signal });
  await served.clock.advance(5000);
  assert.ok(!busy.closed);
  force.abort();
  await settle();
  assert.ok(busy.closed);
  await shutdown;
});

Deno.test("shutdown() accepts new connections while it is told to, within the grace period", async () => {
  await using served = new Served();
  const idle = await served.connect("192.0.2.1");
  const sent = Promise.withResolvers<void>();
  const shutdown = served.server.shutdown({ grace: 10_000, accepting: sent.promise });
  await settle();
  assert.match(idle.heard, /^220 .*\r\n421 4.3.2 .*\r\n$/);
  const late = await served.connect("192.0.2.2");
  late.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\nx\r\n.\r\n");
  await settle();
  assert.match(late.heard, /\r\n250 2.0.0 M1 accepted\r\n$/);
  const later = await served.connect("192.0.2.3");
  sent.resolve();
  await settle();
  assert.ok(served.listener.closed);
  await served.serving;
  assert.match(late.heard, /\r\n250 2.0.0 M1 accepted\r\n421 4.3.2 .*\r\n$/);
  assert.match(later.heard, GREETED_AND_SENT_HOME);
  await shutdown;
});

Deno.test("shutdown() gives clients that came last five seconds", async () => {
  await using served = new Served();
  const shutdown = served.server.shutdown({ grace: 10_000, accepting: new Promise(() => {}) });
  await served.clock.advance(9999);
  const late = await served.connect("192.0.2.2");
  late.say("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\n");
  await settle();
  await served.clock.advance(1);
  assert.ok(served.listener.closed);
  await served.clock.advance(4000);
  late.say("x\r\n.\r\n");
  await settle();
  assert.match(late.heard, /\r\n250 2.0.0 M1 accepted\r\n421 4.3.2 .*\r\n$/);
  late.say(null);
  await shutdown;
});

Deno.test("shutdown() gives clients that came last no more than lateGrace, however much of the grace period is left", async () => {
  await using served = new Served();
  const shutdown = served.server.shutdown({ grace: 30_000, accepting: Promise.resolve(), lateGrace: 5_000 });
  await shutdown;
  assert.ok(served.listener.closed);

  await using busy = new Served();
  const slow = await busy.connect("192.0.2.1");
  const transaction = "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@here.example>\r\nDATA\r\n";
  slow.say(transaction);
  await settle();
  const ending = busy.server.shutdown({ grace: 30_000, accepting: Promise.resolve(), lateGrace: 5_000 });
  await busy.clock.advance(10_000);
  assert.ok(!busy.listener.closed);
  const late = await busy.connect("192.0.2.2");
  late.say(transaction);
  await settle();
  slow.say("x\r\n.\r\n");
  await settle();
  assert.match(slow.heard, /\r\n250 2.0.0 M1 accepted\r\n421 4.3.2 .*\r\n$/);
  slow.say(null);
  await settle();
  assert.ok(busy.listener.closed);
  await busy.clock.advance(4_999);
  assert.ok(!late.closed);
  await busy.clock.advance(1);
  assert.ok(late.closed);
  await ending;
});

Deno.test("shutdown() during a pause ends serve()", async () => {
  await using served = new Served();
  served.listener.offer(fail("EMFILE"));
  await settle();
  await served.server.shutdown({ grace: 0 });
  await served.clock.advance(200);
  await served.serving;
  assert.equal(served.listener.accepts, 1);
});

Deno.test("serve() after shutdown() serves nothing", async () => {
  const server = new SmtpServer({
    hostname: "mx.here.example",
    delivery: new RecordingDelivery(),
    logger: new RecordingLog(),
  });
  await server.shutdown({ grace: 0 });
  const listener = new FakeListener();
  await server.serve(listener as unknown as Deno.Listener);
  assert.ok(listener.closed);
});
