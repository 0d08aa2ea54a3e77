/**
 * Whether the ports of threads are free.
 *
 * @module
 */
import { bind, BindError } from "../../net/listen.ts";
import { CommandError } from "../exit_codes.ts";
import type { Endpoint } from "../listeners.ts";

/**
 * Makes sure that no other program has these ports: a thread would wait for them, as for a new address.
 * @returns the first whose address is there
 * @throws {CommandError}
 */
export function probePorts(endpoints: readonly Endpoint[]): Endpoint | undefined {
  const bound: Deno.TcpListener[] = [];
  let available: Endpoint | undefined;
  try {
    for (const endpoint of endpoints) {
      try {
        bound.push(bind(endpoint.address, endpoint.port));
        available ??= endpoint;
      } catch (error) {
        if (!(error instanceof BindError)) throw error;
        // The threads wait for it.
        if (error.kind === "not-available") continue;
        throw new CommandError(error.message, error.exitCode, { cause: error });
      }
    }
  } finally {
    for (const listener of bound) listener.close();
  }
  return available;
}
