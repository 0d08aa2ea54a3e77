import assert from "node:assert/strict";
import type { MxRecord } from "../dns/resolver.ts";
import { StaticResolver } from "../tests/support/static_resolver.ts";
import type { StaticName } from "../tests/support/static_resolver.ts";
import { silentLogger } from "../base/log.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { FamilyHealth } from "../net/family_health.ts";
import { seeded } from "../tests/support/chance.ts";
import { findTargets, type Route, type TargetOptions, type Targets } from "./mx.ts";

function options(names: Record<string, StaticName>, more: Partial<TargetOptions> = {}): TargetOptions {
  return {
    resolver: new StaticResolver(names),
    family: "auto",
    port: 25,
    allowPrivateTargets: false,
    hostname: "mx.self.test",
    ownListeners: [{ address: "192.0.2.99", port: 25 }, { address: "::1", port: 25 }],
    routes: new Map(),
    tlsPolicy: new Map(),
    random: () => 0,
    logger: silentLogger,
    ...more,
  };
}

function mx(...exchanges: string[]): MxRecord[] {
  return exchanges.map((exchange, i) => ({ preference: 10 * i, exchange }));
}

/** `host address address …` in order, or `kind status`. */
function brief(found: Targets): string {
  if (found.kind !== "targets") return `${found.kind} ${found.status}`;
  return found.targets.map((target) => `${target.host} ${target.address}`).join(", ");
}

const HOSTS: Record<string, StaticName> = {
  "a.test": { a: ["192.0.2.1"], aaaa: ["2001:db8::1"] },
  "b.test": { a: ["192.0.2.2"] },
  "six.test": { aaaa: ["2001:db8::6"] },
  "alias.test": { cname: "b.test" },
  "loop1.test": { cname: "loop2.test" },
  "loop2.test": { cname: "loop1.test" },
  "broken.test": { fails: ["*"] },
  "bare.test": { txt: ["no address here"] },
  "inside.test": { a: ["10.0.0.1"] },
  "home.test": { aaaa: ["::1"] },
  "mapped.test": { aaaa: ["::ffff:127.0.0.1"] },
  "half.test": { a: ["127.0.0.1", "192.0.2.7"] },
  "mx.self.test": { a: ["192.0.2.98"] },
  "me-by-address.test": { a: ["192.0.2.99"] },
};

const CASES: readonly (readonly [name: string, domain: StaticName | undefined, expected: string])[] = [
  ["one MX, IPv6 first", { mx: mx("a.test") }, "a.test 2001:db8::1, a.test 192.0.2.1"],
  ["MX by preference", { mx: mx("b.test", "six.test") }, "b.test 192.0.2.2, six.test 2001:db8::6"],
  ["no MX but A", { a: ["192.0.2.5"] }, "d.test 192.0.2.5"],
  ["no MX but AAAA", { aaaa: ["2001:db8::5"] }, "d.test 2001:db8::5"],
  ["no MX and no address", { txt: ["x"] }, "failed 5.4.4"],
  ["no MX and addresses that cannot be told", { fails: ["a", "aaaa"] }, "deferred 4.4.3"],
  ["MX that cannot be told, though there is an A", { fails: ["mx"], a: ["192.0.2.5"] }, "deferred 4.4.3"],
  ["a domain that does not exist", undefined, "failed 5.1.2"],
  ["null MX", { mx: mx(".") }, "failed 5.1.10"],
  ["null MX beside another", { mx: mx(".", "b.test") }, "b.test 192.0.2.2"],
  ["null MX, though there is an A", { mx: mx("."), a: ["192.0.2.5"] }, "failed 5.1.10"],
  ["an alias as domain", { cname: "bare.test" }, "failed 5.4.4"],
  ["MX to an alias", { mx: mx("alias.test") }, "alias.test 192.0.2.2"],
  ["MX to an alias loop, not told by an authority", { mx: mx("loop1.test") }, "deferred 4.4.3"],
  ["MX to an address", { mx: mx("192.0.2.1") }, "failed 5.4.4"],
  ["MX to no host name", { mx: mx("") }, "failed 5.4.4"],
  ["MX to a host that does not exist", { mx: mx("gone.test") }, "failed 5.4.4"],
  ["MX to a host without address", { mx: mx("bare.test") }, "failed 5.4.4"],
  ["MX hosts gone and broken", { mx: mx("gone.test", "broken.test") }, "deferred 4.4.3"],
  ["MX hosts broken and good", { mx: mx("broken.test", "b.test") }, "b.test 192.0.2.2"],
  ["MX that is ourselves by name", { mx: mx("mx.self.test", "b.test") }, "failed 5.4.6"],
  ["MX that is ourselves by address", { mx: mx("me-by-address.test", "b.test") }, "failed 5.4.6"],
  [
    "a better MX than ourselves",
    { mx: mx("a.test", "mx.self.test", "b.test") },
    "a.test 2001:db8::1, a.test 192.0.2.1",
  ],
  ["an equal MX beside ourselves", {
    mx: [{ preference: 1, exchange: "b.test" }, { preference: 1, exchange: "mx.self.test" }],
  }, "failed 5.4.6"],
  ["the domain's own address is ours", { a: ["192.0.2.99"] }, "failed 5.4.6"],
  ["a private target", { mx: mx("inside.test") }, "deferred 4.4.4"],
  ["a loopback target, where we listen as well", { mx: mx("home.test", "b.test") }, "b.test 192.0.2.2"],
  ["a loopback target and no other", { mx: mx("home.test") }, "deferred 4.4.4"],
  ["a mapped loopback target", { mx: mx("mapped.test") }, "deferred 4.4.4"],
  ["a private address beside a public one", { mx: mx("half.test") }, "half.test 192.0.2.7"],
  ["a private target before a public one", { mx: mx("inside.test", "b.test") }, "b.test 192.0.2.2"],
  ["a private implicit MX", { a: ["192.168.1.1"] }, "deferred 4.4.4"],
];

