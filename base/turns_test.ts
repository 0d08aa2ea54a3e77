import assert from "node:assert/strict";
import type { Clock } from "./clock.ts";
import { silentLogger } from "./log.ts";
import { bytesOf } from "../tests/support/bytes.ts";
import { RecordingDelivery } from "../tests/support/recording_delivery.ts";
import { ConnTransport } from "../net/conn_transport.ts";
import { SmtpServer } from "../smtp/server.ts";
import type { Transport } from "../net/transport.ts";
import { Turns } from "./turns.ts";

const address = { hostname: "192.0.2.9", port: 50_000, transport: "tcp" } as const;
/** More than is spent between two looks at the clock. */
const MUCH = 1024 ** 2;

/** Time passes when the test says so, or with each look. */
function slowClock(aLook = 0): Clock & { pass(ms: number): void } {
  let time = 0;
  return {
    now: () => time,
    monotonic: () => time += aLook,
    pass: (ms) => void (time += ms),
    after: () => ({ cancel() {} }),
  };
}

Deno.test("Turns.spend() returns nothing until the event loop has been held for long, then waits for its turn", async () => {
  const clock = slowClock();
  using turns = new Turns(clock);
  for (let i = 0; i < 100; i++) assert.equal(turns.spend(MUCH), undefined);
  clock.pass(9);
  assert.equal(turns.spend(MUCH), undefined);
  clock.pass(1);
  let othersHadTheirs = false;
  setTimeout(() => othersHadTheirs = true, 0);
  await turns.spend(MUCH);
  assert.ok(othersHadTheirs);
  assert.equal(turns.spend(MUCH), undefined);
});

Deno.test("Turns.spend() notices that the event loop has had its turn by itself", async () => {
  const clock = slowClock();
  using turns = new Turns(clock);
  for (let i = 0; i < 4; i++) {
    assert.equal(turns.spend(MUCH), undefined);
    clock.pass(20);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

Deno.test("Turns.spend() counts what all flows do together, and lets few go on in one turn", async () => {
  const clock = slowClock();
  const flows = Array.from({ length: 100 }, () => new Turns(clock));
  for (const flow of flows) assert.equal(flow.spend(MUCH), undefined);
  clock.pass(20);
  const order: (number | "others")[] = [];
  const waits = flows.map((flow, i) => {
    const wait = flow.spend(i === 0 ? MUCH : 1);
    assert.ok(wait);
    return wait.then(() => order.push(i));
  });
  setTimeout(() => order.push("others"), 0);
  await Promise.all(waits);
  assert.deepEqual(order.filter((who) => who !== "others"), flows.map((_, i) => i));
  const others = order.indexOf("others");
  assert.ok(others <= 8, `others had their turn after ${others} flows`);
  for (const flow of flows) flow[Symbol.dispose]();
});

Deno.test("Turns.spend() never lets a flow wait that has spent little in this turn", async () => {
  const clock = slowClock();
  using hog = new Turns(clock);
  using honest = new Turns(clock);
  assert.equal(hog.spend(MUCH), undefined);
  for (let i = 0; i < 10; i++) {
    clock.pass(20);
    let wait = hog.spend(MUCH);
    if (wait === undefined) {
      // On a busy machine so much time has passed that the clock is read again.
      clock.pass(20);
      wait = hog.spend(MUCH);
    }
    assert.ok(wait);
    assert.equal(honest.spend(16 * 1024), undefined);
    assert.equal(honest.spend(16 * 1024), undefined);
    const more = honest.spend(16 * 1024);
    assert.ok(more);
    await Promise.all([wait, more]);
  }
});

function readyClient(commands: Uint8Array, isOver: () => boolean): Transport {
  return {
    remote: { address: "192.0.2.9", port: 50_000 },
    local: { address: "192.0.2.1", port: 25 },
    deadline: Infinity,
    // All is at hand, as it may be over a real connection.
    read(buffer) {
      if (isOver()) return Promise.resolve(null);
      buffer.set(commands.subarray(0, buffer.length));
      return Promise.resolve(Math.min(buffer.length, commands.length));
    },
    write: () => Promise.resolve(),
    close() {},
  };
}

const HOGS = {
  "commands": "NOOP\r\n".repeat(600),
  "empty chunks": `MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@here.example>\r\n${
    "BDAT 0\r\n".repeat(500)
  }RSET\r\n`,
  "chunks of one octet": `MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@here.example>\r\n${
    "BDAT 1\r\nx".repeat(400)
  }RSET\r\n`,
  "transactions": "MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@here.example>\r\nRSET\r\n".repeat(60),
};
for (const [what, commands] of Object.entries(HOGS)) {
  Deno.test(`a client that sends ${what} without a pause leaves others their turn`, async () => {
    let othersHadTheirs = false;
    const timer = setTimeout(() => othersHadTheirs = true, 0);
    let reads = 0;
    const server = new SmtpServer({
      hostname: "mx.here.example",
      delivery: new RecordingDelivery(),
      logger: silentLogger,
      // Each look at the clock finds that a millisecond has passed.
      clock: slowClock(1),
    });
    await server.handle(
      readyClient(bytesOf(`EHLO client.test\r\n${commands}`), () => othersHadTheirs || ++reads > 1000),
    );
    clearTimeout(timer);
    assert.ok(othersHadTheirs, `${reads} reads without a turn`);
  });
}

Deno.test("a client that sends octets without a pause, few or many, leaves others their turn", async () => {
  for (const octets of [1, 4096]) {
    let othersHadTheirs = false;
    const timer = setTimeout(() => othersHadTheirs = true, 0);
    const conn = {
      remoteAddr: address,
      localAddr: address,
      read: () => Promise.resolve(octets),
      close() {},
    } as unknown as Deno.Conn;
    const transport = new ConnTransport(conn, { clock: slowClock(1) });
    const buffer = new Uint8Array(4096);
    let reads = 0;
    while (!othersHadTheirs && reads < 10_000) {
      await transport.read(buffer);
      reads++;
    }
    transport.close();
    clearTimeout(timer);
    assert.ok(othersHadTheirs, `${reads} reads without a turn`);
  }
});

Deno.test("a peer that takes octets without a pause leaves others their turn", async () => {
  let othersHadTheirs = false;
  const timer = setTimeout(() => othersHadTheirs = true, 0);
  const conn = {
    remoteAddr: address,
    localAddr: address,
    write: ({ length }: Uint8Array) => Promise.resolve(length),
    close() {},
  } as unknown as Deno.Conn;
  const transport = new ConnTransport(conn, { clock: slowClock(1) });
  const block = new Uint8Array(4096);
  let writes = 0;
  while (!othersHadTheirs && writes < 10_000) {
    await transport.write(block);
    writes++;
  }
  transport.close();
  clearTimeout(timer);
  assert.ok(othersHadTheirs, `${writes} writes without a turn`);
});
