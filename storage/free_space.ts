/**
 * How much room there is.
 *
 * @module
 */
import { statfs } from "node:fs/promises";
import { dirname } from "@std/path";
import { attempt, errorCode } from "./storage_error.ts";

/**
 * Octets that an unprivileged process may still write on the file system of this path; where the path does not exist
 * yet, on that of its nearest existing parent.
 * @throws {StorageError}
 */
export async function freeSpace(path: string): Promise<number> {
  for (let at = path;; at = dirname(at)) {
    try {
      const { bavail, bsize } = await statfs(at);
      return bavail * bsize;
    } catch (error) {
      if (errorCode(error) === "ENOENT" && dirname(at) !== at) continue;
      return await attempt("see the free space of", path, () => Promise.reject(error));
    }
  }
}
