/**
 * The same dialogues over TCP and TLS, into Maildirs: what a connection in memory cannot show, such as descriptors
 * that stay open.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "@std/path";
import { fc } from "../support/property.ts";
import { MaildirDelivery } from "../../maildir/delivery.ts";
import { Mailboxes } from "../../maildir/mailboxes.ts";
import { systemClock } from "../../base/clock.ts";
import { SmtpServer } from "../../smtp/server.ts";
import { finalDeliveryPolicy } from "../../smtp/server_policy.ts";
import { StagingArea } from "../../storage/staging.ts";
import { Certificates } from "../../tls/certificates.ts";
import { keepSelfSigned } from "../../tls/self_signed.ts";
import { serverUpgrade } from "../../tls/server_upgrade.ts";
import { bytesOf, cut, textOf } from "../support/bytes.ts";
import { RecordingLog } from "../support/recording_log.ts";
import { type Script, scripts } from "./dialogue.ts";

/** How to run them. */
export interface OverTcpOptions {
  readonly seed: number;
  readonly dialogues: number;
  /** Told what was done. */
  readonly report: (line: string) => void;
}

const AT_ONCE = 16;
const WARM_UP = 100;
const MAX_PIECES = 40;
// How long a client waits for a reply that may never come, in milliseconds.
const PATIENCE = 20;

/**
 * Holds the dialogues and compares the process's descriptors before and after.
 * @throws {assert.AssertionError} when something is left behind, or a 250 is not a stored message
 */
export async function holdOverTcp({ seed, dialogues, report }: OverTcpOptions): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "mailapp-fuzz-" });
  const hostname = "mx.here.example";
  const log = new RecordingLog();
  const common = { hostname, clock: systemClock, logger: log };
  const files = await keepSelfSigned({ ...common, dataDir: folder });
  using certificates = await Certificates.load({ ...common, ...files });
  const authority = await Deno.readTextFile(files.cert);
  const mailboxes = new Mailboxes({
    domains: ["here.example"],
    path: join(folder, "mail/{user}"),
    users: ["alice", "bob", "r1"],
    aliases: { postmaster: "alice" },
    subaddressSeparator: "+",
  });
  const delivery = new MaildirDelivery({
    ...common,
    mailboxes,
    staging: new StagingArea({ directory: join(folder, "incoming"), messageLimit: 16 * 1024 }),
    minFreeSpace: 0,
  });
  const server = new SmtpServer({
    ...common,
    delivery,
    policy: finalDeliveryPolicy(common),
    upgradeToTls: serverUpgrade({ certificates }),
    limits: { maxConnectionsPerIp: AT_ONCE * 4, maxMessageSize: 40_000 },
  });
  const plain = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const secure = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = [server.serve(plain), server.serve(secure, { implicitTls: true })];
  const ports = { plain: plain.addr.port, secure: secure.addr.port };

  const heard: string[] = [];
  const chosen = fc.sample(scripts, { seed, numRuns: dialogues + WARM_UP });
  const holdSome = async (some: readonly Script[]) => {
    let next = 0;
    const client = async () => {
      for (let turn = next++; turn < some.length; turn = next++) {
        const script = some[turn];
        if (script) heard.push(await speak(script, { ports, authority, hostname, turn }));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, client));
    await until(() => server.connectionCount === 0);
  };
  try {
    await holdSome(chosen.slice(0, WARM_UP));
    const before = await openDescriptors();
    await holdSome(chosen.slice(WARM_UP));
    const after = await openDescriptors();
    assert.deepEqual(after, before, "descriptors were left open");
    await checkStored(folder, log, heard);
    report(
      `${dialogues} dialogues over TCP: ${log.named("message.accepted").length} messages, ` +
        `${log.named("tls.started").length} handshakes, ${log.named("tls.failed").length} failed ones, ` +
        `${after.length} descriptors before and after`,
    );
  } finally {
    await server.shutdown({ grace: 1000 });
    await Promise.all(serving);
    await Deno.remove(folder, { recursive: true });
  }
}

interface Target {
  readonly ports: { readonly plain: number; readonly secure: number };
  readonly authority: string;
  readonly hostname: string;
  readonly turn: number;
}

