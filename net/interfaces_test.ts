import assert from "node:assert/strict";
import {
  listenAddresses,
  ListenError,
  type NetworkIo,
  parseIpv6Addresses,
  parseIpv6Routes,
  parseRoutes,
  systemNetwork,
} from "./interfaces.ts";

const ROUTE = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
dead0\t00000000\t010200C0\t0200\t0\t0\t0\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000080\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
`;
const IPV6_ROUTE = `
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000003 00000000 00000003     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000002 00000800 00000003 00000000 00000003    wlan0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`;
const IF_INET6 = `
20010db8000000000000000000000001 03 40 00 80     eth1
20010db8000000000000000000000002 03 40 00 01     eth1
20010db8000000000000000000000003 03 40 00 40     eth1
20010db8000000000000000000000004 03 40 00 20     eth1
20010db8000000000000000000000005 03 40 00 a0     eth1
20010db8000000000000000000000006 03 40 00 c8     eth1
fe8000000000000000fc00fffe000001 03 40 20 80     eth1
fd000000000000000000000000000002 04 40 00 82    wlan0
00000000000000000000000000000001 01 80 10 80       lo
`;

function machine(files: Record<string, string | undefined> = {}): NetworkIo {
  const texts: Record<string, string | undefined> = {
    "/proc/net/route": ROUTE,
    "/proc/net/ipv6_route": IPV6_ROUTE,
    "/proc/net/if_inet6": IF_INET6,
    "/proc/sys/net/ipv6/bindv6only": "0\n",
    ...files,
  };
  return {
    interfaces: () => [
      { name: "lo", family: "IPv4", address: "127.0.0.1" },
      { name: "eth0", family: "IPv4", address: "192.0.2.2" },
      { name: "eth0:1", family: "IPv4", address: "192.0.2.3" },
      { name: "eth0", family: "IPv4", address: "169.254.7.7" },
      { name: "eth01", family: "IPv4", address: "198.51.100.1" },
      { name: "lo", family: "IPv6", address: "::1" },
      { name: "eth1", family: "IPv6", address: "2001:db8::1" },
      { name: "eth1", family: "IPv6", address: "fe80::fc:ff:fe00:1" },
    ],
    read: (path) => texts[path],
  };
}

const addresses = (listen: string | string[], io = machine()) =>
  listenAddresses(listen, io).map(({ address, tentative }) => tentative ? `${address} tentative` : address);

function refusal(listen: string | string[], io = machine()): string {
  try {
    listenAddresses(listen, io);
  } catch (error) {
    assert.ok(error instanceof ListenError);
    return error.message;
  }
  throw new Error(`${JSON.stringify(listen)} was taken`);
}

Deno.test("parseRoutes() finds usable default routes only", () => {
  assert.deepEqual(parseRoutes(ROUTE), [{ interface: "wlan0", metric: 600 }, {
    interface: "eth0",
    metric: 100,
  }]);
  assert.deepEqual(parseRoutes(""), []);
});

Deno.test("parseIpv6Routes() finds usable default routes only", () => {
  assert.deepEqual(parseIpv6Routes(IPV6_ROUTE), [
    { interface: "eth1", metric: 0x400 },
    { interface: "wlan0", metric: 0x800 },
  ]);
  assert.deepEqual(parseIpv6Routes(""), []);
});

Deno.test("parseIpv6Addresses() gives addresses in their usual form", () => {
  assert.deepEqual(parseIpv6Addresses(IF_INET6).at(-2), {
    name: "wlan0",
    address: "fd00::2",
    scope: 0,
    flags: 0x82,
  });
  assert.deepEqual(parseIpv6Addresses("nonsense\n\n"), []);
});

Deno.test("listenAddresses() auto takes the lasting addresses of the default routes' interfaces", () => {
  assert.deepEqual(addresses("auto"), [
    "192.0.2.2",
    "192.0.2.3",
    "2001:db8::1",
    "2001:db8::3 tentative",
    "2001:db8::5",
  ]);
  assert.deepEqual(listenAddresses("auto", machine())[0], {
    address: "192.0.2.2",
    interface: "eth0",
    tentative: false,
  });
});

Deno.test("listenAddresses() auto is content with one family", () => {
  assert.deepEqual(
    addresses("auto", machine({ "/proc/net/ipv6_route": undefined, "/proc/net/if_inet6": undefined })),
    [
      "192.0.2.2",
      "192.0.2.3",
    ],
  );
  assert.equal(addresses("auto", machine({ "/proc/net/route": "" }))[0], "2001:db8::1");
});

Deno.test("listenAddresses() auto without a default route, or without addresses, says what to write", () => {
  const none = refusal("auto", machine({ "/proc/net/route": "", "/proc/net/ipv6_route": "" }));
  assert.match(none, /no default route/);
  assert.match(none, /listen = \["192\.0\.2\.2",.*"2001:db8::1"\]/);
  const bare = refusal(
    "auto",
    machine({ "/proc/net/route": ROUTE.replaceAll("eth0", "ppp0"), "/proc/net/if_inet6": "" }),
  );
  assert.match(bare, /ppp0 and eth1/);
});

Deno.test("listenAddresses() any binds :: alone where it takes IPv4 too", () => {
  assert.deepEqual(addresses("any"), ["::"]);
  assert.deepEqual(addresses("any", machine({ "/proc/sys/net/ipv6/bindv6only": "1\n" })), ["0.0.0.0", "::"]);
  assert.deepEqual(addresses("any", machine({ "/proc/net/if_inet6": undefined })), ["0.0.0.0"]);
});

Deno.test("listenAddresses() takes an interface by name, and names those there are", () => {
  assert.deepEqual(addresses("eth0"), ["192.0.2.2", "192.0.2.3"]);
  assert.deepEqual(addresses("eth01"), ["198.51.100.1"]);
  assert.match(refusal("eht0"), /"eht0": no such interface.*lo, eth0, eth01, eth1\./);
  assert.match(refusal("lo"), /no permanent address/);
});

Deno.test("listenAddresses() takes addresses as they are, once each", () => {
  assert.deepEqual(addresses(["127.0.0.1", "::1", "2001:DB8:0::3", "::1"]), [
    "127.0.0.1",
    "::1",
    "2001:db8::3 tentative",
  ]);
  assert.deepEqual(addresses("127.0.0.1"), ["127.0.0.1"]);
});

Deno.test("listenAddresses() leaves out what a wildcard in the list covers", () => {
  assert.deepEqual(addresses(["192.0.2.2", "::", "0.0.0.0"]), ["::"]);
  assert.deepEqual(addresses(["192.0.2.2", "0.0.0.0", "2001:db8::1"]), ["0.0.0.0", "2001:db8::1"]);
  const apart = machine({ "/proc/sys/net/ipv6/bindv6only": "1\n" });
  assert.deepEqual(addresses(["192.0.2.2", "::", "::1"], apart), ["192.0.2.2", "::"]);
});

Deno.test("listenAddresses() refuses what is not an address to bind", () => {
  for (const text of ["mx.test", "[::1]", "192.0.2.1:25", "192.0.2", "", "1.2.3.256"]) {
    assert.match(refusal([text]), /not an IP address/, text);
  }
  assert.match(refusal(["fe80::1"]), /link-local/);
  assert.match(refusal(["fe80::1%eth0"]), /not an IP address.*zone/);
  assert.match(refusal([]), /nothing to listen on/);
});

Deno.test("systemNetwork reads this machine", () => {
  assert.ok(systemNetwork.interfaces().some(({ address }) => address === "127.0.0.1"));
  assert.equal(systemNetwork.read("/proc/net/no_such_file"), undefined);
  assert.match(systemNetwork.read("/proc/net/route") ?? "", /^Iface/);
});