for (const [name, domain, expected] of CASES) {
  Deno.test(`findTargets() given ${name}`, async () => {
    const names = domain === undefined ? HOSTS : { ...HOSTS, "d.test": domain };
    assert.equal(brief(await findTargets("d.test", options(names))), expected);
  });
}

Deno.test("findTargets() never asks for addresses of a domain whose MX could not be told", async () => {
  const resolver = new StaticResolver({ "d.test": { fails: ["mx"], a: ["192.0.2.5"] } });
  await findTargets("d.test", options({}, { resolver }));
  assert.deepEqual(resolver.asked, ["mx d.test"]);
});

Deno.test("findTargets() shuffles MX of equal preference and keeps the preferences apart", async () => {
  const names: Record<string, StaticName> = {
    "d.test": {
      mx: [
        { preference: 20, exchange: "last.test" },
        ...["x.test", "y.test", "z.test"].map((exchange) => ({ preference: 10, exchange })),
      ],
    },
    "last.test": { a: ["192.0.2.9"] },
    "x.test": { a: ["192.0.2.1"] },
    "y.test": { a: ["192.0.2.2"] },
    "z.test": { a: ["192.0.2.3"] },
  };
  const order = async (random: () => number) =>
    brief(await findTargets("d.test", options(names, { random }))).replaceAll(/ \d[^,]*/g, "");
  assert.equal(await order(() => 0), "x.test, y.test, z.test, last.test");
  assert.equal(await order(() => 0.99), "z.test, y.test, x.test, last.test");
  assert.equal(await order(() => 0.5), "y.test, z.test, x.test, last.test");
});

Deno.test("findTargets() takes a bounded part of a hundred MX with a hundred addresses each", async () => {
  const names: Record<string, StaticName> = {
    "d.test": { mx: mx(...Array.from({ length: 300 }, (_, i) => `h${i}.test`)) },
  };
  for (let i = 0; i < 300; i++) {
    names[`h${i}.test`] = { a: Array.from({ length: 100 }, (_, j) => `192.0.${i % 2 + 3}.${j}`) };
  }
  const resolver = new StaticResolver(names);
  const found = await findTargets("d.test", options({}, { resolver }));
  assert.equal(found.kind === "targets" && found.targets.length, 32);
  assert.ok(resolver.asked.length <= 33, `${resolver.asked.length} questions`);
});

