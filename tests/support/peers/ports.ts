/**
 * Ports for programs that cannot choose a free one.
 *
 * @module
 */
import { until } from "./process.ts";

// Below Linux's range for outgoing connections (32768-60999), so that none of those takes a port found free here.
const LOWEST = 12_000;
const COUNT = 20_000;

/** A port that is free on 127.0.0.1 and on ::1. */
export function freePort(): number {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = LOWEST + Math.floor(Math.random() * COUNT);
    if (isFree("127.0.0.1", port) && isFree("::1", port)) return port;
  }
  throw new Error("no free port found");
}

/**
 * Resolves when something accepts connections there.
 * @throws {Error} when nothing does within two minutes
 */
export async function untilListening(port: number, hostname = "127.0.0.1"): Promise<void> {
  await until(async () => {
    try {
      (await Deno.connect({ hostname, port })).close();
      return true;
    } catch {
      return false;
    }
  }, { what: `a server on ${hostname} port ${port}` });
}

/**
 * Resolves when something accepts connections at a Unix socket.
 * @throws {Error} when nothing does within two minutes
 */
export async function untilListeningAt(path: string): Promise<void> {
  await until(async () => {
    try {
      (await Deno.connect({ transport: "unix", path })).close();
      return true;
    } catch {
      return false;
    }
  }, { what: path });
}

function isFree(hostname: string, port: number): boolean {
  try {
    Deno.listen({ hostname, port }).close();
    return true;
  } catch {
    return false;
  }
}
