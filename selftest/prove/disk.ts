/**
 * What a sync costs here, and whether it reaches the device, by the kernel's own counters.
 *
 * @module
 */
import { randomFillSync } from "node:crypto";
import { join } from "@std/path";
import { systemClock } from "../../base/clock.ts";
import { failure, type Finding, ok, untested, warning } from "../../doctor/finding.ts";
import { type DeviceCounters, type Mount, mountOf, readCounters } from "../../storage/mount_facts.ts";
import { meaningOf } from "./mount_meaning.ts";

/** The mount of a directory, and what it means. */
export async function mountFindings(
  directory: string,
): Promise<{ readonly mount?: Mount; readonly findings: Finding[] }> {
  const about = `the file system of ${directory}`;
  let mount: Mount | undefined;
  try {
    mount = mountOf(await Deno.readTextFile("/proc/self/mountinfo"), await Deno.realPath(directory));
  } catch {
    // Not Linux, or /proc is hidden.
  }
  if (mount === undefined) {
    return { findings: [untested("mount.unknown", about, { what: "the kernel does not report its type" })] };
  }
  const hasJournal = await journalOf(mount);
  return { mount, findings: meaningOf(mount, { ...(hasJournal !== undefined && { hasJournal }) }) };
}

/** Whether an ext file system has a journal: its thread has a directory in /proc. */
async function journalOf({ type, source }: Mount): Promise<boolean | undefined> {
  if (!/^ext[34]$/.test(type)) return undefined;
  const device = (await Deno.realPath(source).catch(() => source)).split("/").at(-1) ?? "";
  try {
    const names = await Array.fromAsync(Deno.readDir("/proc/fs/jbd2"), ({ name }) => name);
    return names.some((name) => name.startsWith(`${device}-`));
  } catch {
    return undefined;
  }
}

/** The block device of a mount in sysfs; `undefined` where there is none, or several. */
async function deviceOf({ device, source, type }: Mount): Promise<string | undefined> {
  const candidates = [
    ...(device.startsWith("0:") ? [] : [`/sys/dev/block/${device}`]),
    // btrfs has device numbers of its own.
    ...(source.startsWith("/dev/") && type !== "zfs"
      ? [`/sys/class/block/${(await Deno.realPath(source).catch(() => source)).split("/").at(-1)}`]
      : []),
  ];
  for (const path of candidates) {
    if (await Deno.stat(`${path}/stat`).then(() => true, () => false)) return path;
  }
  return undefined;
}

/** Files of a message's size that are written and synced one by one. */
const SYNCS = 200;
const MESSAGE = 4096;
/** Octets of the file whose sync the device's counters must show, and how often. */
const LARGE = 8 * 1024 * 1024;
const LOOKS = 5;

/** Latencies of a small message's way to the disk. In milliseconds. */
export interface SyncLatency {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Measures: create, write, sync, rename, and the directory's sync. */
export async function measureSyncs(directory: string): Promise<SyncLatency> {
  const times: number[] = [];
  const data = new Uint8Array(MESSAGE).fill(120);
  for (let n = 0; n < SYNCS; n++) {
    const path = join(directory, `latency-${n}`);
    const began = systemClock.monotonic();
    {
      using file = await Deno.open(path, { createNew: true, write: true });
      await file.write(data);
      await file.sync();
    }
    await Deno.rename(path, `${path}.there`);
    using parent = await Deno.open(directory);
    await parent.sync();
    times.push(systemClock.monotonic() - began);
  }
  for (let n = 0; n < SYNCS; n++) await Deno.remove(join(directory, `latency-${n}.there`));
  times.sort((a, b) => a - b);
  const at = (part: number) => times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? 0;
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: times.at(-1) ?? 0 };
}

/** Whether a sync has the device write: its counters before and after. */
export async function deviceFindings(directory: string, mount: Mount | undefined): Promise<Finding[]> {
  const tried = `a sync of ${LARGE / 1024 ** 2} MiB, by the counters of the device`;
  const path = mount && await deviceOf(mount);
  if (path === undefined) {
    return [untested("device.counters", tried, {
      what: "it has no device whose counters can be read",
      next: "Rely on the file system's documentation",
    })];
  }
  const read = async (): Promise<DeviceCounters> => readCounters(await Deno.readTextFile(`${path}/stat`));
  let least = Infinity;
  let leastFlushes: number | undefined;
  const file = join(directory, "large");
  for (let look = 0; look < LOOKS; look++) {
    // Random, so that nothing compresses it.
    const data = randomFillSync(new Uint8Array(LARGE));
    using open = await Deno.open(file, { write: true, create: true, truncate: true });
    // What is left of earlier writes is not to be counted.
    await open.sync();
    const before = await read();
    for (let at = 0; at < data.length;) at += await open.write(data.subarray(at));
    await open.sync();
    const after = await read();
    least = Math.min(least, after.octets - before.octets);
    if (before.flushes !== undefined && after.flushes !== undefined) {
      leastFlushes = Math.min(leastFlushes ?? Infinity, after.flushes - before.flushes);
    }
  }
  await Deno.remove(file);
  const findings: Finding[] = [];
  if (least < LARGE) {
    findings.push(failure("device.lies", tried, {
      what: `the sync returned, but the device had written only ${least} octets: syncs do nothing here`,
      next:
        "Do not use this for mail: look for a library or a file system that ignores fsync (eatmydata, volatile, a container's runtime)",
    }));
  } else {findings.push(
      ok("device.writes", tried, "each returned only after the device had written all of it"),
    );}
  const cache = await Deno.readTextFile(`${await queueOf(path)}/write_cache`).catch(() => "");
  const flushed = "a sync, and the cache of the device";
  if (cache.trim() === "write through") {
    findings.push(
      ok("device.cache", flushed, "the device reports no volatile cache"),
    );
  } else if (cache.trim() === "write back" && leastFlushes !== undefined) {
    findings.push(
      leastFlushes > 0
        ? ok("device.flushes", flushed, "each flushes the cache of the device")
        : warning("device.flushes", flushed, {
          what: "the device has a cache, which is not flushed: a loss of power loses synced mail",
          next: "Look for nobarrier in the mount options, and for a layer in between that drops flushes",
        }),
    );
  }
  return findings;
}

/** The directory with the properties of the queue: a partition has its disk's. */
async function queueOf(device: string): Promise<string> {
  const isDisk = await Deno.stat(`${device}/queue`).then(() => true, () => false);
  return isDisk ? `${device}/queue` : `${await Deno.realPath(device)}/../queue`;
}