Deno.test("findTargets() looks at all addresses of a host before it takes eight", async () => {
  const inside = Array.from({ length: 20 }, (_, i) => `10.0.0.${i}`);
  const find = async (last: string) => {
    const names = { "d.test": { mx: mx("h.test") }, "h.test": { a: [...inside, last] } };
    return brief(await findTargets("d.test", options(names)));
  };
  assert.equal(await find("192.0.2.7"), "h.test 192.0.2.7");
  assert.equal(await find("192.0.2.99"), "failed 5.4.6");
});

Deno.test("findTargets() gives a hundred dead MX a bounded number of questions", async () => {
  const resolver = new StaticResolver({
    "d.test": { mx: mx(...Array.from({ length: 100 }, (_, i) => `h${i}.test`)) },
  });
  assert.equal(brief(await findTargets("d.test", options({}, { resolver }))), "failed 5.4.4");
  assert.ok(resolver.asked.length <= 401, `${resolver.asked.length} questions`);
});

Deno.test("findTargets() finds the one host that is there among a hundred MX", async () => {
  const exchanges = [...Array.from({ length: 99 }, (_, i) => `h${i}.test`), "last.test"];
  const found = { "last.test": { a: ["192.0.2.9"] } };
  for (const preference of [(i: number) => i, () => 10]) {
    const records = exchanges.map((exchange, i) => ({ preference: preference(i), exchange }));
    assert.equal(
      brief(await findTargets("d.test", options({ "d.test": { mx: records }, ...found }))),
      "last.test 192.0.2.9",
    );
  }
});

Deno.test("findTargets() defers where dead MX left no room for others, and comes to these in a further attempt", async () => {
  for (const preference of [(i: number) => i, () => 10]) {
    for (const dead of [149, 400]) {
      const records = Array.from({ length: dead + 1 }, (_, i) => ({
        preference: preference(i),
        exchange: i === dead ? "last.test" : `h${i}.test`,
      }));
      const random = seeded(dead);
      let found = "";
      for (let attempt = 0; attempt < 60 && !found.startsWith("last.test"); attempt++) {
        const resolver = new StaticResolver({
          "d.test": { mx: records },
          "last.test": { a: ["192.0.2.9"] },
        });
        found = brief(await findTargets("d.test", options({}, { resolver, random })));
        assert.match(found, /^(?:last\.test 192\.0\.2\.9|deferred 4\.4\.4)$/);
        assert.ok(resolver.asked.length <= 401, `${resolver.asked.length} questions`);
      }
      assert.equal(found, "last.test 192.0.2.9");
    }
  }
});

Deno.test("findTargets() counts a host that stands in many MX records once", async () => {
  const records = [...Array.from({ length: 300 }, () => "gone.test"), "last.test"];
  const names = { "d.test": { mx: mx(...records) }, "last.test": { a: ["192.0.2.9"] } };
  assert.equal(brief(await findTargets("d.test", options(names))), "last.test 192.0.2.9");
  const dead = { "d.test": { mx: mx(...records.slice(0, -1)) } };
  assert.equal(brief(await findTargets("d.test", options(dead))), "failed 5.4.4");
});

Deno.test("findTargets() asks about no more than 16 of a hundred MX whose addresses cannot be told", async () => {
  const exchanges = Array.from({ length: 100 }, (_, i) => `h${i}.test`);
  const resolver = new StaticResolver({
    "d.test": { mx: mx(...exchanges) },
    ...Object.fromEntries(
      exchanges.map((exchange) => [exchange, { fails: ["a" as const, "aaaa" as const] }]),
    ),
  });
  assert.equal(brief(await findTargets("d.test", options({}, { resolver }))), "deferred 4.4.3");
  assert.ok(resolver.asked.length <= 65, `${resolver.asked.length} questions`);
});

Deno.test("findTargets() looks at more hosts with each attempt, up to a hundred", async () => {
  const exchanges = Array.from({ length: 120 }, (_, i) => `h${i}.test`);
  const names = Object.fromEntries(
    exchanges.map((exchange, i) => [exchange, { a: [`203.0.113.${i + 1}`, `198.51.100.${i + 1}`] }]),
  );
  const asked = { "d.test": { mx: mx(...exchanges) }, ...names };
  const hosts = async (earlier: number) => {
    const found = await findTargets("d.test", options(asked, { earlier }));
    return found.kind === "targets" ? new Set(found.targets.map(({ host }) => host)).size : 0;
  };
  assert.equal(await hosts(0), 16);
  assert.equal(await hosts(1), 26);
  assert.equal(await hosts(1000), 100);
});

