/**
 * Root works in a directory of the service as its owner, which could redirect paths in it.
 *
 * @module
 */
import process from "node:process";
import { ownerOnPath } from "../../storage/path_owner.ts";

/**
 * Switches root to the account that could change the path, for the rest of the command; does nothing for others.
 * @throws {OpenPathError} when the path is open to more than one
 */
export async function becomeOwner(directory: string): Promise<void> {
  if (Deno.uid() !== 0) return;
  const owner = await ownerOnPath(directory);
  if (owner === undefined) return;
  process.setgid?.(owner.gid);
  process.setuid?.(owner.uid);
}
