// What a peer announces or bears, from the scheduler down to its commands.
import assert from "node:assert/strict";
import { ConnectionError } from "../net/conn_transport.ts";
import { DeadlineError } from "../net/transport.ts";
import { FakeServer, fakeUpgrade, type Script } from "../tests/support/fake_server.ts";
import { MINUTE, SECOND, World } from "../tests/support/scheduler_world.ts";
import type { Target } from "./mx.ts";
import { PeerMemory } from "./peer_memory.ts";
import { HostConnection } from "./transmit.ts";

interface PeerOptions {
  readonly script?: Script;
  readonly capabilities?: readonly string[];
  /** What the domain leads to; all at the same server, but those that are silent or refuse. */
  readonly addresses?: readonly string[];
  readonly silent?: readonly string[];
  readonly refusing?: readonly string[];
  readonly maxConnectionsPerHost?: number;
  readonly via?: Target["via"];
  /** What dialling fails with, whatever the address. */
  readonly failing?: ConnectionError;
}

/** A scheduler whose every domain is at one scripted server. */
function worldWith(options: PeerOptions = {}) {
  const { script = {}, capabilities = ["8BITMIME"], addresses = ["192.0.2.1"], silent = [], refusing = [] } =
    options;
  const { maxConnectionsPerHost = 5, via = "mx", failing } = options;
  const dialled: string[] = [];
  const world: World = new World({
    maxConnectionsPerHost,
    // All domains at one smarthost share a line.
    destinationOf: (domain) => domain.endsWith(".shared") ? "shared" : domain,
    route: () =>
      Promise.resolve({
        kind: "targets",
        targets: addresses.map((address): Target => ({
          host: "mx.test",
          address,
          family: address.includes(":") ? 6 : 4,
          port: 25,
          via,
          tls: "prefer",
          authenticated: false,
        })),
      }),
    connect: (target, connectOptions) => HostConnection.open(target, { ...session, ...connectOptions }),
  });
  const { clock } = world;
  const server = new FakeServer({ clock, script, capabilities });
  const { promise: never } = Promise.withResolvers<never>();
  const session = {
    hostname: "client.test",
    clock,
    timeouts: { command: 300_000, data: 180_000, dataEnd: 600_000 },
    peers: new PeerMemory(clock),
    upgrade: fakeUpgrade({ authorized: false }),
    logger: { ...worldLogger },
    dial: ({ address }: { address: string }, { signal }: { signal?: AbortSignal } = {}) => {
      dialled.push(`${clock.monotonic() / SECOND} ${address}`);
      if (failing !== undefined) return Promise.reject(failing);
      if (refusing.includes(address)) {
        return Promise.reject(new ConnectionError("connection refused", { code: "ECONNREFUSED" }));
      }
      if (!silent.includes(address)) return Promise.resolve(server.connect());
      const { promise, reject } = Promise.withResolvers<never>();
      const timer = clock.after(30 * SECOND, () => reject(new DeadlineError("no connection in time")));
      signal?.addEventListener("abort", () => {
        timer.cancel();
        reject(new ConnectionError("given up", { code: "CLOSED" }));
      });
      return Promise.race([promise, never]);
    },
  };
  const taken = () => server.messages.map(({ to }) => to);
  return { world, server, dialled, taken, clock };
}

const nothing = () => {};
const worldLogger = {
  enabled: () => false,
  error: nothing,
  warn: nothing,
  info: nothing,
  debug: nothing,
  trace: nothing,
  with: () => worldLogger,
};

const recipients = (count: number, domain = "d.test") =>
  Array.from({ length: count }, (_, i) => `u${i}@${domain}`);

Deno.test("Scheduler opens a connection for every MAILMAX transactions, and says QUIT on each (RFC 9422)", async () => {
  for (const mailMax of [1, 2, 3]) {
    const { world, server, taken, clock } = worldWith({
      capabilities: [`LIMITS MAILMAX=${mailMax} RCPTMAX=10`],
      maxConnectionsPerHost: 1,
    });
    await using _world = world;
    await world.send(recipients(35));
    for (let i = 0; i < 5; i++) await world.send(["x@d.test"]);
    await clock.advance(5 * SECOND);
    assert.equal(taken().flat().length, 40);
    assert.deepEqual(world.queue.entries, []);
    assert.equal(world.events("attempt.deferred").length, 0);
    const sessions = server.commands.join("\n").split("(connected)\n").slice(1);
    for (const session of sessions) {
      // QUIT has been answered before the next one begins: the cap of one connection holds.
      assert.ok((session.match(/^MAIL/gm) ?? []).length <= mailMax, session);
      assert.match(session, /QUIT\n?$/);
    }
    assert.equal(sessions.length, Math.ceil(9 / mailMax));
  }
});