Deno.test("findTargets() honours the family", async () => {
  const names: Record<string, StaticName> = {
    "d.test": { mx: mx("two.test") },
    "four.test": { mx: mx("b.test") },
    "two.test": { a: ["192.0.2.1", "192.0.2.2"], aaaa: ["2001:db8::1"] },
    "b.test": { a: ["192.0.2.2"] },
    "six.test": { mx: mx("s.test") },
    "s.test": { aaaa: ["2001:db8::6"] },
  };
  const addresses = async (domain: string, more: Partial<TargetOptions>) =>
    brief(await findTargets(domain, options(names, more))).replaceAll(/[a-z]+\.test /g, "");
  assert.equal(await addresses("d.test", { family: "auto" }), "2001:db8::1, 192.0.2.1, 192.0.2.2");
  assert.equal(await addresses("d.test", { family: "ipv4-first" }), "192.0.2.1, 2001:db8::1, 192.0.2.2");
  assert.equal(await addresses("d.test", { family: "ipv4" }), "192.0.2.1, 192.0.2.2");
  assert.equal(await addresses("d.test", { family: "ipv6" }), "2001:db8::1");
  assert.equal(
    await addresses("d.test", { family: "auto", preferFamily: 4 }),
    "192.0.2.1, 2001:db8::1, 192.0.2.2",
  );
  assert.equal(
    await addresses("d.test", { family: "ipv4-first", preferFamily: 6 }),
    "2001:db8::1, 192.0.2.1, 192.0.2.2",
  );
  assert.equal(await addresses("d.test", { family: "ipv6", preferFamily: 4 }), "2001:db8::1");
  for (const family of ["auto", "ipv4-first"] as const) {
    assert.equal(await addresses("four.test", { family }), "192.0.2.2");
    assert.equal(await addresses("six.test", { family }), "2001:db8::6");
  }
  assert.equal(await addresses("four.test", { family: "ipv6" }), "deferred 4.4.4");
  assert.equal(await addresses("six.test", { family: "ipv4" }), "deferred 4.4.4");
});

Deno.test("findTargets() puts a family last that does not work from here, unless the other one just failed", async () => {
  const clock = new FakeClock();
  const health = new FamilyHealth(clock);
  const names: Record<string, StaticName> = { "d.test": { a: ["192.0.2.1"], aaaa: ["2001:db8::1"] } };
  const first = async (more: Partial<TargetOptions> = {}) => {
    const found = await findTargets("d.test", options(names, { health, ...more }));
    return found.kind === "targets" && found.targets[0]?.family;
  };
  assert.equal(await first(), 6);
  health.failed(6);
  assert.equal(await first(), 4);
  assert.equal(await first({ preferFamily: 6 }), 6);
  health.failed(4);
  assert.equal(await first(), 6);
  assert.equal(await first({ family: "ipv4-first" }), 4);
  health.worked(4);
  await clock.advance(599_999);
  assert.equal(await first(), 4);
  await clock.advance(1);
  assert.equal(await first(), 6);
});

Deno.test("findTargets() sends to private targets where that is allowed", async () => {
  const names: Record<string, StaticName> = {
    "d.test": { mx: mx("inside.test") },
    "inside.test": { a: ["127.0.0.1"] },
  };
  const found = await findTargets("d.test", options(names, { allowPrivateTargets: true, port: 2525 }));
  assert.deepEqual(found.kind === "targets" && found.targets, [
    {
      host: "inside.test",
      address: "127.0.0.1",
      family: 4,
      port: 2525,
      via: "mx",
      tls: "prefer",
      authenticated: false,
      policyDomain: "d.test",
    },
  ]);
  const home = { "d.test": { mx: mx("home.test") }, "home.test": { aaaa: ["::1"] } };
  assert.equal(
    brief(await findTargets("d.test", options(home, { allowPrivateTargets: true }))),
    "failed 5.4.6",
  );
});

