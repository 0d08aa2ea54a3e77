import assert from "node:assert/strict";
import type { Dial } from "../net/dial.ts";
import { ConnectionError } from "../net/conn_transport.ts";
import { DeadlineError, type Transport } from "../net/transport.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { connectFirst } from "./connect_first.ts";
import type { Target } from "./mx.ts";

function target(address: string): Target {
  const family = address.includes(":") ? 6 : 4;
  return { host: "mx.test", address, family, port: 25, via: "mx", tls: "prefer", authenticated: false };
}

/** Milliseconds until an address answers, `refuse` or not at all within the 30 seconds of a dialler. */
type Answer = number | "never" | { readonly refusesAfter: number };

/** A dialler to addresses that answer so; what it opened and what it was told to give up. */
function network(clock: FakeClock, answers: Readonly<Record<string, Answer>>) {
  const log: string[] = [];
  const dial: Dial = ({ address }, { signal } = {}) => {
    const answer = answers[address] ?? "never";
    log.push(`${clock.monotonic()} dial ${address}`);
    const { promise, resolve, reject } = Promise.withResolvers<Transport>();
    const after = typeof answer === "number" ? answer : answer === "never" ? 30_000 : answer.refusesAfter;
    const timer = clock.after(after, () => {
      if (typeof answer !== "number") {
        const code = "ECONNREFUSED";
        return reject(answer === "never" ? new DeadlineError() : new ConnectionError("refused", { code }));
      }
      const here = { address, port: 25 };
      resolve({
        remote: here,
        local: here,
        deadline: Infinity,
        read: () => Promise.resolve(null),
        write: () => Promise.resolve(),
        close: () => void log.push(`${clock.monotonic()} close ${address}`),
      });
    });
    signal?.addEventListener("abort", () => {
      log.push(`${clock.monotonic()} give up ${address}`);
      timer.cancel();
      reject(new ConnectionError("given up", { code: "CLOSED" }));
    });
    return promise;
  };
  return { log, dial };
}

const SIX = "2001:db8::1", FOUR = "192.0.2.1", OTHER = "192.0.2.2", LAST = "192.0.2.3";

async function connect(answers: Record<string, Answer>, alternates: readonly string[] = [FOUR, OTHER, LAST]) {
  const clock = new FakeClock();
  const { log, dial } = network(clock, answers);
  const rest = alternates.map(target);
  const result = connectFirst(target(SIX), { dial, clock, alternate: () => rest.shift() });
  await clock.advance(40_000);
  const { connection, unconnected } = await result;
  assert.equal(clock.pending, 0);
  return {
    log,
    reached: connection?.target.address,
    silent: unconnected.filter(({ silent }) => silent).map(({ target: { address } }) => address),
    refused: unconnected.filter(({ silent }) => !silent).map(({ target: { address } }) => address),
  };
}

Deno.test("connectFirst() takes the address asked for where it answers, and asks no other", async () => {
  const { log, ...result } = await connect({ [SIX]: 1_999, [FOUR]: 0 });
  assert.deepEqual(result, { reached: SIX, silent: [], refused: [] });
  assert.deepEqual(log, ["0 dial 2001:db8::1"]);
});

Deno.test("connectFirst() asks the next address beside a silent one, and keeps one connection", async () => {
  const { log, ...result } = await connect({ [FOUR]: 100 });
  assert.deepEqual(result, { reached: FOUR, silent: [SIX], refused: [] });
  assert.deepEqual(log, ["0 dial 2001:db8::1", "2000 dial 192.0.2.1", "2100 give up 2001:db8::1"]);
  const slow = await connect({ [SIX]: 3_000, [FOUR]: 1_500 });
  assert.deepEqual(slow, {
    reached: SIX,
    silent: [FOUR],
    refused: [],
    log: ["0 dial 2001:db8::1", "2000 dial 192.0.2.1", "3000 give up 192.0.2.1"],
  });
});

Deno.test("connectFirst() closes a second connection that was made at the same moment", async () => {
  const { log, reached } = await connect({ [SIX]: 3_000, [FOUR]: 1_000 });
  assert.equal(reached, SIX);
  assert.ok(log.includes("3000 close 192.0.2.1") || log.includes("3000 give up 192.0.2.1"), log.join());
});

Deno.test("connectFirst() asks three addresses at once at most, and others as those fail", async () => {
  const { log, reached } = await connect({ [FOUR]: "never", [OTHER]: { refusesAfter: 5_000 }, [LAST]: 500 });
  assert.equal(reached, LAST);
  assert.deepEqual(log.slice(0, 4), [
    "0 dial 2001:db8::1",
    "2000 dial 192.0.2.1",
    "4000 dial 192.0.2.2",
    "9000 dial 192.0.2.3",
  ]);
});

Deno.test("connectFirst() leaves it to the caller where the only address fails", async () => {
  const { log, ...result } = await connect({ [SIX]: { refusesAfter: 50 }, [FOUR]: 0 });
  assert.deepEqual(result, { reached: undefined, silent: [], refused: [SIX] });
  assert.equal(log.length, 1);
});

Deno.test("connectFirst() tells of all addresses where none answers, each in its own time", async () => {
  const { log, ...result } = await connect({}, [FOUR]);
  assert.deepEqual(result, { reached: undefined, silent: [SIX, FOUR], refused: [] });
  assert.equal(log.length, 2);
});

Deno.test("connectFirst() gives up all by signal", async () => {
  const clock = new FakeClock();
  const { log, dial } = network(clock, {});
  const stop = new AbortController();
  const rest = [target(FOUR)];
  const result = connectFirst(target(SIX), {
    dial,
    clock,
    signal: stop.signal,
    alternate: () => rest.shift(),
  });
  await clock.advance(2_500);
  stop.abort();
  assert.equal((await result).connection, undefined);
  assert.equal(clock.pending, 0);
  assert.deepEqual(log.slice(2), ["2500 give up 2001:db8::1", "2500 give up 192.0.2.1"]);
  const aborted = connectFirst(target(SIX), { dial, clock, signal: AbortSignal.abort() });
  assert.equal((await aborted).connection, undefined);
});
