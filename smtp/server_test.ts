import assert from "node:assert/strict";
import { connect } from "node:net";
import { textOf } from "../tests/support/bytes.ts";
import { settle } from "../tests/support/fake_clock.ts";
import { RecordingDelivery } from "../tests/support/recording_delivery.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { SmtpServer } from "./server.ts";
import { until } from "../tests/support/until.ts";
import { FakeConn, GREETED, Served } from "../tests/support/fake_listener.ts";

export const fail = (code: string) => Object.assign(new Error(code), { code });

Deno.test("serve() refuses connections above the cap of an address, and serves others", async () => {
  await using served = new Served({ maxConnectionsPerIp: 2 });
  const first = await served.connect("192.0.2.9");
  assert.match(first.heard, GREETED);
  assert.match((await served.connect("192.0.2.9")).heard, GREETED);
  const third = await served.connect("192.0.2.9");
  assert.equal(third.heard, "421 4.7.0 Too many connections from your address; close some first\r\n");
  assert.ok(third.closed);
  assert.match((await served.connect("192.0.2.10")).heard, GREETED);
  assert.equal(served.log.named("connection.refused")[0]?.fields["peer"], "192.0.2.9");
  // A place that becomes free is given away again.
  first.say("QUIT\r\n");
  await settle();
  assert.ok(first.closed);
  assert.match((await served.connect("192.0.2.9")).heard, GREETED);
  assert.match((await served.connect("192.0.2.9")).heard, /^421 4.7.0 /);
});

Deno.test("serve() counts an IPv6 client by its /64, and a mapped address as IPv4", async () => {
  await using served = new Served({ maxConnectionsPerIp: 1 });
  assert.match((await served.connect("2001:db8:0:1::1")).heard, GREETED);
  assert.match((await served.connect("2001:db8:0:1:ffff::2")).heard, /^421 4.7.0 /);
  assert.match((await served.connect("2001:db8:0:2::1")).heard, GREETED);
  assert.match((await served.connect("192.0.2.9")).heard, GREETED);
  assert.match((await served.connect("::ffff:192.0.2.9")).heard, /^421 4.7.0 /);
});

Deno.test("serve() refuses connections above the cap of all", async () => {
  await using served = new Served({ maxConnections: 2 });
  const first = await served.connect("192.0.2.1");
  await served.connect("192.0.2.2");
  const third = await served.connect("192.0.2.3");
  assert.equal(third.heard, "421 4.3.2 Too many connections; try again later\r\n");
  assert.ok(third.closed);
  first.say(null);
  await settle();
  assert.ok(first.closed);
  assert.match((await served.connect("192.0.2.3")).heard, GREETED);
});

Deno.test("serve() keeps few refused clients that do not read, and none for long", async () => {
  await using served = new Served({ maxConnections: 1 });
  await served.connect("192.0.2.1");
  const stalled = new FakeConn("192.0.2.2");
  stalled.stalled = true;
  served.listener.offer(stalled);
  await settle();
  assert.ok(!stalled.closed);
  const next = await served.connect("192.0.2.3");
  assert.equal(next.heard, "", "no place for another refusal");
  assert.ok(next.closed);
  await served.clock.advance(5000);
  assert.ok(stalled.closed);
  assert.match((await served.connect("192.0.2.3")).heard, /^421 /);
});

Deno.test("serve() closes without a word where a handshake is expected", async () => {
  await using served = new Served({ maxConnections: 0 }, { implicitTls: true });
  const conn = await served.connect("192.0.2.1");
  assert.equal(conn.heard, "");
  assert.ok(conn.closed);
});

Deno.test("serve() logs the refusal of connections once a minute for each address", async () => {
  await using served = new Served({ maxConnectionsPerIp: 0 });
  const logged = async (addresses: readonly string[]) => {
    const before = served.log.events.length;
    for (const address of addresses) await served.connect(address);
    return served.log.events.slice(before).filter(({ event, level }) =>
      event === "connection.refused" && level === "info"
    ).map(({ fields }) => fields["peer"]);
  };
  const flood = Array(50).fill("192.0.2.9");
  assert.deepEqual(await logged([...flood, "192.0.2.10", ...flood, "2001:db8::1", "2001:db8::2"]), [
    "192.0.2.9",
    "192.0.2.10",
    "2001:db8::1",
  ]);
  await served.clock.advance(60_000);
  assert.deepEqual(await logged(flood), ["192.0.2.9"]);
  assert.equal(served.log.named("connection.refused").length, 153);
});

