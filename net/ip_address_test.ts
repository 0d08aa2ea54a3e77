import assert from "node:assert/strict";
import { isIPv4, isIPv6 } from "node:net";
import { fc } from "../tests/support/property.ts";
import { addressGroup, addressScope, ipBytes, isIpv4, isIpv6, sameAddress } from "./ip_address.ts";

Deno.test("ipBytes() gives the bytes of an address and nothing for what is none", () => {
  assert.deepEqual([...ipBytes("192.0.2.1") ?? []], [192, 0, 2, 1]);
  assert.deepEqual([...ipBytes("::") ?? []], new Array(16).fill(0));
  const bytes = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];
  assert.deepEqual([...ipBytes("2001:DB8::1:2") ?? []], bytes);
  assert.deepEqual([...ipBytes("2001:db8:0:0:0:0:0.1.0.2") ?? []], bytes);
  assert.deepEqual([...ipBytes("1:2:3:4:5:6:7::") ?? []].slice(-4), [0, 7, 0, 0]);
  for (const text of ["", "1.2.3", "1.2.3.04", "1.2.3.256", "::1%lo", "host", "[::1]", "1::2::3"]) {
    assert.equal(ipBytes(text), undefined, text);
  }
});

Deno.test("sameAddress() compares addresses, not texts", () => {
  assert.ok(sameAddress("::1", "0:0:0:0:0:0:0:1"));
  assert.ok(sameAddress("::ffff:192.0.2.1", "192.0.2.1"));
  assert.ok(!sameAddress("192.0.2.1", "192.0.2.2"));
  assert.ok(!sameAddress("::c000:201", "192.0.2.1"));
  assert.ok(!sameAddress("x", "y"));
});

Deno.test("addressScope() knows the networks that mail must not be led into", () => {
  const scopes: Record<string, readonly string[]> = {
    unspecified: ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"],
    loopback: ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1"],
    "link-local": ["169.254.169.254", "fe80::1", "febf::1", "::ffff:169.254.1.1", "64:ff9b::169.254.169.254"],
    private: [
      "10.0.0.1",
      "172.16.0.1",
      "172.31.255.255",
      "192.168.0.1",
      "100.64.0.1",
      "192.0.0.8",
      "fc00::1",
      "fdff::1",
      "fec0::1",
      "64:ff9b::10.0.0.1",
      "64:ff9b:1::1",
      "2002:c0a8:1::1",
      "2001:0:1:2:3:4:f5ff:fffe",
    ],
    multicast: ["224.0.0.1", "239.255.255.255", "ff02::1"],
    reserved: ["240.0.0.1", "255.255.255.255", "not an address"],
    public: [
      "192.0.2.1",
      "172.32.0.1",
      "100.128.0.1",
      "8.8.8.8",
      "2001:db8::1",
      "2606:4700::1",
      "::ffff:8.8.8.8",
      "2002:808:808::1",
      "64:ff9b::8.8.8.8",
    ],
  };
  for (const [scope, addresses] of Object.entries(scopes)) {
    for (const address of addresses) assert.equal(addressScope(address), scope, address);
  }
});

Deno.test("addressGroup() counts IPv4 by address and IPv6 by /64", () => {
  const groups = [
    ["192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:DB8:1:2::", "2001:db8:1:2::/64"],
    ["2001:0db8:0001:0002::9", "2001:db8:1:2::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:db8:0:0:1::", "2001:db8:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["::", "0:0:0:0::/64"],
    ["1::2:3:4:5:6:7", "1:0:2:3::/64"],
  ];
  for (const [address, group] of groups) assert.equal(addressGroup(address ?? ""), group, address);
});

Deno.test("ipBytes() takes of IPv4 what net.isIPv4() does", () => {
  const odd = [
    "",
    ".",
    "1.2.3",
    "1.2.3.4.",
    "1.2.3.4.5",
    ".1.2.3",
    "1..2.3",
    "01.2.3.4",
    "1.2.3.00",
    "256.1.1.1",
    "1.2.3.4 ",
  ];
  for (
    const text of [
      ...odd,
      "0.0.0.0",
      "255.255.255.255",
      "1.2.3.0",
      "10.20.30.40",
      "1.2.3.4a",
      "-1.2.3.4",
      "1.2.3.999",
    ]
  ) {
    const bytes = ipBytes(text);
    assert.equal(bytes !== undefined, isIPv4(text), text);
    if (bytes !== undefined) assert.equal(bytes.join("."), text);
  }
});

Deno.test("isIpv4() and isIpv6() agree with Node's functions, which bring all of Node's network along", () => {
  const near = fc.array(fc.constantFrom(..."0123456789abfF:.", "::", "255", "ffff", "192.0.2.1"), {
    maxLength: 14,
  })
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), near), (text) => {
      assert.equal(isIpv4(text), isIPv4(text));
      assert.equal(isIpv6(text), isIPv6(text));
    }),
    { numRuns: 5000 },
  );
});
