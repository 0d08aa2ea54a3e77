/**
 * Root gives up its rights where it would work in files of another account.
 *
 * @module
 */
import process from "node:process";
import { ownerOnPath, type PathOwner } from "../storage/path_owner.ts";

/** Switches root to an account and its group, for the rest of the command. */
export function becomeAccount({ uid, gid }: PathOwner): void {
  process.setgid?.(gid);
  process.setuid?.(uid);
}

/**
 * Switches root to the account that could redirect the path; does nothing for other accounts.
 * @throws {OpenPathError} when the path is open to more than one
 */
export async function becomeOwner(directory: string): Promise<void> {
  if (Deno.uid() !== 0) return;
  const owner = await ownerOnPath(directory);
  if (owner !== undefined) becomeAccount(owner);
}
