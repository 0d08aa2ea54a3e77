/**
 * What the threads with dialogues of serve-out may touch.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../../config/config.ts";
import { showEndpoint } from "../../net/listen.ts";
import { dkimDirectories, dkimDirectory } from "../dkim_directories.ts";
import { type Grants, logFile } from "../grants.ts";
import type { Endpoint } from "../listeners.ts";

/** The ports, the spool and the keys of DKIM. They connect to nothing. */
export function intakeGrants(config: Config, endpoints: readonly Endpoint[]): Grants {
  const spool = join(config.dataDir, "spool");
  return {
    net: endpoints.map(({ address, port }) => showEndpoint(address, port)),
    // The first key may come with a reload.
    read: [spool, dkimDirectory(config), ...dkimDirectories(config)],
    write: [spool, ...logFile(config)],
    sys: ["statfs"],
  };
}
