/**
 * Which file systems are mounted read-only.
 *
 * @module
 */

/**
 * Whether an existing path is on a file system that this process sees mounted read-only; `false` where that is unknown.
 */
export async function isMountedReadOnly(path: string): Promise<boolean> {
  try {
    const real = await Deno.realPath(path);
    return isReadOnlyIn(await Deno.readTextFile("/proc/self/mountinfo"), real);
  } catch {
    return false;
  }
}

/** The same, from the text of /proc/self/mountinfo (proc_pid_mountinfo(5)) and an absolute path without links. */
export function isReadOnlyIn(mountinfo: string, path: string): boolean {
  let best = "";
  let readOnly = false;
  for (const line of mountinfo.split("\n")) {
    const [mount = "", system = ""] = line.split(" - ");
    const [, , , , at, options = ""] = mount.split(" ");
    if (at === undefined) continue;
    // Octal for what would end the field.
    const point = at.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
    const holds = path === point || path.startsWith(point === "/" ? "/" : `${point}/`);
    // Of two on the same directory the later one covers the other.
    if (!holds || point.length < best.length) continue;
    best = point;
    const all = [...options.split(","), ...(system.split(" ")[2] ?? "").split(",")];
    // After an error of the disk Linux refuses writes to an ext4 that still calls itself writable.
    readOnly = all.includes("ro") || all.includes("emergency_ro");
  }
  return readOnly;
}
