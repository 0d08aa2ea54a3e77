import assert from "node:assert/strict";
import { chance } from "../tests/support/chance.ts";
import { OwnConnectionCounts } from "./connection_counts.ts";
import { createSharedCounts, SharedConnectionCounts } from "./shared_connection_counts.ts";

const CAPS = { maxConnections: 1000, maxConnectionsPerIp: 2 };

function threads(count: number, clients = 100): SharedConnectionCounts[] {
  const shared = createSharedCounts({ threads: count, clients });
  return Array.from({ length: count }, (_, thread) => new SharedConnectionCounts(shared, thread));
}

Deno.test("admit() counts a client over all threads", () => {
  const [one, other] = threads(2);
  assert.ok(one && other);
  assert.equal(one.admit("192.0.2.1", CAPS), undefined);
  assert.equal(other.admit("192.0.2.1", CAPS), undefined);
  assert.equal(one.admit("192.0.2.1", CAPS), "client");
  assert.equal(other.admit("192.0.2.1", CAPS), "client");
  assert.equal(other.admit("2001:db8:0:1::/64", CAPS), undefined);
  assert.equal(one.total, 3);
  one.release("192.0.2.1");
  assert.equal(other.admit("192.0.2.1", CAPS), undefined);
  assert.equal(one.admit("192.0.2.2", { ...CAPS, maxConnections: 3 }), "all");
  assert.deepEqual([one.totalOf(0), one.totalOf(1)], [0, 3]);
});

Deno.test("release() of another thread's connection changes nothing", () => {
  const [one, other] = threads(2);
  assert.ok(one && other);
  one.admit("192.0.2.1", CAPS);
  other.release("192.0.2.1");
  assert.equal(one.total, 1);
});

Deno.test("an IPv4 address and an IPv6 network of the same bits are two clients", () => {
  const [one] = threads(1);
  assert.ok(one);
  const once = { ...CAPS, maxConnectionsPerIp: 1 };
  for (const group of ["192.0.2.1", "c000:201::/64", "0:0:c000:201::/64"]) {
    assert.equal(one.admit(group, once), undefined, group);
  }
});

Deno.test("several threads give the same answers as one, whatever comes and goes", () => {
  const random = chance("shared_connection_counts");
  const all = threads(3, 4);
  const model = new OwnConnectionCounts();
  const open: { thread: number; group: string }[] = [];
  const caps = { maxConnections: 900, maxConnectionsPerIp: 3 };
  for (let step = 0; step < 60_000; step++) {
    const growing = Math.floor(step / 10_000) % 2 === 0;
    if (open.length > 0 && random() < (growing ? 0.3 : 0.7)) {
      const [{ thread, group } = { thread: 0, group: "" }] = open.splice(
        Math.floor(random() * open.length),
        1,
      );
      all[thread]?.release(group);
      model.release(group);
    } else {
      const thread = Math.floor(random() * 3);
      const number = Math.floor(random() * 500);
      const group = random() < 0.5 ? `192.0.${number >> 8}.${number & 255}` : `2001:db8:${number}:0::/64`;
      const exceeded = model.admit(group, caps);
      assert.equal(all[thread]?.admit(group, caps), exceeded);
      if (exceeded === undefined) open.push({ thread, group });
    }
    assert.equal(all[0]?.total, model.total);
  }
  for (const { thread, group } of open) all[thread]?.release(group);
  assert.deepEqual(all.map((counts, thread) => counts.totalOf(thread)), [0, 0, 0]);
});

Deno.test("forget() releases what a dead thread has counted, and the lock that it held", () => {
  const shared = createSharedCounts({ threads: 2, clients: 100 });
  const [dead, alive] = [new SharedConnectionCounts(shared, 0), new SharedConnectionCounts(shared, 1)];
  for (let number = 0; number < 100; number++) {
    dead.admit(`192.0.2.${number}`, CAPS);
    if (number % 2 === 0) alive.admit(`192.0.2.${number}`, CAPS);
  }
  // It was ended while it held the lock, in the middle of a change.
  Atomics.store(shared.words, 0, 1);
  shared.words[2] = 7;
  new SharedConnectionCounts(shared, 2).forget(0);
  assert.deepEqual([alive.total, alive.totalOf(0), alive.totalOf(1)], [50, 0, 50]);
  assert.equal(alive.admit("192.0.2.0", CAPS), undefined);
  assert.equal(alive.admit("192.0.2.0", CAPS), "client");
  for (let number = 0; number < 100; number += 2) alive.release(`192.0.2.${number}`);
  alive.release("192.0.2.0");
  assert.equal(alive.total, 0);
});

Deno.test("a table that is full refuses further clients, not further connections of those in it", () => {
  const [one] = threads(1, 1);
  assert.ok(one);
  const many = { maxConnections: 100_000, maxConnectionsPerIp: 2 };
  let admitted = 0;
  while (one.admit(`10.${admitted >> 16}.${(admitted >> 8) & 255}.${admitted & 255}`, many) === undefined) {
    admitted++;
  }
  assert.ok(admitted >= 8192, `${admitted}`);
  assert.equal(one.admit("10.0.0.0", many), undefined);
});

Deno.test("threads that count at the same time never exceed a limit, and leave nothing behind", async () => {
  const shared = createSharedCounts({ threads: 4, clients: 100 });
  const module = new URL("./shared_connection_counts.ts", import.meta.url).href;
  const source = `
    import { SharedConnectionCounts } from ${JSON.stringify(module)};
    onmessage = ({ data: { shared, thread } }) => {
      const counts = new SharedConnectionCounts(shared, thread);
      const caps = { maxConnections: 5, maxConnectionsPerIp: 3 };
      let most = 0;
      for (let turn = 0; turn < 2_000; turn++) {
        const group = "192.0.2." + turn % 3;
        if (counts.admit(group, caps) !== undefined) continue;
        most = Math.max(most, counts.total);
        counts.release(group);
      }
      postMessage(most);
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const workers = Array.from({ length: 4 }, () => new Worker(url, { type: "module" }));
  const most = await Promise.all(workers.map((worker, thread) =>
    new Promise<number>((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = reject;
      worker.postMessage({ shared, thread });
    })
  ));
  for (const worker of workers) worker.terminate();
  URL.revokeObjectURL(url);
  assert.ok(Math.max(...most) <= 5, `${most}`);
  assert.equal(new SharedConnectionCounts(shared, 4).total, 0);
});

Deno.test("isAhead() of a thread with two connections more than the mean, and of no other", () => {
  const all = threads(3);
  const [one, two, three] = all;
  assert.ok(one && two && three);
  const ahead = () => all.map(({ isAhead }) => isAhead);
  const unlimited = { maxConnections: 1000, maxConnectionsPerIp: 1000 };
  const admit = (...to: SharedConnectionCounts[]) => {
    for (const thread of to) thread.admit("192.0.2.1", unlimited);
  };
  assert.deepEqual(ahead(), [false, false, false]);
  admit(one, one);
  assert.deepEqual(ahead(), [false, false, false]);
  admit(one);
  assert.deepEqual(ahead(), [true, false, false]);
  admit(two, two, three, three);
  assert.deepEqual(ahead(), [false, false, false]);
  admit(three, three, three, three);
  assert.deepEqual(ahead(), [false, false, true]);
  three.release("192.0.2.1");
  assert.deepEqual(ahead(), [false, false, false]);
});
