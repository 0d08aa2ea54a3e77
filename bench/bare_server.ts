/**
 * The least that a program in Deno can do for a message, to tell what the runtime and the system take from what
 * mailapp does: it answers each command by its first letter and stores what follows DATA with the same file calls as
 * serve-in. It parses nothing, checks nothing, logs nothing, and takes no message of 64 KiB. For the bench only.
 *
 *     deno run --allow-net=127.0.0.1 --allow-read=DIR --allow-write=DIR bench/bare_server.ts PORT DIR
 *
 * @module
 */
import { DirectorySyncer } from "../storage/directory_syncer.ts";

const [port, maildir] = Deno.args;
const encoder = new TextEncoder();
const GREETING = encoder.encode("220 bare ESMTP\r\n");
const HELLO = encoder.encode("250-bare\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n");
const GO_ON = encoder.encode("354 Go on\r\n");
const OK = encoder.encode("250 2.0.0 OK\r\n");
const BYE = encoder.encode("221 2.0.0 Bye\r\n");
const [D, E, Q] = Array.from("DEQ", (letter) => letter.charCodeAt(0));

const syncer = new DirectorySyncer();
let stored = 0;

async function store(message: Uint8Array): Promise<void> {
  const name = `${Date.now()}.${stored++}`;
  const file = Deno.openSync(`${maildir}/tmp/${name}`, { write: true, createNew: true });
  file.writeSync(message);
  await file.sync();
  file.close();
  Deno.renameSync(`${maildir}/tmp/${name}`, `${maildir}/new/${name}`);
  await syncer.sync(`${maildir}/new`);
}

async function receive(conn: Deno.Conn, buffer: Uint8Array): Promise<Uint8Array> {
  for (let length = 0; length < buffer.length;) {
    const read = await conn.read(buffer.subarray(length));
    if (read === null) throw new Error("closed in mid-data");
    length += read;
    // CRLF, dot, CRLF: 13 10 46 13 10.
    if (length > 4 && buffer[length - 3] === 46 && buffer[length - 4] === 10) {
      return buffer.subarray(0, length);
    }
  }
  throw new Error("too large");
}

async function serve(conn: Deno.TcpConn): Promise<void> {
  conn.setNoDelay(true);
  const buffer = new Uint8Array(64 * 1024);
  await conn.write(GREETING);
  while (await conn.read(buffer) !== null) {
    const letter = buffer[0];
    if (letter === D) {
      await conn.write(GO_ON);
      await store(await receive(conn, buffer));
    }
    await conn.write(letter === E ? HELLO : letter === Q ? BYE : OK);
    if (letter === Q) break;
  }
}

const listener = Deno.listen({ hostname: "127.0.0.1", port: Number(port) });
console.log("ready");
for await (const conn of listener) {
  // smtp-source ends a kept connection as it likes.
  serve(conn).catch(() => {}).finally(() => conn.close());
}
