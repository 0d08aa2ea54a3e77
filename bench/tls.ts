/**
 * Compares two ways to serve TLS from the first byte (port 465): `Deno.listenTls`, and `Deno.listen` with the upgrade
 * that STARTTLS uses. Prints handshakes and megabytes a second, and what each costs the server in processor time.
 *
 * Run it with `deno run -A bench/tls.ts`; the client is a second process of the same file.
 *
 * @module
 */
import { createSecureContext } from "node:tls";
import process from "node:process";
import { ConnTransport } from "../net/conn_transport.ts";
import { systemClock } from "../base/clock.ts";
import { serverUpgrade } from "../tls/server_upgrade.ts";
import { createTestAuthority, type Leaf } from "../tests/support/test_authority.ts";

const HANDSHAKES = 3_000;
const CONCURRENCY = 16;
const MEGABYTES = 512;
const CHUNK = 64 << 10;

interface Served {
  read(buffer: Uint8Array): Promise<number | null>;
  write(data: Uint8Array): Promise<unknown>;
  close(): void;
}

/** One connection: `h` closes at once, `b` takes bulk data until the client ends it. */
async function serve(served: Served): Promise<void> {
  const buffer = new Uint8Array(CHUNK);
  try {
    if (await served.read(buffer) !== null && buffer[0] === 0x62) {
      while (await served.read(buffer) !== null);
    }
    await served.write(new TextEncoder().encode("."));
  } finally {
    served.close();
  }
}

function listenTls({ cert, key }: Leaf): Deno.Listener {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key });
  (async () => {
    for await (const conn of listener) serve(conn).catch(() => {});
  })().catch(() => {});
  return listener;
}

function listenUpgrade({ cert, key }: Leaf): Deno.Listener {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const upgrade = serverUpgrade({ certificates: { secureContext: createSecureContext({ cert, key }) } });
  const one = async (conn: Deno.Conn) => {
    const plain = new ConnTransport(conn, { clock: systemClock });
    plain.deadline = systemClock.monotonic() + 30_000;
    await serve((await upgrade(plain)).transport);
  };
  (async () => {
    for await (const conn of listener) one(conn).catch(() => {});
  })().catch(() => {});
  return listener;
}

/** Runs in the second process: `client port ca mode`, prints seconds. */
async function client([port, ca, mode]: readonly string[]): Promise<void> {
  const options = { hostname: "127.0.0.1", port: Number(port), caCerts: [ca ?? ""] };
  const buffer = new Uint8Array(16);
  const start = performance.now();
  if (mode === "handshakes") {
    let left = HANDSHAKES;
    await Promise.all(Array.from({ length: CONCURRENCY }, async () => {
      while (left-- > 0) {
        using conn = await Deno.connectTls(options);
        await conn.write(new TextEncoder().encode("h"));
        await conn.read(buffer);
      }
    }));
  } else {
    using conn = await Deno.connectTls(options);
    const chunk = new Uint8Array(CHUNK).fill(0x62);
    for (let sent = 0; sent < MEGABYTES << 20; sent += CHUNK) {
      for (let at = 0; at < CHUNK;) at += await conn.write(chunk.subarray(at));
    }
    await conn.closeWrite();
    await conn.read(buffer);
  }
  console.log((performance.now() - start) / 1000);
}

async function measure(listener: Deno.Listener, { ca, mode }: { ca: string; mode: string }) {
  const { port } = listener.addr as Deno.NetAddr;
  const before = process.cpuUsage();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", import.meta.filename ?? "", "client", String(port), ca, mode],
    stdout: "piped",
    stderr: "inherit",
  });
  const { stdout } = await child.output();
  const { user, system } = process.cpuUsage(before);
  return { seconds: Number(new TextDecoder().decode(stdout)), cpu: (user + system) / 1e6 };
}

async function main(): Promise<void> {
  const authority = await createTestAuthority();
  const leaf = await authority.issue({ names: ["127.0.0.1"] });
  for (const round of [1, 2, 3]) {
    for (const [name, listen] of [["listenTls", listenTls], ["upgrade", listenUpgrade]] as const) {
      const listener = listen(leaf);
      const handshakes = await measure(listener, { ca: authority.cert, mode: "handshakes" });
      const bulk = await measure(listener, { ca: authority.cert, mode: "bulk" });
      listener.close();
      console.log(
        `round ${round} ${name.padEnd(9)} ` +
          `${(HANDSHAKES / handshakes.seconds).toFixed(0)} handshakes/s ` +
          `(${(handshakes.cpu / HANDSHAKES * 1e6).toFixed(0)} µs CPU each), ` +
          `${(MEGABYTES / bulk.seconds).toFixed(0)} MiB/s (${
            (bulk.cpu / MEGABYTES * 1000).toFixed(1)
          } ms CPU per MiB)`,
      );
    }
  }
}

if (import.meta.main) {
  if (Deno.args[0] === "client") await client(Deno.args.slice(1));
  else await main();
}