Deno.test("serve() pauses when it is out of descriptors, says so once, and recovers", async () => {
  await using served = new Served();
  for (let i = 0; i < 5; i++) served.listener.offer(fail("EMFILE"));
  await settle();
  assert.equal(served.listener.accepts, 1, "it does not spin");
  await served.clock.advance(199);
  assert.equal(served.listener.accepts, 1);
  await served.clock.advance(1000);
  assert.equal(served.listener.accepts, 6);
  assert.match((await served.connect("192.0.2.1")).heard, GREETED);
  assert.equal(served.log.named("accept.failed").length, 1);
  assert.equal(served.log.named("accept.recovered").length, 1);
});

for (const code of ["ENFILE", "ENOBUFS", "ENOMEM"]) {
  Deno.test(`serve() pauses at ${code} too, which is a lack of ours`, async () => {
    await using served = new Served();
    served.listener.offer(fail(code));
    served.listener.offer(fail("ENOTCONN"));
    await settle();
    assert.equal(served.listener.accepts, 1);
    await served.clock.advance(200);
    assert.match((await served.connect("192.0.2.1")).heard, GREETED);
    assert.equal(served.log.named("accept.failed").length, 1);
    assert.equal(served.log.named("accept.recovered").length, 1);
  });
}

Deno.test("serve() goes on at once where only one connection failed, however its peer did that", async () => {
  await using served = new Served();
  const failures = [
    ...["ECONNABORTED", "ECONNRESET", "ENOTCONN", "EPROTO", "EPERM", "ENETDOWN", "EHOSTUNREACH"].map(fail),
    new Deno.errors.ConnectionAborted("x"),
    new Deno.errors.NotConnected("Transport endpoint is not connected (os error 107)"),
    new Error("of an unknown kind"),
  ];
  for (const failure of [...failures, ...failures]) served.listener.offer(failure);
  // After sixteen failures the event loop has its turn.
  await until(() => served.listener.accepts > 2 * failures.length, "the next connection");
  assert.match((await served.connect("192.0.2.1")).heard, GREETED);
  assert.deepEqual(served.log.named("accept.failed"), []);
  assert.equal(served.log.named("accept.lost").length, 2 * failures.length);
});

Deno.test("serve() leaves others their turn while connections fail without end", async () => {
  await using served = new Served();
  let othersHadTheirs = false;
  const timer = setTimeout(() => othersHadTheirs = true, 0);
  const { listener } = served;
  let failures = 0;
  const accept = listener.accept.bind(listener);
  listener.accept = () =>
    othersHadTheirs || ++failures > 100_000 ? accept() : Promise.reject(fail("ENOTCONN"));
  // The accept that is under way is the listener's own.
  listener.offer(fail("ENOTCONN"));
  await new Promise((resolve) => setTimeout(resolve, 0));
  clearTimeout(timer);
  assert.ok(failures <= 100_000);
});

Deno.test("serve() takes the next connection after fifty that were reset before they were accepted", async () => {
  const log = new RecordingLog();
  const server = new SmtpServer({
    hostname: "mx.here.example",
    delivery: new RecordingDelivery(),
    logger: log,
  });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  for (let i = 0; i < 50; i++) await reset(port);
  const serving = server.serve(listener);
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const greeting = new Uint8Array(100);
  await conn.read(greeting);
  assert.match(textOf(greeting), /^220 /);
  assert.equal(log.named("accept.lost").length, 50);
  assert.deepEqual(log.named("accept.failed"), []);
  await server.shutdown({ grace: 0 });
  await serving;
});

/** A connection that its client ends by a reset. */
function reset(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.resetAndDestroy());
    socket.on("error", reject);
    socket.on("close", () => resolve());
  });
}

Deno.test("serve() ends when its listener is closed by somebody else", async () => {
  await using served = new Served();
  await settle();
  served.listener.close();
  await served.serving;
});

Deno.test("session ids are different, and join the events of one session", async () => {
  await using served = new Served();
  await served.connect("192.0.2.1");
  await served.connect("192.0.2.2");
  const ids = served.log.named("session.opened").map(({ fields }) => fields["session"]);
  assert.equal(new Set(ids).size, 2);
  for (const id of ids) assert.match(String(id), /^[0-9a-z]+$/);
});

Deno.test("a process whose last act was to run out of descriptors goes on living", async () => {
  // The listener fails once; then the test's process must still be there to accept.
  const script = `
    import { SmtpServer } from ${JSON.stringify(import.meta.resolve("./server.ts"))};
    import { silentLogger } from ${JSON.stringify(import.meta.resolve("../base/log.ts"))};
    const server = new SmtpServer({ hostname: "x", logger: silentLogger, delivery: {} });
    let accepts = 0;
    server.serve({
      accept() {
        if (accepts++ === 0) return Promise.reject(Object.assign(new Error("EMFILE"), { code: "EMFILE" }));
        return Promise.reject(new Deno.errors.BadResource("closed"));
      },
      close() {},
    }).then(() => console.log("accepted again"));
  `;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", "--ext=ts", script],
  }).output();
  assert.equal(new TextDecoder().decode(stdout), "accepted again\n");
});
