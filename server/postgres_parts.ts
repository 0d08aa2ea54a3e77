/**
 * The queue in PostgreSQL, as a configuration has it. Loaded only where there is one, as its client is large.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import { Database, DatabaseError } from "../relay/postgres/database.ts";
import { PostgresQueue } from "../relay/postgres/postgres_queue.ts";
import { DurabilityError, type PostgresQueueOptions } from "../relay/postgres/queue_options.ts";
import { SchemaError } from "../relay/postgres/schema.ts";
import { type DatabaseUrl, DatabaseUrlError, parseDatabaseUrl } from "../relay/postgres/url.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import type { PostgresConfig } from "./queue_parts.ts";
import { VERSION } from "./version.ts";

/**
 * Connects to the queue in PostgreSQL.
 * @param options `view`: only to look
 * @throws {CommandError} when that cannot be done now
 */
export async function connectQueue(
  config: Config,
  queue: PostgresConfig,
  { view = false, name = config.hostname, current = () => config, ...options }: {
    readonly logger: Logger;
    readonly view?: boolean;
    readonly name?: string;
    readonly current?: () => Config;
  },
): Promise<PostgresQueue> {
  const all: PostgresQueueOptions = {
    ...await readDatabaseUrl(queue),
    directory: join(config.dataDir, "receiving"),
    hostname: name,
    program: VERSION,
    lease: queue.leaseMs,
    needsStandby: queue.durability === "standby",
    resendAfter: () => current().serveOut.retryMs[0] ?? 60_000,
    dotTimeout: () => current().serveOut.timeouts.dataEndMs,
    ...options,
  };
  return await asCommand(() => view ? PostgresQueue.view(all) : PostgresQueue.open(all));
}

/**
 * Connects to the database of the queue, whatever is in it.
 * @throws {CommandError} when its address cannot be read
 */
export async function connectDatabase(queue: PostgresConfig): Promise<Database> {
  return new Database({ ...await readDatabaseUrl(queue), connections: 2 });
}

/**
 * Does what needs the database.
 * @throws {CommandError} with what is to be said to the user
 */
export async function asCommand<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DatabaseError) {
      throw new CommandError(error.message, EXIT.unavailable, { cause: error });
    }
    if (error instanceof SchemaError || error instanceof DurabilityError) {
      throw new CommandError(error.message, EXIT.config, { cause: error });
    }
    throw error;
  }
}

// No address is longer; a larger file is something else.
const MAX_URL = 4096;

async function readDatabaseUrl(
  { urlFile, caFile }: PostgresConfig,
): Promise<{ readonly url: DatabaseUrl; readonly ca?: string }> {
  const fail = (problem: string, cause?: unknown) =>
    new CommandError(`queue.url_file = "${urlFile}": ${problem}`, EXIT.config, { cause });
  let text: string;
  try {
    const { mode, size } = await Deno.stat(urlFile);
    if (((mode ?? 0) & 0o007) !== 0) {
      throw fail("other accounts may read or write it; chmod o= takes that away");
    }
    if (size > MAX_URL) throw fail("is too large for an address");
    text = await Deno.readTextFile(urlFile);
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw fail(`cannot be read: ${errorText(error)}`, error);
  }
  let url: DatabaseUrl;
  try {
    url = parseDatabaseUrl(text.split(/\r?\n/, 1)[0] ?? "");
  } catch (error) {
    if (error instanceof DatabaseUrlError) throw fail(error.message);
    throw error;
  }
  if (caFile === undefined) return { url };
  try {
    return { url, ca: await Deno.readTextFile(caFile) };
  } catch (error) {
    const message = `queue.ca_file = "${caFile}": cannot be read: ${errorText(error)}`;
    throw new CommandError(message, EXIT.config, { cause: error });
  }
}
