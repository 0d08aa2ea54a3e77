/**
 * The servers by name.
 *
 * @module
 */
import type { RunServer, ServerStart } from "./server_start.ts";

/** Loads a server, and nothing that only the other one needs. */
export async function loadServer(server: ServerStart["server"]): Promise<RunServer> {
  if (server === "serve-in") {
    const { runServeIn } = await import("./serve_in_server.ts");
    return runServeIn as RunServer;
  }
  const { runServeOut } = await import("./serve_out_server.ts");
  return runServeOut as RunServer;
}
