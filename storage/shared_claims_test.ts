import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { createSharedClaims, forgetClaims, SharedClaims } from "./shared_claims.ts";
import { SpaceReserve } from "./space_reserve.ts";

const MIB = 1024 * 1024;

/** The reserves of two threads on one disk, of which `minFreeSpace` stays free. */
function setting(disk: { octets: number; files: number }, minFreeSpace = 40 * MIB) {
  const data = createSharedClaims({ threads: 2, paths: 2 });
  const clock = new FakeClock();
  const reserveOf = (thread: number) =>
    new SpaceReserve({
      paths: () => ["/mail", "/incoming"],
      minFreeSpace: () => minFreeSpace,
      clock,
      logger: new RecordingLog(),
      room: () => Promise.resolve({ octets: disk.octets, files: { free: disk.files, total: 100 } }),
      device: () => Promise.resolve(1),
      shared: new SharedClaims(data, thread),
    });
  return { data, clock, reserves: [reserveOf(0), reserveOf(1)] as const };
}

const needs = (octets: number) => ({ octets: [octets, 0], files: [1, 0] });

Deno.test("a reserve counts what other threads have brought and not stored", async () => {
  const { reserves: [one, other] } = setting({ octets: 64 * MIB, files: 100 });
  const claim = await one.claim(needs(0), "s1") ?? assert.fail();
  assert.ok(await other.has(needs(23 * MIB), "s2"));
  assert.ok(await claim.grow(0, 10 * MIB));
  assert.ok(await claim.grow(1, 10 * MIB));
  assert.ok(!await other.has(needs(4 * MIB), "s2"));
  assert.ok(await other.has(needs(3 * MIB), "s2"));
  claim[Symbol.dispose]();
  assert.ok(await other.has(needs(23 * MIB), "s2"));
});

Deno.test("a reserve counts what other threads have stored since it looked at the disk", async () => {
  const disk = { octets: 64 * MIB, files: 100 };
  const { clock, reserves: [one, other] } = setting(disk);
  assert.ok(await other.has(needs(20 * MIB), "s2"));
  const claim = await one.claim(needs(0), "s1") ?? assert.fail();
  assert.ok(await claim.grow(0, 15 * MIB));
  claim.settle([15 * MIB, 0]);
  disk.octets -= 15 * MIB;
  assert.ok(!await other.has(needs(10 * MIB), "s2"));
  assert.ok(await other.has(needs(8 * MIB), "s2"));
  // A new look shows it, and it is not counted twice.
  await clock.advance(2_000);
  assert.ok(await other.has(needs(8 * MIB), "s2"));
});

Deno.test("two threads that take the last room at the same time do not both get it", async () => {
  const { reserves: [one, other] } = setting({ octets: 60 * MIB, files: 100 });
  const claims = [await one.claim(needs(0), "s1"), await other.claim(needs(0), "s2")];
  const grown = await Promise.all(claims.map((claim) => claim?.grow(0, 12 * MIB)));
  assert.ok(grown.filter((fits) => fits).length <= 1, String(grown));
});

Deno.test("a reserve counts the files of other threads", async () => {
  const { reserves: [one, other] } = setting({ octets: 640 * MIB, files: 8 });
  assert.ok(await other.has({ octets: [0, 0], files: [2, 0] }, "s2"));
  using _claim = await one.claim({ octets: [0, 0], files: [2, 0] }, "s1");
  assert.ok(!await other.has({ octets: [0, 0], files: [2, 0] }, "s2"));
});

Deno.test("forgetClaims() frees what a dead thread has claimed, not what it has stored", async () => {
  const { data, reserves: [one, other] } = setting({ octets: 64 * MIB, files: 100 });
  assert.ok(await other.has(needs(0), "s2"));
  const stored = await one.claim(needs(0), "s1") ?? assert.fail();
  stored.settle([5 * MIB, 0]);
  const claim = await one.claim(needs(0), "s1") ?? assert.fail();
  assert.ok(await claim.grow(0, 15 * MIB));
  assert.ok(!await other.has(needs(10 * MIB), "s2"));
  forgetClaims(data, 0);
  assert.ok(await other.has(needs(10 * MIB), "s2"));
  assert.ok(!await other.has(needs(20 * MIB), "s2"));
});
