/**
 * DNS messages over TCP, as a server of tests and demos has them: each with its length before it (RFC 7766 §8).
 *
 * @module
 */
import { writeAll } from "../base/write_all.ts";

/** Reads a message; `undefined` at the end. */
export async function readMessage(conn: Deno.TcpConn): Promise<Uint8Array | undefined> {
  const length = await readExactly(conn, 2);
  return length && await readExactly(conn, (length[0] ?? 0) << 8 | (length[1] ?? 0));
}

async function readExactly(conn: Deno.TcpConn, size: number): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size;) {
    const read = await conn.read(bytes.subarray(at));
    if (read === null) return undefined;
    at += read;
  }
  return bytes;
}

/** Writes a message of less than 64 KiB. */
export async function writeMessage(conn: Deno.TcpConn, message: Uint8Array): Promise<void> {
  await writeAll(conn, Uint8Array.of(message.length >> 8, message.length & 255, ...message));
}
