import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import { DnsLists } from "./dns_lists.ts";
import { checkSender } from "./sender_checks.ts";

const ZONE = {
  "example.test": { txt: ["v=spf1 ip4:192.0.2.1 -all exp=why.test"] },
  "mx.example.test": { txt: ["v=spf1 a -all"], a: ["192.0.2.1"] },
  "2.0.0.127.x.list": { a: ["127.0.0.2"] },
  "1.2.0.192.x.list": { a: ["127.0.0.2"] },
};
const PTR = { ptr: { "192.0.2.1": ["mx.example.test"] } };

Deno.test("checkSender() asks about the reverse-path, HELO, the address and the lists", async () => {
  const resolver = new StaticResolver(ZONE, PTR);
  using lists = new DnsLists({
    lists: [{ zone: "x.list", action: "junk" }],
    resolver,
    clock: new FakeClock(),
    logger: silentLogger,
  });
  await lists.start();
  const { spf, heloSpf, iprev, listings } = await checkSender(
    { ip: "192.0.2.1", helo: "mx.example.test", mailFrom: "a@example.test" },
    { resolver, spf: true, lists },
  );
  assert.deepEqual([spf?.result, spf?.domain, spf?.identity], ["pass", "example.test", "mailfrom"]);
  assert.deepEqual([heloSpf?.result, heloSpf?.domain, heloSpf?.identity], [
    "pass",
    "mx.example.test",
    "helo",
  ]);
  assert.deepEqual(iprev, { result: "pass", name: "mx.example.test" });
  assert.deepEqual(listings.map(({ list }) => list.zone), ["x.list"]);
});

Deno.test("checkSender() asks SPF once where there is one name, not at all where it is off, and for no explanation", async () => {
  const resolver = new StaticResolver(ZONE, PTR);
  const ask = (helo: string, mailFrom: string, spf = true) =>
    checkSender({ ip: "192.0.2.9", helo, mailFrom }, { resolver, spf });
  const bounce = await ask("mx.example.test", "");
  assert.deepEqual([bounce.spf?.identity, bounce.spf?.result, bounce.heloSpf], ["helo", "fail", undefined]);
  assert.equal((await ask("example.test", "a@example.test")).heloSpf, undefined);
  assert.equal((await ask("mx.example.test", "a@example.test", false)).spf, undefined);
  assert.ok(!resolver.asked.includes("txt why.test"));
});
