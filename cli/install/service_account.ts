/**
 * The account of both servers, as `mailapp install` makes it.
 *
 * @module
 */
import { SERVICE_ACCOUNT } from "./units.ts";

/** Ids of an account and its group. */
export interface Account {
  /** The account. */
  readonly uid: number;
  /** Its group. */
  readonly gid: number;
}

/** Its ids, as the passwd file below `prefix` has them; `undefined` where there is no such account. */
export async function accountOf(prefix: string): Promise<Account | undefined> {
  const text = await Deno.readTextFile(`${prefix}/etc/passwd`).catch(() => "");
  const line = text.split("\n").find((line) => line.startsWith(`${SERVICE_ACCOUNT}:`));
  const [, , uid, gid] = line?.split(":") ?? [];
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}
