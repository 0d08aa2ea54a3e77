import assert from "node:assert/strict";
import { silentLogger } from "../base/log.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { RecordingLog } from "../tests/support/recording_log.ts";
import { type StaticName, StaticResolver } from "../tests/support/static_resolver.ts";
import { decidingListing, type DnsList, DnsLists } from "./dns_lists.ts";

const ALIVE = (zone: string): Record<string, StaticName> => ({ [`2.0.0.127.${zone}`]: { a: ["127.0.0.2"] } });
const IPV6_TEST = (last: number) => `${last}.0.0.0.0.0.f.7.f.f.f.f.${"0.".repeat(20)}`.slice(0, -1);

const LISTS: readonly DnsList[] = [
  { zone: "bad.list", action: "refuse" },
  { zone: "grey.list", action: "junk" },
  { zone: "good.list", action: "allow" },
];

const ZONE: Record<string, StaticName> = {
  ...ALIVE("bad.list"),
  ...ALIVE("grey.list"),
  ...ALIVE("good.list"),
  "1.2.0.192.bad.list": {
    a: ["127.0.0.4"],
    txt: ["Listed,\r\nsee https://bad.list/?ip=192.0.2.1 \u001b[31mü"],
  },
  "1.2.0.192.grey.list": { a: ["127.0.0.2"], txt: ["grey"] },
  "2.2.0.192.grey.list": { a: ["127.0.0.2"] },
  "3.2.0.192.bad.list": { a: ["127.0.0.2"] },
  "3.2.0.192.good.list": { a: ["127.0.5.1"] },
  "4.2.0.192.bad.list": { a: ["203.0.113.7"] },
  "5.2.0.192.bad.list": { fails: ["a"] },
  "5.2.0.192.grey.list": { a: ["127.0.0.2"], fails: ["txt"] },
  "6.2.0.192.bad.list": { a: ["127.255.255.254"] },
  [`1.${"0.".repeat(23)}8.b.d.0.1.0.0.2.bad.list`]: { a: ["127.0.0.2"] },
};

const started = async (zone: Record<string, StaticName>, lists = LISTS) => {
  const resolver = new StaticResolver(zone);
  const dnsLists = new DnsLists({ lists, resolver, clock: new FakeClock(), logger: silentLogger });
  await dnsLists.start();
  return { dnsLists, resolver };
};

Deno.test("DnsLists looks up an address in each list, and the text of the one that decides", async () => {
  const { dnsLists, resolver } = await started(ZONE);
  const look = async (ip: string) =>
    (await dnsLists.query(ip)).map((
      { list, code, text },
    ) => [list.zone, code, ...(text === undefined ? [] : [text])]);
  assert.deepEqual(await look("192.0.2.1"), [
    ["bad.list", "127.0.0.4", "Listed, see https://bad.list/?ip=192.0.2.1  [31m"],
    ["grey.list", "127.0.0.2"],
  ]);
  assert.deepEqual(await look("192.0.2.2"), [["grey.list", "127.0.0.2"]]);
  assert.deepEqual(await look("192.0.2.3"), [["bad.list", "127.0.0.2"], ["good.list", "127.0.5.1"]]);
  assert.ok(!resolver.asked.includes("txt 3.2.0.192.bad.list"));
  assert.deepEqual(await look("192.0.2.4"), []);
  assert.deepEqual(await look("192.0.2.5"), [["grey.list", "127.0.0.2"]]);
  assert.deepEqual(await look("192.0.2.6"), []);
  assert.deepEqual(await look("192.0.2.7"), []);
  assert.deepEqual(await look("2001:db8::1"), [["bad.list", "127.0.0.2"]]);
  assert.deepEqual(await look("::ffff:192.0.2.2"), [["grey.list", "127.0.0.2"]]);
});

Deno.test("decidingListing() lets an allow list outweigh others, and a refusal junk", () => {
  const listing = (list: DnsList) => ({ list, code: "127.0.0.2" });
  const [refuse, junk, allow] = LISTS.map(listing);
  assert.ok(refuse && junk && allow);
  assert.equal(decidingListing([]), undefined);
  assert.equal(decidingListing([junk, refuse]), refuse);
  assert.equal(decidingListing([junk]), junk);
  assert.equal(decidingListing([junk, refuse, allow]), allow);
});

Deno.test("DnsLists cuts the text of a list", async () => {
  const { dnsLists } = await started({
    ...ALIVE("bad.list"),
    "1.2.0.192.bad.list": { a: ["127.0.0.2"], txt: ["x".repeat(60_000), "y"] },
  });
  assert.equal((await dnsLists.query("192.0.2.1"))[0]?.text?.length, 200);
});

