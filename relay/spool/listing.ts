/**
 * What is in the spool's directory, by name. What has no name of ours is put aside on the way.
 *
 * @module
 */
import { join } from "node:path";
import type { Logger } from "../../base/log.ts";
import { putAside, shardOf } from "./directory.ts";
import { isQueueId } from "../stored/format.ts";

const SHARD_NAME = /^[0-9a-z]{2}$/;

/** Lists the files of one spool. */
export class SpoolListing {
  readonly #directory: string;
  readonly #logger: Logger;

  /** `logger` logs what is put aside. */
  constructor(options: { readonly directory: string; readonly logger: Logger }) {
    this.#directory = options.directory;
    this.#logger = options.logger;
  }

  /** The shards that there are. */
  *shards(): Generator<string, void, void> {
    const messages = join(this.#directory, "messages");
    for (const { name, isDirectory } of Deno.readDirSync(messages)) {
      if (isDirectory && SHARD_NAME.test(name)) yield name;
      else this.#aside(join(messages, name));
    }
  }

  /** The ids of a shard's messages. */
  *messages(shard: string): Generator<string, void, void> {
    const directory = join(this.#directory, "messages", shard);
    for (const { name, isFile } of Deno.readDirSync(directory)) {
      if (isFile && isQueueId(name) && shardOf(name) === shard) yield name;
      else this.#aside(join(directory, name));
    }
  }

  /** The ids that have a state in a shard. */
  states(shard: string): Set<string> {
    const directory = join(this.#directory, "states", shard);
    const ids = new Set<string>();
    try {
      for (const { name, isFile } of Deno.readDirSync(directory)) {
        const id = name.endsWith(".json") ? name.slice(0, -".json".length) : "";
        if (isFile && isQueueId(id) && shardOf(id) === shard) ids.add(id);
        else this.#aside(join(directory, name));
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return ids;
  }

  #aside(path: string): void {
    putAside(path, { directory: this.#directory, reason: "not a name of ours", logger: this.#logger });
  }
}