Deno.test("Scheduler keeps to RCPTMAX and RCPTDOMAINMAX of a smarthost on each connection (RFC 9422)", async () => {
  const { world, server, taken, clock } = worldWith({
    capabilities: ["PIPELINING", "LIMITS RCPTMAX=3 RCPTDOMAINMAX=2"],
    maxConnectionsPerHost: 1,
  });
  await using _world = world;
  await world.send(["a", "b", "c", "d", "e"].flatMap((name) => [1, 2].map((i) => `u${i}@${name}.shared`)));
  await world.send(["x@f.shared"]);
  await clock.advance(5 * SECOND);
  assert.equal(taken().flat().length, 11);
  assert.deepEqual(world.queue.entries, []);
  assert.equal(world.events("attempt.deferred").length, 0);
  for (const session of server.commands.join("\n").split("(connected)\n").slice(1)) {
    const domains = new Set(session.match(/(?<=^RCPT TO:<\w+@)[^>]+/gm));
    assert.ok(domains.size <= 2, session);
  }
  assert.ok(taken().every((to) => to.length <= 3));
});

const GROUP_EATERS: Record<string, Script> = {
  "drops the connection": { RCPT: "drop" },
  "answers only the first command": { RCPT: "stall" },
  "mixes the replies up": { RCPT: { raw: "ok\r\n" } },
};

for (const [name, script] of Object.entries(GROUP_EATERS)) {
  Deno.test(`Scheduler sends one command at a time where a group of them ${name}`, async () => {
    const { world, server, taken, clock } = worldWith({ capabilities: ["PIPELINING"] });
    await using _world = world;
    let inGroup = false;
    server.script = {
      MAIL: () => {
        inGroup = (server.writes.at(-1) ?? "").includes("RCPT");
        return undefined;
      },
      RCPT: () => inGroup ? script["RCPT"] as "drop" : undefined,
    };
    await world.send(["x@d.test"]);
    await clock.advance(10 * MINUTE);
    assert.deepEqual(taken(), [["x@d.test"]]);
    assert.equal(server.connections, 2);
    // And it stays so.
    await world.send(["y@d.test", "z@d.test"]);
    await clock.advance(5 * SECOND);
    assert.deepEqual(taken().at(-1), ["y@d.test", "z@d.test"]);
    assert.equal(server.connections, 3);
    assert.deepEqual(server.writes.filter((text) => /\r\n./s.test(text) && !text.includes("Subject")), [
      "MAIL FROM:<sender@example.org>\r\nRCPT TO:<x@d.test>\r\nDATA\r\n",
    ]);
  });
}

Deno.test("Scheduler says HELO where EHLO was hung up on, and EHLO again where HELO is not enough", async () => {
  const { world, server, taken, clock } = worldWith({ script: { EHLO: "drop" } });
  await using _world = world;
  await world.send(["x@d.test"]);
  await clock.advance(2 * MINUTE);
  assert.deepEqual(taken(), [["x@d.test"]]);
  assert.equal(server.connections, 2);
  assert.deepEqual(server.commands.slice(0, 4), [
    "(connected)",
    "EHLO client.test",
    "(connected)",
    "HELO client.test",
  ]);
  // Once may have been a mishap; twice is not.
  const ehlos = () => server.commands.filter((command) => command.startsWith("EHLO")).length;
  await world.send(["y@d.test"]);
  await clock.advance(2 * MINUTE);
  assert.equal(ehlos(), 2);
  await world.send(["z@d.test"]);
  await clock.advance(2 * MINUTE);
  assert.equal(ehlos(), 2);
  assert.deepEqual(taken().slice(1), [["y@d.test"], ["z@d.test"]]);
  // It does no longer hang up.
  server.script = {};
  const eightBit = { content: { eightBitHeader: false, eightBitBody: true } };
  const id = await world.send(["b@d.test"], eightBit);
  await clock.advance(SECOND);
  assert.equal(world.entry(id)?.recipients[0]?.status, "pending");
  await clock.advance(2 * MINUTE);
  assert.deepEqual(taken().at(-1), ["b@d.test"]);
});