/** Holds one dialogue and gives what was heard, as far as the client waited for it. */
async function speak(script: Script, { ports, authority, hostname, turn }: Target): Promise<string> {
  const secure = turn % 3 === 1;
  const junk = turn % 3 === 2 && turn % 2 === 0;
  let conn: Deno.Conn;
  if (secure) {
    const tcp = await Deno.connect({ hostname: "127.0.0.1", port: ports.secure });
    conn = await Deno.startTls(tcp, { hostname, caCerts: [authority] });
  } else {
    conn = await Deno.connect({ hostname: "127.0.0.1", port: junk ? ports.secure : ports.plain });
  }
  let heard = "";
  let arrived = Promise.withResolvers<void>();
  const listening = (async () => {
    const buffer = new Uint8Array(16 * 1024);
    try {
      for (let read; (read = await conn.read(buffer)) !== null;) {
        heard += textOf(buffer.subarray(0, read));
        arrived.resolve();
      }
    } catch {
      // Reset, or closed by ourselves.
    }
    arrived.resolve();
  })();
  const hear = async () => {
    const timer = setTimeout(arrived.resolve, PATIENCE);
    await arrived.promise;
    clearTimeout(timer);
    arrived = Promise.withResolvers();
  };
  try {
    // The beginning of a ClientHello, as far as a client that goes away gets.
    if (junk && turn % 4 === 0) await conn.write(bytesOf("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"));
    for (const step of script.steps) {
      if (step.do !== "send") continue;
      const bytes = bytesOf(step.text);
      const least = Math.ceil(bytes.length / MAX_PIECES);
      for (const piece of cut(bytes, step.sizes.map((size) => Math.max(size, least)))) {
        for (let at = 0; at < piece.length;) at += await conn.write(piece.subarray(at));
      }
      if (step.wait) await hear();
    }
    if (script.end === "end" && !junk) {
      await conn.closeWrite();
      await listening;
    }
  } catch {
    // The server has hung up.
  }
  try {
    conn.close();
  } catch {
    // A TLS connection that broke is closed already.
  }
  await listening;
  return heard;
}

/** The descriptors once what was closed is closed: a connection goes a moment after its dialogue. */
async function openDescriptors(): Promise<string[]> {
  let last = await listDescriptors();
  for (let same = 0; same < 5;) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const now = await listDescriptors();
    same = now.length === last.length ? same + 1 : 0;
    last = now;
  }
  return last;
}

/** What the process's descriptors are, numbers of sockets and pipes left out. */
async function listDescriptors(): Promise<string[]> {
  const kinds: string[] = [];
  for await (const { name } of Deno.readDir("/proc/self/fd")) {
    try {
      kinds.push((await Deno.readLink(`/proc/self/fd/${name}`)).replace(/:?\[.*/, ""));
    } catch {
      // The descriptor of this very listing.
    }
  }
  return kinds.filter((kind) => !/^\/proc\/\d+\/fd$/.test(kind)).sort();
}

/** Each 250 is a message that is there; nothing unfinished is anywhere. */
async function checkStored(folder: string, log: RecordingLog, heard: readonly string[]): Promise<void> {
  const accepted = new Set(log.named("message.accepted").map(({ fields }) => String(fields["id"])));
  for (const text of heard) {
    for (const [, id = ""] of text.matchAll(/^250 2\.0\.0 (\S+) accepted\r$/gm)) {
      assert.ok(accepted.has(id), `a 250 for ${id}, which the log does not know`);
    }
  }
  const delivered = new Set(log.named("message.delivered").map(({ fields }) => String(fields["file"])));
  const there = new Set<string>();
  for await (const { name: user } of Deno.readDir(join(folder, "mail"))) {
    for await (const { name } of Deno.readDir(join(folder, "mail", user, "new"))) {
      there.add(join(folder, "mail", user, "new", name));
    }
    const unfinished = await Array.fromAsync(
      Deno.readDir(join(folder, "mail", user, "tmp")),
      ({ name }) => name,
    );
    assert.deepEqual(unfinished, [], "something unfinished is left in tmp/");
  }
  assert.deepEqual([...there].sort(), [...delivered].sort(), "the files are those that the log names");
  const known = new Set(log.named("message.delivered").map(({ fields }) => String(fields["id"])));
  assert.deepEqual([...accepted].filter((id) => !known.has(id)), [], "a message without a file");
  const reasons = log.named("session.closed").map(({ fields }) => String(fields["reason"]));
  assert.deepEqual(reasons.filter((reason) => reason === "" || reason.startsWith("error")), []);
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, "connections are left open");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
