import assert from "node:assert/strict";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { parseDnsServer, parseResolvConf, resolvConfServers } from "./servers.ts";

Deno.test("parseDnsServer() reads addresses with and without a port", () => {
  assert.deepEqual(parseDnsServer("192.0.2.1"), { address: "192.0.2.1", port: 53 });
  assert.deepEqual(parseDnsServer("192.0.2.1:5353"), { address: "192.0.2.1", port: 5353 });
  assert.deepEqual(parseDnsServer("2001:db8::1"), { address: "2001:db8::1", port: 53 });
  assert.deepEqual(parseDnsServer("[2001:db8::1]:5353"), { address: "2001:db8::1", port: 5353 });
  for (
    const text of ["", "localhost", "192.0.2.1:", "192.0.2.1:65536", "[::1", "fe80::1%eth0", "[192.0.2.1]:53"]
  ) {
    assert.equal(parseDnsServer(text), undefined, text);
  }
});

const scopeOf = (name: string) => ({ eth0: 4, lo: 1 })[name];
const addresses = (text: string) => parseResolvConf(text, scopeOf).servers.map(({ address }) => address);

Deno.test("parseResolvConf() takes the servers and nothing else", () => {
  const text =
    "# nameserver 192.0.2.9\nsearch example.com\n nameserver 192.0.2.1\nnameserver\t2001:db8::1 # x\n" +
    "nameservers 192.0.2.8\nnameserver 192.0.2.2\r\noptions timeout:1\nnameserver 192.0.2.3\n";
  assert.deepEqual(addresses(text), ["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
  assert.deepEqual(parseResolvConf(text, scopeOf).problems, []);
});

Deno.test("parseResolvConf() uses the zone of a link-local address, and passes over any other", () => {
  const cases: Record<string, string> = {
    "::1%lo": "::1",
    "2001:db8::1%eth0": "2001:db8::1",
    "fe80::1%eth0": "fe80::1%4",
    "FE90::1%4": "FE90::1%4",
    "febf::1%27": "febf::1%27",
  };
  for (const [given, address] of Object.entries(cases)) {
    assert.deepEqual(
      parseResolvConf(`nameserver ${given}\n`, scopeOf),
      { servers: [{ address, port: 53 }], problems: [] },
    );
  }
});

Deno.test("parseResolvConf() puts no server in the place of one that it cannot use", () => {
  const unusable = [
    "fe80::1",
    "fe80::1%",
    "fe80::1%eth9",
    "fe80::1%eth0%eth0",
    "1.1.1.1#53",
    "192.0.2.256",
    "ns.example.com",
    "",
  ];
  for (const given of unusable) {
    const { servers, problems } = parseResolvConf(`nameserver ${given}\n`, scopeOf);
    assert.deepEqual(servers, [], given);
    assert.equal(problems.length, 1, given);
    assert.deepEqual(addresses(`nameserver ${given}\nnameserver 192.0.2.1\n`), ["192.0.2.1"]);
  }
});

Deno.test("parseResolvConf() says so where it falls back on this machine", () => {
  for (const text of ["", "search example.com\n", "# nameserver 192.0.2.1\n"]) {
    const { servers, problems } = parseResolvConf(text, scopeOf);
    assert.deepEqual(servers, [{ address: "127.0.0.1", port: 53 }]);
    assert.deepEqual(problems, ["it names no nameserver, so 127.0.0.1 is asked"]);
  }
});

Deno.test("parseResolvConf() bounds what it tells", () => {
  const { problems } = parseResolvConf(`nameserver ${"x".repeat(9999)}\n`.repeat(1000), scopeOf);
  assert.equal(problems.length, 10);
  assert.ok(problems.every((problem) => problem.length < 200));
});

Deno.test("resolvConfServers() notices a change, and keeps what it knew while the file is gone", async () => {
  const clock = new FakeClock();
  const path = await Deno.makeTempFile();
  const heard: string[] = [];
  const options = { clock, scopeOf, onProblems: (problems: readonly string[]) => heard.push(...problems) };
  const servers = resolvConfServers(path, options);
  const first = async () => (await servers()).servers[0]?.address;
  await Deno.writeTextFile(path, "nameserver 192.0.2.1\n");
  assert.equal(await first(), "192.0.2.1");
  await Deno.writeTextFile(path, "nameserver 192.0.2.2\n");
  assert.equal(await first(), "192.0.2.1");
  await clock.advance(30_000);
  assert.equal(await first(), "192.0.2.2");
  await Deno.remove(path);
  await clock.advance(30_000);
  assert.equal(await first(), "192.0.2.2");
  assert.deepEqual(heard, []);
  assert.equal((await resolvConfServers(path, options)()).servers[0]?.address, "127.0.0.1");
  assert.deepEqual(heard.splice(0), ["it is missing, so 127.0.0.1 is asked"]);
  await Deno.writeTextFile(path, "nameserver fe80::1%eth9\n");
  for (let i = 0; i < 3; i++) {
    await clock.advance(30_000);
    assert.equal(await first(), undefined);
  }
  assert.deepEqual(heard, [
    "nameserver fe80::1%eth9 is not used: there is no interface eth9 with a link-local address",
  ]);
});

Deno.test("resolvConfServers() names no server where the file cannot be read", async () => {
  const path = await Deno.makeTempDir();
  const { servers, problems } = await resolvConfServers(path, { clock: new FakeClock() })();
  assert.deepEqual(servers, []);
  assert.match(problems.join(), /cannot be read/);
  await Deno.remove(path);
});

Deno.test("resolvConfServers() names only servers that may be asked, and those from before where none may", async () => {
  const clock = new FakeClock();
  const path = await Deno.makeTempFile();
  const heard: string[] = [];
  const servers = resolvConfServers(path, {
    clock,
    scopeOf,
    onProblems: (problems) => heard.push(...problems),
    mayAsk: ({ address }) => address === "192.0.2.1",
  });
  const addresses = async () => (await servers()).servers.map(({ address }) => address);
  await Deno.writeTextFile(path, "nameserver 192.0.2.9\nnameserver 192.0.2.1\n");
  assert.deepEqual(await addresses(), ["192.0.2.1"]);
  await Deno.writeTextFile(path, "nameserver 192.0.2.9\n");
  for (let i = 0; i < 3; i++) {
    await clock.advance(30_000);
    assert.deepEqual(await addresses(), ["192.0.2.1"]);
  }
  assert.deepEqual(heard, [
    'nameserver 192.0.2.9 is not used yet: it was not there when the server started. One whose listen is "auto" or ' +
    "an interface uses it in a few seconds; any other needs a restart",
  ]);
  await Deno.remove(path);
});
