import assert from "node:assert/strict";
import { makeFolder } from "../tests/support/peers/folder.ts";
import { runOk } from "../tests/support/peers/process.ts";
import { testWith } from "../tests/support/requires.ts";
import { buildC } from "./build_c.ts";

/** What the server of a test heard: the lines of each connection. */
type Heard = string[][];

/** Runs load against a server that answers by `reply`. */
async function load(
  args: (port: number) => readonly string[],
  reply: (line: string, heard: Heard) => string | undefined,
): Promise<{ heard: Heard; report: Readonly<Record<string, number>> }> {
  await using folder = await makeFolder("load");
  const program = await buildC("load", folder);
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const heard: Heard = [];
  const sessions: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      const lines: string[] = [];
      heard.push(lines);
      sessions.push(converse(connection, { lines, reply: (line) => reply(line, heard) }));
    }
  })();
  const report = JSON.parse(await runOk(program, { args: args(listener.addr.port) }));
  await Promise.all(sessions);
  listener.close();
  await accepting;
  return { heard, report };
}

async function converse(
  connection: Deno.Conn,
  { lines, reply }: { lines: string[]; reply: (line: string) => string | undefined },
): Promise<void> {
  using _closing = connection;
  const say = (text: string) => connection.write(new TextEncoder().encode(`${text}\r\n`));
  await say("220 test");
  let [pending, inData] = ["", false];
  const buffer = new Uint8Array(65_536);
  for (let length: number | null; (length = await connection.read(buffer)) !== null;) {
    const parts = (pending + new TextDecoder().decode(buffer.subarray(0, length))).split("\r\n");
    pending = parts.pop() ?? "";
    for (const line of parts) {
      lines.push(line);
      if (inData && line !== ".") continue;
      inData = line === "DATA";
      await say(reply(line) ?? (line === "DATA" ? "354 go on" : line === "QUIT" ? "221 bye" : "250 ok"));
    }
  }
}

testWith(["gcc"], "load takes a new connection after so many messages, and numbers recipients", async () => {
  const { heard, report } = await load(
    (port) => ["-k", "2", "-o", "3", "127.0.0.1", `${port}`, "1", "5", "300", "x@d{n}.test", "4"],
    () => undefined,
  );
  const recipients = heard.map((lines) => lines.filter((line) => line.startsWith("RCPT")).join(" "));
  assert.deepEqual(recipients, [
    "RCPT TO:<x@d3.test> RCPT TO:<x@d4.test>",
    "RCPT TO:<x@d1.test> RCPT TO:<x@d2.test>",
    "RCPT TO:<x@d3.test>",
  ]);
  assert.equal(report.deferred, 0);
  assert.ok((report.p99 ?? NaN) >= (report.p50 ?? NaN));
});

testWith(["gcc"], "load sends again what is refused for now", async () => {
  let dots = 0;
  const { heard: [lines = []], report } = await load(
    (port) => ["127.0.0.1", `${port}`, "1", "1", "300", "x@test", "1"],
    (line) => line === "." && dots++ === 0 ? "452 queue full" : undefined,
  );
  assert.equal(report.deferred, 1);
  assert.deepEqual(lines.filter((line) => /^(MAIL|RSET|DATA|\.$)/.test(line)), [
    "MAIL FROM:<sender@bench.test>",
    "DATA",
    ".",
    "RSET",
    "MAIL FROM:<sender@bench.test>",
    "DATA",
    ".",
  ]);
});

testWith(["gcc"], "load sends again over another connection after 421", async () => {
  const { heard, report } = await load(
    (port) => ["127.0.0.1", `${port}`, "1", "1", "300", "x@test", "1"],
    (line, heard) => line === "DATA" && heard.length === 1 ? "421 too many errors" : undefined,
  );
  assert.equal(report.deferred, 1);
  assert.deepEqual(heard.map((lines) => lines.includes(".")), [false, true]);
});

testWith(["gcc"], "load stuffs the dots of a file", async () => {
  await using folder = await makeFolder("load-file");
  const file = await folder.write("message", "Subject: x\n\n.a\nb.\n");
  const args = (port: number) => ["-F", file, "127.0.0.1", `${port}`, "1", "1", "0", "x@test", "1"];
  const { heard: [lines = []] } = await load(args, () => undefined);
  assert.deepEqual(lines.slice(lines.indexOf("DATA") + 1), ["Subject: x", "", "..a", "b.", ".", "QUIT"]);
});
