/**
 * The file system that a path is on, as the kernel tells of it.
 *
 * @module
 */

/** One line of /proc/self/mountinfo (proc_pid_mountinfo(5)). */
export interface Mount {
  /** Where it is mounted. */
  readonly point: string;
  /** Such as `ext4`. */
  readonly type: string;
  /** The device, or what stands for it. */
  readonly source: string;
  /** `major:minor` of the device; one without its own device has a major of 0. */
  readonly device: string;
  /** Options of the mount and of the file system. */
  readonly options: readonly string[];
}

/** The mount that holds an absolute path without links; `undefined` where the text has none. */
export function mountOf(mountinfo: string, path: string): Mount | undefined {
  let best: Mount | undefined;
  for (const line of mountinfo.split("\n")) {
    const [mount = "", system = ""] = line.split(" - ");
    const [, , device = "", , at, options = ""] = mount.split(" ");
    const [type = "", source = "", more = ""] = system.split(" ");
    if (at === undefined) continue;
    const point = unescape(at);
    const holds = path === point || path.startsWith(point === "/" ? "/" : `${point}/`);
    // Of two on the same directory the later one covers the other.
    if (!holds || (best !== undefined && point.length < best.point.length)) continue;
    best = {
      point,
      type,
      source: unescape(source),
      device,
      options: [...new Set([...options.split(","), ...more.split(",")])].filter((option) => option !== ""),
    };
  }
  return best;
}

/** Octal for what would end the field. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}

/** What a block device has done since the start. */
export interface DeviceCounters {
  /** Octets that were written to it. */
  readonly octets: number;
  /** Flushes of its cache; `undefined` on kernels that do not count them. */
  readonly flushes?: number;
}

/** The counters of a device, from the text of its `stat` file in sysfs. */
export function readCounters(stat: string): DeviceCounters {
  const fields = stat.trim().split(/\s+/).map(Number);
  const [, , , , , , sectors = 0] = fields;
  const flushes = fields[15];
  return { octets: sectors * 512, ...(flushes !== undefined && { flushes }) };
}
