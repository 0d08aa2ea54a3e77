/**
 * Whether this account may read or write something.
 *
 * @module
 */
import { access } from "node:fs/promises";

/**
 * Like access(2), for `mode` of `constants` in node:fs.
 * @throws {Error} with the system's code, such as `ENOENT` or `EACCES`
 */
export async function checkAccess(path: string, mode: number): Promise<void> {
  // Deno's own goes by owner and mode bits for root, too, who may read and write all.
  if (Deno.uid() === 0) await Deno.stat(path);
  else await access(path, mode);
}
