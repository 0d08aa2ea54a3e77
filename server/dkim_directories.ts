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

/**
 * The directories of all keys, as the next key will be there too; only the key itself if that would be all of /etc. The
 * one of `mailapp dkim` is always among them: the first key may come with a reload.
 */
export function dkimDirectories(config: Pick<Config, "dataDir" | "dkim">): string[] {
  const directories = Object.values(config.dkim).flat().map(({ keyFile }) => {
    const directory = dirname(keyFile);
    return dirname(directory) === "/" ? keyFile : directory;
  });
  return [...new Set([dkimDirectory(config), ...directories])];
}
