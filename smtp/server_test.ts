import assert from "node:assert/strict";
import { connect } from "node:net";
import { bytesOf, textOf } from "../tests/support/bytes.ts";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { RecordingDelivery } from "../tests/support/recording_delivery.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { type ServerLimits, SmtpServer } from "./server.ts";
import { until } from "../tests/support/until.ts";

/** The parts of a `Deno.Conn` that are used. */
class FakeConn {
  readonly localAddr = { transport: "tcp", hostname: "192.0.2.1", port: 25 };
  readonly remoteAddr: Deno.NetAddr;
  heard = "";
  closed = false;
  readonly #input: (Uint8Array | null)[] = [];
  #wake: (() => void) | undefined;
  /** Whether the client takes nothing. */
  stalled = false;

  constructor(hostname: string) {
    this.remoteAddr = { transport: "tcp", hostname, port: 50_000 };
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#input.length === 0) {
      if (this.closed) throw new Deno.errors.BadResource("closed");
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const chunk = this.#input.shift() ?? null;
    if (chunk === null) return null;
    buffer.set(chunk);
    return chunk.length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    while (this.stalled) {
      if (this.closed) throw new Deno.errors.BadResource("closed");
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    this.heard += textOf(bytes);
    return bytes.length;
  }

  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    assert.ok(!this.closed, "closed twice");
    this.closed = true;
    this.#wake?.();
  }

  say(text: string | null): void {
    this.#input.push(text === null ? null : bytesOf(text));
    this.#wake?.();
  }
}

/** A listener that a test feeds. */
class FakeListener {
  readonly addr = { transport: "tcp", hostname: "192.0.2.1", port: 25 };
  readonly #queue: (FakeConn | Error)[] = [];
  #wake: (() => void) | undefined;
  accepts = 0;
  closed = false;

  async accept(): Promise<FakeConn> {
    this.accepts++;
    for (;;) {
      if (this.closed) throw new Deno.errors.BadResource("Listener has been closed");
      const next = this.#queue.shift();
      if (next instanceof Error) throw next;
      if (next) return next;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  close(): void {
    this.closed = true;
    this.#wake?.();
  }

  /** What the next accept() gives. */
  offer(next: FakeConn | Error): void {
    this.#queue.push(next);
    this.#wake?.();
  }
}

/** A server on a listener of the test's. */
class Served implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly log = new RecordingLog();
  readonly listener = new FakeListener();
  readonly server: SmtpServer;
  readonly serving: Promise<void>;
  readonly #conns: FakeConn[] = [];

  constructor(limits: Partial<ServerLimits> = {}, { implicitTls = false } = {}) {
    this.server = new SmtpServer({
      hostname: "mx.here.example",
      delivery: new RecordingDelivery(),
      logger: this.log,
      clock: this.clock,
      limits,
    });
    this.serving = this.server.serve(this.listener as unknown as Deno.Listener, { implicitTls });
  }

  async connect(address: string): Promise<FakeConn> {
    const conn = new FakeConn(address);
    this.#conns.push(conn);
    this.listener.offer(conn);
    await settle();
    return conn;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const shutdown = this.server.shutdown({ grace: 0 });
    await this.clock.advance(1000);
    await shutdown;
    await this.serving;
    for (const conn of this.#conns) assert.ok(conn.closed, "a connection was left open");
    assert.equal(this.clock.pending, 0, "a timer was left running");
    assert.equal(this.server.connectionCount, 0);
  }
}

const GREETED = /^220 mx\.here\.example ESMTP mailapp\r\n$/;
const GREETED_AND_SENT_HOME = /^220 .*\r\n421 4.3.2 .*\r\n$/;
const fail = (code: string) => Object.assign(new Error(code), { code });

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
    new Error("of a kind that nobody knows"),
  ];
  for (const failure of [...failures, ...failures]) served.listener.offer(failure);
  // Behind sixteen failures the event loop has its turn.
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

Deno.test("serve() takes the next connection behind fifty that were reset before they were accepted", async () => {
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
