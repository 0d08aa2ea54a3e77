import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { createCounter, UniqueNames } from "./unique_name.ts";

const SHAPE = /^\d+\.M\d{6}P\d+Q\d+R[0-9a-f]+\.[^/:,\0]+,S=\d+,W=\d+$/;
const sizes = { disk: 12, wire: 15 };

Deno.test("UniqueNames.next() has time, pid, counter, random part and host", () => {
  const names = new UniqueNames({
    hostname: "mx.example.com",
    now: () => 1_700_000_000_123.5,
    pid: 42,
    random: "00c0ffee",
  });
  names.next();
  const name = names.next();
  assert.equal(name.temporary, "1700000000.M123500P42Q1R00c0ffee.mx.example.com");
  assert.equal(name.withSizes(sizes), "1700000000.M123500P42Q1R00c0ffee.mx.example.com,S=12,W=15");
});

Deno.test("UniqueNames.next() escapes what a Maildir name must not hold", () => {
  const names = new UniqueNames({ hostname: "a/b:c,d e", now: () => 0, pid: 1, random: "00000000" });
  assert.match(names.next().temporary, /\.a\\057b\\072c\\054d\\040e$/);
});

Deno.test("UniqueNames.next() is one file name whatever the host and the clock are", () => {
  const unit = fc.integer({ min: 0, max: 0x2fff }).map((code) => String.fromCodePoint(code));
  const hostname = fc.string({ unit, maxLength: 300 });
  fc.assert(fc.property(hostname, fc.double({ min: -1e15, max: 8.64e15, noNaN: true }), (host, now) => {
    const name = new UniqueNames({ hostname: host, now: () => now });
    const longest = name.next().withSizes({ disk: Number.MAX_SAFE_INTEGER, wire: Number.MAX_SAFE_INTEGER });
    assert.match(longest, SHAPE);
    assert.ok(longest.length <= 255);
  }));
});

Deno.test("UniqueNames never repeat: a clock that stands still or goes back, flows that share the counter", () => {
  const seen = new Set<string>();
  const counter = createCounter();
  const random = "0123456789abcdef";
  let time = 1_700_000_000_000;
  const flows = Array.from(
    { length: 10 },
    () => new UniqueNames({ hostname: "mx", now: () => time, counter, pid: 1, random }),
  );
  for (let i = 0; i < 2000; i++) {
    if (i % 100 === 0) time -= 86_400_000;
    for (const flow of flows) {
      seen.add(flow.next().temporary);
      seen.add(flow.nextId());
    }
  }
  assert.equal(seen.size, 40_000);
});

Deno.test("UniqueNames of another process with the same pid, time and count differ by the random part", () => {
  const make = () => new UniqueNames({ hostname: "mx", now: () => 0, pid: 1 });
  const names = Array.from({ length: 100 }, () => make().next().temporary);
  assert.equal(new Set(names).size, 100);
});

Deno.test("UniqueNames.nextId() is short and an atom", () => {
  const id = new UniqueNames({ hostname: "mx", now: () => 1_700_000_000_000 }).nextId();
  assert.match(id, /^[0-9a-z]+Q[0-9a-z]+R[0-9a-f]{8}$/);
  assert.ok(id.length < 24);
});

Deno.test("UniqueNames never repeat over four threads that share the counter, even with the same random part", async () => {
  const module = import.meta.resolve("./unique_name.ts");
  const source = `import { UniqueNames } from ${JSON.stringify(module)};
    onmessage = ({ data }) => {
      const names = new UniqueNames({ hostname: "mx", now: () => 0, random: "00000000", counter: data });
      postMessage(Array.from({ length: 25_000 }, () => names.next().temporary));
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const counter = createCounter();
  const workers = Array.from({ length: 4 }, () => new Worker(url, { type: "module" }));
  try {
    const lists = await Promise.all(workers.map((worker) => {
      const { promise, resolve, reject } = Promise.withResolvers<string[]>();
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(event.message));
      worker.postMessage(counter);
      return promise;
    }));
    assert.equal(new Set(lists.flat()).size, 100_000);
  } finally {
    for (const worker of workers) worker.terminate();
    URL.revokeObjectURL(url);
  }
});
