import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import type { FreeRoom } from "./free_space.ts";
import { type SpaceClaim, SpaceReserve } from "./space_reserve.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** What a file takes beside its octets. */
const FILE = 8 * KIB;

interface Setting {
  readonly reserve: SpaceReserve;
  readonly clock: FakeClock;
  readonly log: RecordingLog;
  /** How often the disk was looked at. */
  looks(): number;
}

/** A reserve of `minFreeSpace` on disks by path. Paths of the same device share a disk. */
function setting(
  disks: Readonly<Record<string, { octets: number; files?: number; device?: string | undefined }>>,
  minFreeSpace = 40 * MIB,
): Setting {
  const clock = new FakeClock();
  const log = new RecordingLog();
  let looks = 0;
  const room = (path: string): Promise<FreeRoom> => {
    looks++;
    const { octets, files } = disks[path] ?? assert.fail(path);
    return Promise.resolve({ octets, ...(files !== undefined && { files: { free: files, total: 300 } }) });
  };
  const device = (path: string) => Promise.resolve(disks[path]?.device);
  const reserve = new SpaceReserve({
    paths: () => Object.keys(disks),
    minFreeSpace: () => minFreeSpace,
    clock,
    logger: log,
    room,
    device,
  });
  return { reserve, clock, log, looks: () => looks };
}

const one = (octets: number, files = 1) => ({ octets: [octets], files: [files] });

async function claimed(reserve: SpaceReserve, files = 1): Promise<SpaceClaim> {
  return await reserve.claim(one(0, files), "s1") ?? assert.fail("no room");
}

Deno.test("SpaceReserve counts what others have brought and not stored", async () => {
  const { reserve } = setting({ "/mail": { octets: 64 * MIB } });
  using first = await claimed(reserve);
  assert.ok(await first.grow(0, 20 * MIB));
  assert.ok(await reserve.has(one(3 * MIB), "s2"));
  assert.ok(!await reserve.has(one(4 * MIB), "s2"));
  using second = await claimed(reserve);
  assert.ok(await second.grow(0, 3 * MIB));
  assert.ok(!await second.grow(0, 1 * MIB));
});

Deno.test("SpaceReserve refuses of several that grow at once no more than it must", async () => {
  const { reserve } = setting({ "/mail": { octets: 50 * MIB } });
  const claims = await Promise.all(Array.from({ length: 6 }, () => claimed(reserve)));
  // 10 MiB beside the reserve. All have brought 1.6 MiB before the first has no room for more.
  for (const claim of claims) assert.ok(await claim.grow(0, 1.6 * MIB));
  const grown = await Promise.all(claims.map((claim) => claim.grow(0, 0.5 * MIB)));
  assert.equal(grown.filter((has) => has).length, 4);
  for (const claim of claims) claim[Symbol.dispose]();
});

Deno.test("SpaceReserve lets a claim go that is dropped, and keeps one that is stored", async () => {
  const { reserve } = setting({ "/mail": { octets: 64 * MIB } });
  const dropped = await claimed(reserve);
  await dropped.grow(0, 20 * MIB);
  assert.ok(!await reserve.has(one(20 * MIB), "s2"));
  dropped[Symbol.dispose]();
  dropped[Symbol.dispose]();
  assert.ok(await reserve.has(one(20 * MIB), "s2"));
  const stored = await claimed(reserve);
  await stored.grow(0, 20 * MIB);
  // The look that the disk gave is from before.
  stored.settle([20 * MIB]);
  stored[Symbol.dispose]();
  assert.ok(!await reserve.has(one(20 * MIB), "s2"));
});

Deno.test("SpaceReserve gives nothing for what is announced and has not come", async () => {
  const { reserve } = setting({ "/mail": { octets: 64 * MIB } });
  const claims = [];
  for (let i = 0; i < 100; i++) claims.push(await reserve.claim(one(20 * MIB), "s1"));
  assert.ok(claims.every((claim) => claim !== undefined));
  assert.ok(await reserve.has(one(20 * MIB), "s2"));
  assert.equal(await reserve.claim(one(24 * MIB), "s2"), undefined);
});

Deno.test("SpaceReserve looks again after a second, and after 16 MiB, and not more often", async () => {
  const disk = { octets: 640 * MIB };
  const { reserve, clock, looks } = setting({ "/mail": disk });
  for (let i = 0; i < 10; i++) assert.ok(await reserve.has(one(0), "s1"));
  assert.equal(looks(), 1);
  await clock.advance(1000);
  assert.ok(await reserve.has(one(0), "s1"));
  assert.equal(looks(), 2);
  using claim = await claimed(reserve);
  for (let i = 0; i < 2048; i++) assert.ok(await claim.grow(0, 64 * KIB));
  assert.equal(looks(), 2 + 8);
  // Someone else fills the disk meanwhile.
  disk.octets = 128 * MIB + 41 * MIB;
  let more = 0;
  while (await claim.grow(0, 64 * KIB)) more += 64 * KIB;
  assert.ok(more < 16 * MIB, `${more} octets more`);
});

