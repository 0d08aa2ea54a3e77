/**
 * `[queue]`: where serve-out keeps its queue.
 *
 * @module
 */
import type { QueueConfig } from "./config.ts";
import { DAY, duration, oneOf, pathOrEmpty, table } from "./values.ts";

// A shorter one is lost whenever the database takes its time.
const SHORTEST_LEASE = 5_000;

/** The table. */
export const queue = table({
  store: oneOf("spool", "postgres").prefault("spool"),
  url_file: pathOrEmpty.prefault(""),
  ca_file: pathOrEmpty.prefault(""),
  durability: oneOf("standby", "primary").prefault("standby"),
  lease: duration(DAY / 24).prefault("30s"),
}).transform(({ store, url_file, ca_file, durability, lease }, context): QueueConfig => {
  const problem = (name: string, message: string) =>
    context.issues.push({ code: "custom", message, input: undefined, path: [name] });
  if (store === "spool") return { store };
  if (url_file === "") problem("url_file", 'must be set, since store is "postgres"');
  if (lease < SHORTEST_LEASE) problem("lease", "must be at least 5s: the lease is renewed at a third of it");
  return { store, urlFile: url_file, ...(ca_file !== "" && { caFile: ca_file }), durability, leaseMs: lease };
});
