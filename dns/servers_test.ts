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

Deno.test("parseResolvConf() takes the servers and nothing else", () => {
  const text =
    "# nameserver 192.0.2.9\nsearch example.com\n nameserver 192.0.2.1\nnameserver\t2001:db8::1 # x\n" +
    "nameserver fe80::1%eth0\nnameserver 192.0.2.2\noptions timeout:1\nnameserver 192.0.2.3\n";
  assert.deepEqual(parseResolvConf(text).map(({ address }) => address), [
    "192.0.2.1",
    "2001:db8::1",
    "192.0.2.2",
  ]);
  assert.deepEqual(parseResolvConf(""), [{ address: "127.0.0.1", port: 53 }]);
});

Deno.test("resolvConfServers() notices a change, and keeps what it knew while the file is gone", async () => {
  const clock = new FakeClock();
  const path = await Deno.makeTempFile();
  const servers = resolvConfServers(path, clock);
  const first = async () => (await servers())[0]?.address;
  await Deno.writeTextFile(path, "nameserver 192.0.2.1\n");
  assert.equal(await first(), "192.0.2.1");
  await Deno.writeTextFile(path, "nameserver 192.0.2.2\n");
  assert.equal(await first(), "192.0.2.1");
  await clock.advance(30_000);
  assert.equal(await first(), "192.0.2.2");
  await Deno.remove(path);
  await clock.advance(30_000);
  assert.equal(await first(), "192.0.2.2");
  assert.equal((await resolvConfServers(path, clock)())[0]?.address, "127.0.0.1");
});