Deno.test("DnsLists ignores a list that is dead or lists the world, and says so once", async () => {
  const everybody = ["192.0.2.1", "127.0.0.1", "127.0.0.2"].map((ip) => ip.split(".").reverse().join("."));
  for (
    const [zone, reason] of [
      [{}, /its own test entry/],
      [
        Object.fromEntries(everybody.map((name) => [`${name}.x.list`, { a: ["127.0.0.2"] }])),
        /lists 127\.0\.0\.1/,
      ],
      [
        Object.fromEntries(everybody.map((name) => [`${name}.x.list`, { a: ["203.0.113.7"] }])),
        /lists 127\.0\.0\.1/,
      ],
      [
        Object.fromEntries(everybody.map((name) => [`${name}.x.list`, { a: ["127.255.255.254"] }])),
        /does not serve/,
      ],
      [{ ...ALIVE("x.list"), [`${IPV6_TEST(1)}.x.list`]: { a: ["127.0.0.2"] } }, /lists ::ffff:127\.0\.0\.1/],
    ] as const
  ) {
    const clock = new FakeClock();
    const log = new RecordingLog();
    const resolver = new StaticResolver({ ...zone, "1.2.0.192.x.list": { a: ["127.0.0.2"] } });
    const lists: DnsList[] = [{ zone: "x.list", action: "refuse" }];
    using dnsLists = new DnsLists({ lists, resolver, clock, logger: log });
    await dnsLists.start();
    await clock.advance(25 * 3600_000);
    assert.deepEqual(await dnsLists.query("192.0.2.1"), []);
    const said = log.events.filter(({ event }) => event === "dns_list.ignored");
    assert.equal(said.length, 1);
    assert.match(String(said[0]?.fields.reason), reason);
  }
});

Deno.test("DnsLists takes a list of IPv6 addresses for those alone", async () => {
  const { dnsLists, resolver } = await started(
    { [`${IPV6_TEST(2)}.six.list`]: { a: ["127.0.0.2"] }, "1.2.0.192.six.list": { a: ["127.0.0.2"] } },
    [{ zone: "six.list", action: "refuse" }],
  );
  assert.deepEqual(await dnsLists.query("192.0.2.1"), []);
  await dnsLists.query("2001:db8::1");
  assert.match(resolver.asked.at(-1) ?? "", /^a 1\.0.*\.six\.list$/);
});

Deno.test("DnsLists tests again daily: a list that dies is left, one that comes back is used again", async () => {
  const clock = new FakeClock();
  const log = new RecordingLog();
  const zone: Record<string, StaticName> = { ...ALIVE("x.list"), "1.2.0.192.x.list": { a: ["127.0.0.2"] } };
  using dnsLists = new DnsLists({
    lists: [{ zone: "x.list", action: "junk" }],
    resolver: new StaticResolver(zone),
    clock,
    logger: log,
  });
  assert.deepEqual(await dnsLists.query("192.0.2.1"), []);
  await dnsLists.start();
  assert.equal((await dnsLists.query("192.0.2.1")).length, 1);
  // DNS fails for a while: what was known stands.
  zone["2.0.0.127.x.list"] = { fails: ["a"] };
  await clock.advance(25 * 3600_000);
  assert.equal((await dnsLists.query("192.0.2.1")).length, 1);
  delete zone["2.0.0.127.x.list"];
  await clock.advance(25 * 3600_000);
  assert.deepEqual(await dnsLists.query("192.0.2.1"), []);
  Object.assign(zone, ALIVE("x.list"));
  await clock.advance(3600_000);
  assert.equal((await dnsLists.query("192.0.2.1")).length, 1);
  assert.deepEqual(log.events.map(({ event }) => event), ["dns_list.ignored", "dns_list.used_again"]);
});

Deno.test("DnsLists tests again soon where DNS failed at the start, and uses no list before", async () => {
  const clock = new FakeClock();
  const zone: Record<string, StaticName> = {
    "2.0.0.127.x.list": { fails: ["a"] },
    "1.2.0.192.x.list": { a: ["127.0.0.2"] },
  };
  using dnsLists = new DnsLists({
    lists: [{ zone: "x.list", action: "junk" }],
    resolver: new StaticResolver(zone),
    clock,
    logger: silentLogger,
  });
  await dnsLists.start();
  assert.deepEqual(await dnsLists.query("192.0.2.1"), []);
  Object.assign(zone, ALIVE("x.list"));
  await clock.advance(300_000);
  assert.equal((await dnsLists.query("192.0.2.1")).length, 1);
});
