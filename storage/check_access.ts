/**
 * Whether this account may read, write or create a path.
 *
 * @module
 */
import { constants } from "node:fs";
import process from "node:process";
import { dirname } from "@std/path";

/** The account in question. */
export interface ProcessAccount {
  /** 0 may do everything. */
  readonly uid: number | null;
  /** Its group and the supplementary ones. */
  readonly groups: readonly number[];
}

/**
 * Like access(2), for `mode` of `constants` in node:fs: that of Deno (2.9) ignores groups, and refuses root what only
 * the mode bits deny. Reading is tried; for the rest, access control lists are not considered.
 * @throws {Error} with the system's code, such as `ENOENT` or `EACCES`
 */
export async function checkAccess(path: string, mode: number): Promise<void> {
  if (mode === constants.R_OK) return (await Deno.open(path)).close();
  const account = { uid: Deno.uid(), groups: process.getgroups?.() ?? [] };
  if (mayAccess(account, { info: await Deno.stat(path), mode })) return;
  throw Object.assign(new Error(`Permission denied: ${path}`), { code: "EACCES" });
}

/** Whether the mode bits let the account do that: those of the owner, else of the group, else of everyone. */
export function mayAccess(
  { uid, groups }: ProcessAccount,
  { info, mode }: { readonly info: Pick<Deno.FileInfo, "uid" | "gid" | "mode">; readonly mode: number },
): boolean {
  if (uid === 0 || info.mode === null) return true;
  const shift = info.uid === uid ? 6 : info.gid !== null && groups.includes(info.gid) ? 3 : 0;
  return ((info.mode >> shift) & mode) === mode;
}

/** The nearest existing directory, in which this one would be made. */
export async function nearestExisting(path: string): Promise<string> {
  for (let at = path;; at = dirname(at)) {
    const isThere = await Deno.stat(at).then(() => true, () => false);
    if (isThere || dirname(at) === at) return at;
  }
}
