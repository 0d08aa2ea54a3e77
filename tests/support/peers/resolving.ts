/**
 * Programs that ask the DNS server of /etc/resolv.conf, given another one.
 *
 * @module
 */
import type { Folder } from "./folder.ts";

/** What to run, and whom it is to ask. */
export interface ResolvingBy {
  /** The address of a DNS server on port 53. */
  readonly server: string;
  /** Where the resolv.conf is written. */
  readonly folder: Folder;
  /** The program and its arguments. */
  readonly command: readonly string[];
}

/**
 * The command line that runs a program with another /etc/resolv.conf, in its own mount namespace; it must run as
 * root. The process keeps its number.
 */
export async function resolvingBy({ server, folder, command }: ResolvingBy): Promise<string[]> {
  return [
    ...["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"'],
    await folder.write("resolv.conf", `nameserver ${server}\n`),
    ...command,
  ];
}