Deno.test("findTargets() leads serve-in's domains to serve-in, before routes and MX", async () => {
  const local = {
    domains: new Set(["own.test"]),
    listeners: [{ address: "192.0.2.99", port: 2525 }, { address: "::1", port: 2525 }],
  };
  const routes = new Map([["*", { host: "smart.test" }]]);
  const resolver = new StaticResolver({});
  const found = await findTargets("own.test", options({}, { resolver, local, routes }));
  assert.equal(brief(found), "mx.self.test 192.0.2.99, mx.self.test ::1");
  assert.deepEqual(found.kind === "targets" && found.targets.map(({ port, via }) => `${via} ${port}`), [
    "local 2525",
    "local 2525",
  ]);
  assert.deepEqual(resolver.asked, []);
  const nowhere = { domains: local.domains, listeners: [] };
  assert.equal(brief(await findTargets("own.test", options({}, { local: nowhere }))), "deferred 4.3.5");
});

Deno.test("findTargets() follows routes: exact, then the smarthost, by name or address", async () => {
  const names: Record<string, StaticName> = {
    "smart.test": { a: ["10.0.0.1"] },
    "d.test": { mx: mx("b.test") },
    "b.test": { a: ["192.0.2.2"] },
    "down.test": { fails: ["*"] },
  };
  const auth = { user: "u", password: "p" };
  const routes = new Map<string, Route>([
    ["exact.test", { host: "192.0.2.50", port: 26 }],
    ["six.test", { host: "2001:db8::7", tls: "require" as const }],
    ["down.test", { host: "down.test" }],
    ["typo.test", { host: "typo.test" }],
  ]);
  const tlsPolicy = new Map([["exact.test", "verify" as const], ["six.test", "prefer" as const]]);
  const find = async (domain: string, all?: typeof auth) => {
    const map = all === undefined
      ? routes
      : new Map<string, Route>([...routes, ["*", { host: "Smart.test", port: 587, auth: all }]]);
    const found = await findTargets(domain, options(names, { routes: map, tlsPolicy }));
    if (found.kind !== "targets") return `${found.kind} ${found.status}`;
    const [first] = found.targets;
    return `${first?.host} ${first?.address} ${first?.port} ${first?.tls} ${
      first?.auth?.user ?? "-"
    } ${first?.via}`;
  };
  assert.equal(await find("exact.test"), "192.0.2.50 192.0.2.50 26 verify - route");
  assert.equal(await find("six.test"), "2001:db8::7 2001:db8::7 25 require - route");
  assert.equal(await find("down.test"), "deferred 4.4.3");
  assert.equal(await find("typo.test"), "deferred 4.3.5");
  assert.equal(await find("d.test"), "b.test 192.0.2.2 25 prefer - mx");
  assert.equal(await find("d.test", auth), "smart.test 10.0.0.1 587 verify u route");
  assert.equal(await find("[192.0.2.9]", auth), "smart.test 10.0.0.1 587 verify u route");
});

Deno.test("findTargets() reads address literals", async () => {
  const find = async (domain: string) => brief(await findTargets(domain, options({})));
  assert.equal(await find("[192.0.2.1]"), "192.0.2.1 192.0.2.1");
  assert.equal(await find("[IPv6:2001:db8::1]"), "2001:db8::1 2001:db8::1");
  assert.equal(await find("[192.0.2.99]"), "failed 5.4.6");
  assert.equal(await find("[127.0.0.1]"), "deferred 4.4.4");
  for (
    const bad of [
      "[]",
      "[2001:db8::1",
      "[x]",
      "[IPv6:192.0.2.1]",
      "[192.0.2.1",
      "[192.0.2.1]x",
      "[IPv6:::1%lo]",
    ]
  ) {
    assert.equal(await find(bad), "failed 5.1.3", bad);
  }
  for (const bad of ["", "..", "a b", "-".repeat(64)]) assert.equal(await find(bad), "failed 5.1.2", bad);
});

Deno.test("findTargets() has TLS come first on port 465 of a route, and nowhere else", async () => {
  const routes = new Map<string, Route>([
    ["submissions.test", { host: "192.0.2.1", port: 465 }],
    ["submission.test", { host: "192.0.2.1", port: 587 }],
    ["*", { host: "192.0.2.1" }],
  ]);
  for (const domain of ["submissions.test", "submission.test", "other.test"]) {
    const found = await findTargets(domain, options({}, { routes }));
    assert.ok(found.kind === "targets");
    assert.deepEqual(found.targets.map(({ implicitTls }) => implicitTls), [
      domain === "submissions.test" || undefined,
    ]);
  }
});

