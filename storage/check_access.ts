/**
 * Whether this account may read or write something, or make it.
 *
 * @module
 */
import { access } from "node:fs/promises";
import { dirname } from "@std/path";

/**
 * Like access(2), for `mode` of `constants` in node:fs.
 * @throws {Error} with the system's code, such as `ENOENT` or `EACCES`
 */
export async function checkAccess(path: string, mode: number): Promise<void> {
  // Deno's own goes by owner and mode bits for root, too, who may read and write all.
  if (Deno.uid() === 0) await Deno.stat(path);
  else await access(path, mode);
}

/** The directory in which this one would be made; itself where it is there. */
export async function nearestExisting(path: string): Promise<string> {
  for (let at = path;; at = dirname(at)) {
    const isThere = await Deno.stat(at).then(() => true, () => false);
    if (isThere || dirname(at) === at) return at;
  }
}