Deno.test("SpaceReserve does not count twice what is on the disk already", async () => {
  const disk = { octets: 64 * MIB };
  const { reserve, clock } = setting({ "/mail": disk });
  using claim = await claimed(reserve);
  let written = 0;
  claim.message = { writtenIn: () => written };
  for (let i = 0; i < 22; i++) {
    assert.ok(await claim.grow(0, MIB), `${i} MiB`);
    written += MIB;
    disk.octets -= MIB;
  }
  await clock.advance(1000);
  assert.ok(await reserve.has(one(2 * MIB - 3 * FILE), "s2"));
  assert.ok(!await reserve.has(one(2 * MIB), "s2"));
});

Deno.test("SpaceReserve counts paths of one file system together, and others for themselves", async () => {
  const shared = setting({
    "/mail": { octets: 64 * MIB, device: "a" },
    "/incoming": { octets: 64 * MIB, device: "a" },
  });
  const needs = (octets: readonly number[]) => ({ octets, files: [1, 1] });
  assert.ok(await shared.reserve.has(needs([20 * MIB, 3 * MIB]), "s1"));
  assert.ok(!await shared.reserve.has(needs([20 * MIB, 4 * MIB]), "s1"));
  const apart = setting({
    "/mail": { octets: 64 * MIB, device: "a" },
    "/incoming": { octets: 50 * MIB, device: "b" },
  });
  assert.ok(await apart.reserve.has(needs([20 * MIB, 9 * MIB]), "s1"));
  assert.ok(!await apart.reserve.has(needs([20 * MIB, 10 * MIB]), "s1"));
  assert.equal(apart.log.named("storage.low_space")[0]?.fields.path, "/incoming");
  const unknown = setting({
    "/mail": { octets: 64 * MIB, device: undefined },
    "/incoming": { octets: 50 * MIB, device: "b" },
  });
  // A directory that is not there yet may be on that file system.
  assert.ok(!await unknown.reserve.has(needs([20 * MIB, 0]), "s1"));
});

Deno.test("SpaceReserve warns once a minute, however many messages are refused", async () => {
  const { reserve, clock, log } = setting({ "/spool": { octets: 0 } });
  const levels = async (count: number) => {
    const before = log.events.length;
    for (let i = 0; i < count; i++) assert.ok(!await reserve.has(one(0), `s${i}`));
    return log.events.slice(before).filter(({ level }) => level === "warn").length;
  };
  assert.equal(await levels(100), 1);
  await clock.advance(59_999);
  assert.equal(await levels(100), 0);
  await clock.advance(1);
  assert.equal(await levels(100), 1);
  assert.equal(log.named("storage.low_space").length, 300);
});

Deno.test("SpaceReserve keeps some files, too", async () => {
  const disk = { octets: 64 * MIB, files: 300 };
  const { reserve, clock, log } = setting({ "/spool": disk });
  const claims = [];
  for (;;) {
    const claim = await reserve.claim(one(0), "s1");
    if (claim === undefined) break;
    claims.push(claim);
  }
  assert.equal(claims.length, 285);
  assert.equal(log.named("storage.low_space")[0]?.fields.free_files, 15);
  for (const claim of claims) claim.settle([0]);
  disk.files = 16;
  await clock.advance(1000);
  assert.ok(await reserve.has(one(0), "s1"));
  assert.ok(!await reserve.has(one(0, 2), "s1"));
});

Deno.test("SpaceReserve tries where the room cannot be told", async () => {
  const log = new RecordingLog();
  const reserve = new SpaceReserve({
    paths: () => ["/mail"],
    minFreeSpace: () => 40 * MIB,
    clock: new FakeClock(),
    logger: log,
    room: () => Promise.reject(new Error("EIO")),
  });
  assert.ok(await reserve.has(one(1e12), "s1"));
  assert.equal(log.named("storage.space_unknown")[0]?.fields.path, "/mail");
});

Deno.test("SpaceReserve never lets the reserve be taken, whatever comes in whatever order (property)", async () => {
  const step = fc.record({
    who: fc.nat(4),
    what: fc.constantFrom("grow", "grow", "grow", "store", "drop", "wait"),
    octets: fc.constantFrom(100, 64 * KIB, MIB, 7 * MIB),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const disk = { octets: 64 * MIB };
      const { reserve, clock } = setting({ "/mail": disk });
      const claims: { claim: SpaceClaim; brought: number; written: number }[] = [];
      for (const { who, what, octets } of steps) {
        if (claims[who] === undefined) {
          const claim = await reserve.claim(one(0), `s${who}`);
          if (claim === undefined) continue;
          claims[who] = { claim, brought: 0, written: 0 };
          claim.message = { writtenIn: () => claims[who]?.written ?? 0 };
        }
        const message = claims[who];
        if (what === "wait") {
          await clock.advance(1000);
        } else if (what === "grow" && await message.claim.grow(0, octets)) {
          message.brought += octets;
          // Half of what has come is on the disk soon.
          const more = Math.floor((message.brought - message.written) / 2);
          message.written += more;
          disk.octets -= more;
        } else if (what === "store") {
          disk.octets -= message.brought - message.written;
          message.claim.settle([message.brought]);
          delete claims[who];
        } else {
          disk.octets += message.written;
          message.claim[Symbol.dispose]();
          delete claims[who];
        }
        const toCome = claims.reduce((sum, { brought, written }) => sum + brought - written, 0);
        assert.ok(disk.octets - toCome >= 40 * MIB, `${disk.octets} - ${toCome}`);
      }
    }),
    { numRuns: 300 },
  );
});