Deno.test("findTargets() marks targets as authenticated only where every answer was", async () => {
  const vouched = { authenticated: true };
  const names: Record<string, StaticName> = {
    "safe.test": { mx: mx("h1.test", "h2.test"), ...vouched },
    "h1.test": { a: ["192.0.2.1"], ...vouched },
    "h2.test": { a: ["192.0.2.2"] },
    "unsafe.test": { mx: mx("h1.test") },
  };
  const find = async (domain: string) => {
    const found = await findTargets(domain, options(names));
    return found.kind === "targets" && found.targets.map((target) => target.authenticated);
  };
  assert.deepEqual(await find("safe.test"), [true, false]);
  assert.deepEqual(await find("unsafe.test"), [false]);
});

Deno.test("findTargets() says where aliases end if all are signed, and marks a signed alias as authenticated", async () => {
  const names: Record<string, StaticName> = {
    "signed.test": { a: ["192.0.2.1"], aaaa: ["2001:db8::1"], authenticated: true },
    "unsigned.test": { a: ["192.0.2.2"] },
    "good.test": { cname: "middle.test", authenticated: true },
    "middle.test": { cname: "signed.test", authenticated: true },
    "away.test": { cname: "unsigned.test", authenticated: true },
    "back.test": { cname: "between.test", authenticated: true },
    "between.test": { cname: "signed.test" },
    "bad.test": { cname: "signed.test" },
    "broken.test": { cname: "unsigned.test", authenticated: true, fails: ["cname"] },
  };
  const hosts = ["signed", "unsigned", "good", "away", "back", "bad", "broken"].map((name) => `${name}.test`);
  const found = async (domain: string, more: Partial<TargetOptions> = {}) => {
    const found = await findTargets(domain, options(names, more));
    if (found.kind !== "targets") return found.reason;
    const ways = found.targets.map(({ authenticated, expanded }) => `${authenticated} ${expanded}`);
    return [...new Set(ways)].join();
  };
  for (const host of hosts) names[`to.${host}`] = { mx: mx(host), authenticated: true };
  const seen = async (find: (host: string) => Promise<string>) =>
    Object.fromEntries(await Promise.all(hosts.map(async (host) => [host, await find(host)] as const)));
  const expected = {
    "signed.test": "true undefined",
    "unsigned.test": "false undefined",
    "good.test": "true signed.test",
    "away.test": "true undefined",
    "back.test": "true undefined",
    "bad.test": "false undefined",
    "broken.test": "alias of broken.test: SERVFAIL",
  };
  assert.deepEqual(await seen((host) => found(`to.${host}`)), expected);
  assert.deepEqual(await seen((host) => found(host)), expected);
  const route = (host: string) => ({ routes: new Map<string, Route>([["*", { host, port: 587 }]]) });
  assert.deepEqual(await seen((host) => found("d.test", route(host))), {
    ...expected,
    "broken.test": "route: alias of broken.test: SERVFAIL",
  });
});

Deno.test("findTargets() takes a route's name as the operator's own word, so that its addresses decide", async () => {
  const names: Record<string, StaticName> = {
    "signed.test": { a: ["192.0.2.1"], aaaa: ["2001:db8::1"], authenticated: true },
    "unsigned.test": { a: ["192.0.2.1"] },
    "alias.test": { cname: "unsigned.test" },
  };
  for (const tls of ["prefer", "require", "verify", "dane"] as const) {
    for (const port of [25, 465, 587]) {
      const vouched = async (host: string) => {
        const routes = new Map<string, Route>([["*", { host, port, tls }]]);
        const found = await findTargets("d.test", options(names, { routes }));
        return found.kind === "targets" && found.targets.map(({ authenticated }) => authenticated);
      };
      assert.deepEqual(await vouched("signed.test"), [true, true]);
      assert.deepEqual(await vouched("unsigned.test"), [false]);
      assert.deepEqual(await vouched("alias.test"), [false]);
      assert.deepEqual(await vouched("192.0.2.1"), [false]);
    }
  }
});
