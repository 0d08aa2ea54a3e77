import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { systemClock } from "../base/clock.ts";
import { FakeDns } from "../tests/support/fake_dns.ts";
import { startBind } from "../tests/support/peers/bind.ts";
import { testWith } from "../tests/support/requires.ts";
import { DnsResolver } from "./resolver.ts";

const confined = { mayAsk: () => true, scopeOf: () => undefined };

Deno.test("TcpChannel asks again where a server closes after its first answer, with questions unread", async () => {
  await using dns = await FakeDns.start();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let connections = 0;
  const serving = (async () => {
    for await (const conn of listener) {
      connections++;
      // Hands on one question and its answer.
      using client = conn;
      using server = await Deno.connect({ hostname: "127.0.0.1", port: dns.port });
      const buffer = new Uint8Array(2048);
      const read = await client.read(buffer) ?? 0;
      await server.write(buffer.subarray(0, Math.min(read, 2 + ((buffer[0] ?? 0) << 8 | (buffer[1] ?? 0)))));
      const answer = await server.read(buffer) ?? 0;
      await client.write(buffer.subarray(0, answer));
    }
  })();
  const resolver = new DnsResolver({
    clock: systemClock,
    servers: [`127.0.0.1:${listener.addr.port}`],
    confined,
  });
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => resolver.cname(`n${i}.test`)));
  assert.deepEqual(new Set(answers.map(({ kind }) => kind)), new Set(["no-such-name"]));
  assert.ok(connections > 1);
  listener.close();
  await serving;
});

Deno.test("TcpChannel fails where nothing listens, or the server closes at once", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const serving = (async () => {
    for await (const conn of listener) conn.close();
  })();
  const ask = async () => {
    const resolver = new DnsResolver({ clock: systemClock, servers: [`127.0.0.1:${port}`], confined });
    return (await Promise.all([resolver.cname("a.test"), resolver.cname("b.test")])).map(({ kind }) => kind);
  };
  assert.deepEqual(await ask(), ["failed", "failed"]);
  listener.close();
  await serving;
  assert.deepEqual(await ask(), ["failed", "failed"]);
});

testWith(["named"], "TcpChannel puts questions of one moment onto one connection", async () => {
  await using bind = await startBind({
    "d.test": Array.from({ length: 500 }, (_, i) => `n${i} CNAME x`).join("\n"),
  });
  const resolver = new DnsResolver({ clock: systemClock, servers: [`127.0.0.1:${bind.port}`], confined });
  // More connections at a time than BIND takes by default.
  const answers = await Promise.all(Array.from({ length: 500 }, (_, i) => resolver.cname(`n${i}.d.test`)));
  for (const answer of answers) assert.deepEqual(answer.kind === "found" && answer.records, ["x.d.test"]);
});

Deno.test("TcpChannel takes answers of 64 KB, beside others", async () => {
  const strings = Array.from({ length: 240 }, () => Buffer.alloc(255, "x"));
  const large = { answers: [{ name: "large.test", type: "TXT", ttl: 9, data: strings }] };
  await using dns = await FakeDns.start({ "large.test TXT": large });
  const resolver = new DnsResolver({ clock: systemClock, servers: [dns.server], confined, dnssec: true });
  const [answer, other] = await Promise.all([resolver.txt("large.test"), resolver.txt("other.test")]);
  assert.equal(answer.kind === "found" && answer.records[0]?.length, 240 * 255);
  assert.equal(other.kind, "no-such-name");
});
