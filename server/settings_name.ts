/**
 * A digest of the settings that serve-out uses, to tell whether they are those of the file.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { Config } from "../config/config.ts";

/** The digest, equal for equal settings: those that serve-out can reload. */
export function settingsName({ hostname, dns, dkim, serveOut, serveIn }: Config): string {
  const { domains, listen, port } = serveIn;
  const text = JSON.stringify(sorted([hostname, dns, dkim, serveOut, domains, listen, port]));
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}

/** A copy with the keys of each object sorted. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, inner]) => [name, sorted(inner)] as const);
  return entries.sort(([a], [b]) => a < b ? -1 : 1);
}
