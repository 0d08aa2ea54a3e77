import assert from "node:assert/strict";
import { bind, explainBind } from "../net/listen.ts";
import { until } from "../tests/support/peers/process.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { CommandError } from "./exit_codes.ts";
import { type Endpoint, Listeners } from "./listeners.ts";

const HERE: Endpoint = { address: "127.0.0.1", port: 0, tls: "off", tentative: false };
const SOON: Endpoint = { address: "2001:db8::1", port: 0, tls: "off", tentative: true };

Deno.test("Listeners.open() tries a missing address again, whatever stands in the way meanwhile", async () => {
  const log = new RecordingLog();
  const obstacles: Error[] = [
    new Deno.errors.AddrNotAvailable("Cannot assign requested address (os error 99)"),
    Object.assign(new Error("Too many open files (os error 24)"), { code: "EMFILE" }),
    new Deno.errors.AddrInUse("Address already in use (os error 98)"),
  ];
  const served: string[] = [];
  const listeners = new Listeners({
    logger: log,
    retryAfter: 0,
    serve: (listener, { address }) => {
      served.push(address);
      listener.close();
      return Promise.resolve();
    },
    bind(address, port) {
      const obstacle = address === SOON.address ? obstacles.shift() : undefined;
      if (obstacle !== undefined) throw explainBind(obstacle, { address, port });
      return bind("127.0.0.1", 0);
    },
  });
  listeners.open([HERE, SOON]);
  await log.saw("listener.ready", 2);
  listeners.stopRetrying();
  await listeners.closed();
  assert.deepEqual(served, [HERE.address, SOON.address]);
  assert.deepEqual(log.named("listener.missing").map(({ level }) => level), ["warn", "debug", "debug"]);
});

/** Addresses that come and go, on ports of this machine. */
class Network {
  readonly there = new Set<string>();
  readonly log = new RecordingLog();
  readonly listeners: Listeners;
  /** What is being served. */
  readonly open = new Set<string>();

  constructor(options: { readonly mayWait?: boolean } = {}) {
    this.listeners = new Listeners({
      ...options,
      logger: this.log,
      retryAfter: 0,
      serve: async (listener, { address }) => {
        this.open.add(address);
        await listener.accept().catch(() => {});
        this.open.delete(address);
      },
      bind: (address, port) => {
        if (this.there.has(address)) return bind("127.0.0.1", 0);
        const error = new Deno.errors.AddrNotAvailable("Cannot assign requested address (os error 99)");
        throw explainBind(error, { address, port });
      },
    });
  }
}

const at = (address: string): Endpoint => ({ address, port: 25, tls: "starttls", tentative: false });

Deno.test("Listeners.open() waits for its first address where it may, and else says what is wrong", async () => {
  const strict = new Network();
  assert.throws(() => strict.listeners.open([at("192.0.2.1")]), CommandError);
  const patient = new Network({ mayWait: true });
  patient.listeners.open([at("192.0.2.1"), at("192.0.2.2")]);
  assert.deepEqual(patient.log.named("listener.missing").map(({ level }) => level), ["warn", "warn"]);
  patient.there.add("192.0.2.2");
  await patient.log.saw("listener.ready");
  assert.deepEqual([...patient.open], ["192.0.2.2"]);
  patient.listeners.follow([]);
  await patient.listeners.closed();
});

Deno.test("Listeners.follow() closes what has gone, binds what has come, and leaves the rest alone", async () => {
  const { listeners, there, open, log } = new Network();
  for (const address of ["192.0.2.1", "192.0.2.2", "192.0.2.3"]) there.add(address);
  listeners.open([at("192.0.2.1"), at("192.0.2.2")]);
  assert.deepEqual([...open], ["192.0.2.1", "192.0.2.2"]);
  listeners.follow([at("192.0.2.2"), at("192.0.2.3"), at("192.0.2.4")]);
  await log.saw("listener.closed");
  const serves = (...addresses: readonly string[]) =>
    until(() => [...open].sort().join() === addresses.join(), { what: addresses.join(" and ") });
  await serves("192.0.2.2", "192.0.2.3");
  assert.equal(log.named("listener.ready").length, 3);
  // It comes while it is waited for.
  there.add("192.0.2.4");
  await log.saw("listener.ready", 4);
  listeners.follow([at("192.0.2.1"), at("192.0.2.4")]);
  await log.saw("listener.closed", 3);
  await serves("192.0.2.1", "192.0.2.4");
  listeners.follow([at("192.0.2.9")]);
  listeners.stopRetrying();
  await listeners.closed();
  assert.deepEqual([...open], []);
});
