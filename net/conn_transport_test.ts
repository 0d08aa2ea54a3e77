import assert from "node:assert/strict";
import type { Clock } from "../base/clock.ts";
import { ConnectionError, ConnTransport, withoutMapping } from "./conn_transport.ts";
import { DeadlineError } from "./transport.ts";

/** A clock moved by hand; `jump` changes the time of day only, as ntpd does. */
class HandClock implements Clock {
  #now = Date.UTC(2026, 10, 24);
  #elapsed = 0;
  readonly timers = new Set<{ at: number; callback: () => void }>();

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  after(ms: number, callback: () => void) {
    const timer = { at: this.#elapsed + ms, callback };
    this.timers.add(timer);
    return { cancel: () => void this.timers.delete(timer) };
  }

  jump(ms: number): void {
    this.#now += ms;
  }

  advance(ms: number): void {
    const end = this.#elapsed + ms;
    for (;;) {
      const next = [...this.timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#now += next.at - this.#elapsed;
      this.#elapsed = next.at;
      this.timers.delete(next);
      next.callback();
    }
    this.#now += end - this.#elapsed;
    this.#elapsed = end;
  }
}

async function connected(clock = new HandClock(), hostname = "127.0.0.1") {
  using listener = Deno.listen({ hostname, port: 0 });
  const [peer, conn] = await Promise.all([
    Deno.connect({ hostname: hostname === "::" ? "127.0.0.1" : hostname, port: listener.addr.port }),
    listener.accept(),
  ]);
  return { clock, peer, transport: new ConnTransport(conn, { clock }) };
}

const bytes = (text: string) => new TextEncoder().encode(text);
const MINUTE = 60_000;

Deno.test("read() gives what is there, then null at the end", async () => {
  const { peer, transport } = await connected();
  await peer.write(bytes("EHLO"));
  const buffer = new Uint8Array(10);
  assert.equal(await transport.read(buffer), 4);
  peer.close();
  assert.equal(await transport.read(buffer), null);
  transport.close();
  transport.close();
});

Deno.test("write() writes all of it", async () => {
  const { peer, transport } = await connected();
  const size = 8 << 20;
  const sent = transport.write(new Uint8Array(size).fill(7)).then(() => transport.close());
  let received = 0;
  for (const buffer = new Uint8Array(1 << 16);;) {
    const read = await peer.read(buffer);
    if (read === null) break;
    received += read;
  }
  await sent;
  assert.equal(received, size);
  peer.close();
});

Deno.test("deadline ends a pending read, and what follows fails alike", async () => {
  const { clock, peer, transport } = await connected();
  transport.deadline = clock.monotonic() + MINUTE;
  const read = assert.rejects(transport.read(new Uint8Array(1)), DeadlineError);
  clock.advance(MINUTE);
  await read;
  await assert.rejects(transport.write(bytes("x")), DeadlineError);
  peer.close();
});

Deno.test("deadline ends a write to a peer that never reads", async () => {
  const { clock, peer, transport } = await connected();
  transport.deadline = clock.monotonic() + MINUTE;
  const write = assert.rejects(transport.write(new Uint8Array(64 << 20)), DeadlineError);
  clock.advance(MINUTE);
  await write;
  peer.close();
});

Deno.test("deadline keeps one timer, however often it moves", async () => {
  const { clock, peer, transport } = await connected();
  for (let i = 0; i < 100; i++) {
    clock.advance(1000);
    transport.deadline = clock.monotonic() + 5 * MINUTE;
    assert.equal(clock.timers.size, 1);
  }
  clock.advance(5 * MINUTE - 1);
  assert.equal(clock.timers.size, 1, "still open");
  const read = assert.rejects(transport.read(new Uint8Array(1)), DeadlineError);
  clock.advance(1);
  await read;
  assert.equal(clock.timers.size, 0);
  peer.close();
});

Deno.test("deadline may come nearer, pass at once, or be lifted", async () => {
  const { clock, peer, transport } = await connected();
  transport.deadline = clock.monotonic() + 30 * MINUTE;
  transport.deadline = Infinity;
  clock.advance(60 * MINUTE);
  assert.equal(clock.timers.size, 0);
  transport.deadline = clock.monotonic() + 30 * MINUTE;
  transport.deadline = clock.monotonic() - 1;
  clock.advance(0);
  await assert.rejects(transport.read(new Uint8Array(1)), DeadlineError);
  peer.close();
});

for (
  const [name, jump] of [["a day ahead", 24 * 60 * MINUTE], ["a year back", -365 * 24 * 60 * MINUTE]] as const
) {
  Deno.test(`deadline neither ends nor immortalises a session when the clock jumps ${name}`, async () => {
    const { clock, peer, transport } = await connected();
    transport.deadline = clock.monotonic() + 5 * MINUTE;
    clock.advance(MINUTE);
    transport.deadline = clock.monotonic() + 5 * MINUTE;
    clock.jump(jump);
    clock.advance(5 * MINUTE - 1);
    assert.equal(clock.timers.size, 1, "no earlier than allowed");
    const read = assert.rejects(transport.read(new Uint8Array(1)), DeadlineError);
    clock.advance(1);
    await read;
    peer.close();
  });
}

Deno.test("close() fails what is pending, and stops the timer", async () => {
  const { clock, peer, transport } = await connected();
  transport.deadline = clock.monotonic() + MINUTE;
  const read = assert.rejects(
    transport.read(new Uint8Array(1)),
    (error) => error instanceof ConnectionError && error.code === "CLOSED",
  );
  transport.close();
  await read;
  assert.equal(clock.timers.size, 0);
  peer.close();
});

Deno.test("write() names a broken connection and keeps its cause", async () => {
  const { peer, transport } = await connected();
  await transport.write(bytes("220 mx.test\r\n"));
  // Closing with unread bytes makes the kernel send RST.
  peer.close();
  await assert.rejects(
    async () => {
      for (;;) await transport.write(bytes("250 OK\r\n"));
    },
    (error) =>
      error instanceof ConnectionError && ["ECONNRESET", "EPIPE"].includes(error.code) &&
      error.cause instanceof Error,
  );
  transport.close();
});

Deno.test("remote shows an IPv4 peer of a dual-stack listener as IPv4", async () => {
  const { peer, transport } = await connected(new HandClock(), "::");
  assert.equal(transport.remote.address, "127.0.0.1");
  assert.equal(transport.remote.port, (peer.localAddr as Deno.NetAddr).port);
  peer.close();
  transport.close();
});

Deno.test("withoutMapping() changes mapped addresses only", () => {
  assert.equal(withoutMapping("::ffff:192.0.2.1"), "192.0.2.1");
  assert.equal(withoutMapping("::FFFF:c000:201"), "192.0.2.1");
  assert.equal(withoutMapping("2001:db8::ffff:1"), "2001:db8::ffff:1");
  assert.equal(withoutMapping("192.0.2.1"), "192.0.2.1");
});
