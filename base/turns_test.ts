import assert from "node:assert/strict";
import { silentLogger } from "./log.ts";
import { bytesOf } from "../tests/support/bytes.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { RecordingDelivery } from "../tests/support/recording_delivery.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import { SmtpServer } from "../smtp/server.ts";
import type { Transport } from "../net/transport.ts";
import { Turns } from "./turns.ts";

const address = { hostname: "192.0.2.9", port: 50_000, transport: "tcp" } as const;

Deno.test("Turns.spend() returns nothing until all is spent, then waits for a turn", async () => {
  const turns = new Turns(10);
  assert.equal(turns.spend(9), undefined);
  let othersHadTheirs = false;
  setTimeout(() => othersHadTheirs = true, 0);
  await turns.spend(1);
  assert.ok(othersHadTheirs);
  assert.equal(turns.spend(9), undefined);
});

Deno.test("a client that sends commands without a pause leaves others their turn", async () => {
  let othersHadTheirs = false;
  const timer = setTimeout(() => othersHadTheirs = true, 0);
  const commands = bytesOf("NOOP\r\n".repeat(600));
  let reads = 0;
  const transport: Transport = {
    remote: { address: "192.0.2.9", port: 50_000 },
    local: { address: "192.0.2.1", port: 25 },
    deadline: Infinity,
    // All is at hand, as it may be over a real connection.
    read(buffer) {
      if (othersHadTheirs || ++reads > 100) return Promise.resolve(null);
      buffer.set(commands.subarray(0, buffer.length));
      return Promise.resolve(Math.min(buffer.length, commands.length));
    },
    write: () => Promise.resolve(),
    close() {},
  };
  const server = new SmtpServer({
    hostname: "mx.here.example",
    delivery: new RecordingDelivery(),
    log: silentLogger,
    clock: new FakeClock(),
  });
  await server.handle(transport);
  clearTimeout(timer);
  assert.ok(othersHadTheirs, `${reads} reads without a turn`);
});

Deno.test("a client that sends octets without a pause leaves others their turn", async () => {
  let othersHadTheirs = false;
  const timer = setTimeout(() => othersHadTheirs = true, 0);
  const conn = {
    remoteAddr: address,
    localAddr: address,
    read: (buffer: Uint8Array) => Promise.resolve(buffer.length),
    close() {},
  } as unknown as Deno.Conn;
  const transport = new ConnTransport(conn, { clock: new FakeClock() });
  const buffer = new Uint8Array(4096);
  let reads = 0;
  while (!othersHadTheirs && reads < 10_000) {
    await transport.read(buffer);
    reads++;
  }
  transport.close();
  clearTimeout(timer);
  assert.ok(othersHadTheirs, `${reads} reads without a turn`);
});
