/**
 * Accounts by name, from /etc/passwd.
 *
 * @module
 */

/** A line of /etc/passwd. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** The account of that name; `undefined` when there is none. */
export async function findAccount(name: string): Promise<Account | undefined> {
  for (const line of (await Deno.readTextFile("/etc/passwd")).split("\n")) {
    const [found, , uid, gid] = line.split(":");
    if (found === name) return { name, uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}

/** The account of that name. @throws {Error} when there is none */
export async function account(name: string): Promise<Account> {
  const found = await findAccount(name);
  if (!found) throw new Error(`no account ${name}; .ci/unpack_peers.sh makes it`);
  return found;
}
