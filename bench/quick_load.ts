/**
 * Our client in C, for where the client's own work would hide the server's.
 *
 * @module
 */
import type { Folder } from "../tests/support/peers/folder.ts";
import { runOk } from "../tests/support/peers/process.ts";
import { buildC } from "./build_c.ts";
import type { LoadOptions } from "./load_client.ts";

/** What the client does: over kept connections, without TLS, to 127.0.0.1. */
export type QuickLoadOptions = Omit<LoadOptions, "host" | "keep" | "tls">;

/** Sends messages; resolves when the last one has been answered. */
export type QuickLoad = (options: QuickLoadOptions) => Promise<void>;

/** Builds the client. */
export async function buildQuickLoad(folder: Folder): Promise<QuickLoad> {
  const client = await buildC("load", folder);
  return async ({ port, sessions, messages, size, recipient, domains = 1 }) => {
    const numbers = [port, sessions, messages, size].map(String);
    const args = ["127.0.0.1", ...numbers, recipient, String(domains)];
    await runOk(client, { args, within: 600_000 });
  };
}
