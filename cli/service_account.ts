/**
 * The account of both servers, as `mailapp install` makes it.
 *
 * @module
 */
import { SERVICE_ACCOUNT } from "./units.ts";

/** Its ids, as the passwd file below `prefix` has them; `undefined` where there is no such account. */
export async function accountOf(prefix: string): Promise<{ uid: number; gid: number } | undefined> {
  const text = await Deno.readTextFile(`${prefix}/etc/passwd`).catch(() => "");
  const line = text.split("\n").find((line) => line.startsWith(`${SERVICE_ACCOUNT}:`));
  const [, , uid, gid] = line?.split(":") ?? [];
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}
