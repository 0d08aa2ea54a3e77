/**
 * What serve-out may touch for its queue.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { parseDatabaseUrl } from "../relay/postgres/url.ts";
import type { Grants } from "./grants.ts";

/**
 * The grants for a queue in PostgreSQL: the files that are named, and the database's Unix socket, which the address
 * names. The client asks for two variables of the environment, in any case.
 */
export function queueGrants({ queue }: Config): Pick<Grants, "read" | "write" | "env"> {
  if (queue.store === "spool") return { read: [], write: [] };
  const sockets = socketsOf(queue.urlFile);
  const files = [queue.urlFile, ...(queue.caFile === undefined ? [] : [queue.caFile])];
  return { read: [...files, ...sockets], write: sockets, env: ["PGAPPNAME", "PGTARGETSESSIONATTRS"] };
}

function socketsOf(urlFile: string): string[] {
  try {
    const { hosts } = parseDatabaseUrl(Deno.readTextFileSync(urlFile));
    return hosts.flatMap((host) => "path" in host ? [`${host.path}/.s.PGSQL.${host.port}`] : []);
  } catch {
    // Opening the queue will say why.
    return [];
  }
}
