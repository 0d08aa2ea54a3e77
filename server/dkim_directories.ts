/**
 * Where the keys of DKIM are.
 *
 * @module
 */
import { dirname, join } from "@std/path";
import type { Config } from "../config/config.ts";

/** The directory of the keys that `mailapp dkim` makes. */
export function dkimDirectory({ dataDir }: Pick<Config, "dataDir">): string {
  return join(dataDir, "dkim");
}

/** The directories of the keys, as the next key will be there too; only the key itself if that would be all of /etc. */
export function dkimDirectories({ dkim }: Pick<Config, "dkim">): string[] {
  return Object.values(dkim).flat().map(({ keyFile }) => {
    const directory = dirname(keyFile);
    return dirname(directory) === "/" ? keyFile : directory;
  });
}
