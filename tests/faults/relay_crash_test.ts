/**
 * The queue as a whole, spool and scheduler, killed or cut off from power after each step on the disk (cases 44–46).
 *
 * @module
 */
import assert from "node:assert/strict";
import { silentLogger } from "../../base/log.ts";
import { Scheduler } from "../../relay/scheduler.ts";
import { Spool } from "../../relay/spool/spool.ts";
import { systemClock } from "../../base/clock.ts";
import type { FileSystem } from "../../storage/file_system.ts";
import { type CrashPoint, PowerLossFileSystem, restore } from "../support/power_loss.ts";
import { newEntry } from "../support/queue_entry.ts";
import { RelayNetwork } from "../support/relay_network.ts";
import { unsyncedFileSystem } from "../support/unsynced_file_system.ts";
import { until } from "../support/until.ts";

const encoder = new TextEncoder();

/** What the world has seen: recipients that got the message, in order, and the ids of notices that arrived. */
interface Seen {
  readonly taken: string[];
  readonly notices: string[];
}

/** One life of serve-out on a spool, up to an empty queue. */
async function live(
  directory: string,
  { fileSystem, seen, accept }: { fileSystem: FileSystem; seen: Seen; accept?: () => void },
): Promise<void> {
  await using spool = await Spool.open({ directory, logger: silentLogger, fileSystem, resendAfter: () => 1 });
  const network = new RelayNetwork(systemClock);
  const refusedOnce = new Set<string>();
  network.host("mx.a.test", {
    answer: (recipient, entry) => {
      if (recipient.startsWith("bad")) return { reply: "550 5.1.1 unknown", status: "5.1.1" };
      if (recipient.startsWith("later") && !refusedOnce.has(recipient)) {
        refusedOnce.add(recipient);
        return { reply: "450 4.2.0 not now", status: "4.2.0" };
      }
      if (entry.reversePath === "") seen.notices.push(entry.id);
      else seen.taken.push(recipient);
      return "relay";
    },
  });
  for (const domain of ["a.test", "b.test", "example.org"]) network.domain(domain, ["mx.a.test"]);
  const scheduler = new Scheduler({
    queue: spool,
    clock: systemClock,
    random: () => 0,
    logger: silentLogger,
    schedule: { delays: [1], expireAfter: 3_600_000, delayNoticeAfter: 3_600_000 },
    route: network.route,
    connect: network.connect,
    compose: ({ id, kind, entry }) =>
      Promise.resolve({
        entry: {
          ...newEntry([entry.reversePath], { id, reversePath: "", acceptedAt: 1, size: kind.length + 2 }),
          id,
        },
        message: encoder.encode(`${kind}\r\n`),
      }),
  });
  await scheduler.start();
  if (accept !== undefined) {
    const id = spool.newId();
    const { id: _, size: __, ...entry } = newEntry(["good@a.test", "bad@a.test", "later@b.test"], {
      id,
      acceptedAt: Date.now(),
    });
    await using draft = spool.begin(id);
    await draft.write(encoder.encode("Subject: x\r\n\r\nHi\r\n"));
    scheduler.submit(await draft.commit(entry, new Uint8Array()));
    accept();
  }
  await until(async () => (await Array.fromAsync(spool.ids())).length === 0, "the queue to become empty");
  await scheduler.stop(0);
}

Deno.test("serve-out loses no message and sends no second notice, wherever it is killed or loses power", async () => {
  const directory = await Deno.makeTempDir();
  const seen: Seen = { taken: [], notices: [] };
  const points: { point: CrashPoint; accepted: boolean; before: Seen }[] = [];
  let accepted = false;
  const fileSystem = new PowerLossFileSystem(
    directory,
    (point) => points.push({ point, accepted, before: structuredClone(seen) }),
  );
  await live(directory, { fileSystem, seen, accept: () => accepted = true });
  assert.deepEqual(seen.taken, ["good@a.test", "later@b.test"]);
  assert.equal(seen.notices.length, 1);
  assert(points.length > 20, `${points.length} steps`);
  await Deno.remove(directory, { recursive: true });

  for (const { point, accepted, before } of points) {
    for (const kind of ["killed", "nothingUnsynced", "namesOnly"] as const) {
      const remains = await restore(point[kind]);
      const seen = structuredClone(before);
      await live(remains, { fileSystem: unsyncedFileSystem, seen });
      const what = `${kind} after: ${point.step}`;
      for (const recipient of ["good@a.test", "later@b.test"]) {
        const copies = seen.taken.filter((address) => address === recipient).length;
        assert(copies >= (accepted ? 1 : 0), `${what}: ${recipient} is lost`);
        assert(copies <= 2, `${what}: ${recipient} has ${copies} copies`);
      }
      assert(seen.notices.length >= (accepted ? 1 : 0), `${what}: no notice`);
      assert(new Set(seen.notices).size <= 1, `${what}: a second notice`);
      assert(seen.notices.length <= 2, `${what}: ${seen.notices.length} copies of the notice`);
      await Deno.remove(remains, { recursive: true });
    }
  }
});