Deno.test("Scheduler asks a silent address's neighbour beside it after two seconds, and neither twice", async () => {
  const { world, server, dialled, taken, clock } = worldWith({
    addresses: ["2001:db8::1", "192.0.2.1", "192.0.2.2"],
    silent: ["2001:db8::1"],
  });
  await using _world = world;
  await world.send(["x@d.test"]);
  await clock.advance(3 * SECOND);
  assert.deepEqual(taken(), [["x@d.test"]]);
  assert.deepEqual(dialled, ["0 2001:db8::1", "2 192.0.2.1"]);
  assert.equal(server.connections, 1);
  // What was silent is not asked again at once.
  await world.send(["y@d.test"]);
  await clock.advance(SECOND);
  assert.deepEqual(taken().at(-1), ["y@d.test"]);
  assert.deepEqual(dialled.slice(2), ["3 192.0.2.1"]);
});

Deno.test("Scheduler asks no neighbour beyond the cap of the host", async () => {
  const { world, dialled, clock } = worldWith({
    addresses: ["2001:db8::1", "192.0.2.1"],
    silent: ["2001:db8::1", "192.0.2.1"],
    maxConnectionsPerHost: 1,
  });
  await using _world = world;
  const id = await world.send(["x@d.test"]);
  await clock.advance(29 * SECOND);
  assert.deepEqual(dialled, ["0 2001:db8::1"]);
  await clock.advance(31 * SECOND);
  assert.deepEqual(dialled.slice(0, 2), ["0 2001:db8::1", "30 192.0.2.1"]);
  const attempts = world.entry(id)?.recipients[0]?.attempts ?? [];
  assert.deepEqual(attempts.map(({ address }) => address), ["2001:db8::1", "192.0.2.1"]);
});

Deno.test("Scheduler records each address that gave no connection, though they were asked side by side", async () => {
  const { world, dialled, clock } = worldWith({
    addresses: ["2001:db8::1", "192.0.2.1", "192.0.2.2"],
    silent: ["2001:db8::1", "192.0.2.1"],
    refusing: ["192.0.2.2"],
  });
  await using _world = world;
  const id = await world.send(["x@d.test"]);
  await clock.advance(33 * SECOND);
  assert.deepEqual(dialled, ["0 2001:db8::1", "2 192.0.2.1", "4 192.0.2.2"]);
  const attempts = world.entry(id)?.recipients[0]?.attempts ?? [];
  assert.deepEqual(attempts.map(({ address, error }) => `${address}: ${error}`).sort(), [
    "192.0.2.1: no connection in time",
    "192.0.2.2: connection refused",
    "2001:db8::1: no connection in time",
  ]);
});

Deno.test("Scheduler says of a failed connection whose matter it is", async () => {
  const refused = new ConnectionError("connection refused", { code: "ECONNREFUSED" });
  const noSource = new ConnectionError("no interface has the source address", { code: "EADDRNOTAVAIL" });
  const cases: readonly (readonly [PeerOptions, string])[] = [
    [{ failing: refused }, "4.4.1 connection refused"],
    [{ failing: refused, via: "local" }, "4.3.2 serve-in does not answer: connection refused"],
    [{ failing: refused, via: "route" }, "4.4.1 the route's host does not answer: connection refused"],
    [{ failing: noSource }, "4.3.5 no interface has the source address"],
    [{ failing: noSource, via: "route" }, "4.3.5 no interface has the source address"],
  ];
  for (const [options, expected] of cases) {
    const { world, clock } = worldWith(options);
    await using _world = world;
    const id = await world.send(["x@d.test"]);
    await clock.advance(SECOND);
    const attempt = world.entry(id)?.recipients[0]?.attempts[0];
    assert.equal(`${attempt?.status} ${attempt?.error}`, expected);
    // A mistake of our own is held against no host.
    assert.equal(world.events("host.dead").length, options.failing === noSource ? 0 : 1);
  }
});
