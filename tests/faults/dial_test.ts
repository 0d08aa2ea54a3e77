// Connecting where nothing answers, in its own network: packets into the void, and no route at all.
import assert from "node:assert/strict";
import { makeFolder } from "../support/peers/folder.ts";
import { runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const root = new URL("../../", import.meta.url);

const SCRIPT = `
import { createDial } from "${new URL("net/dial.ts", root)}";
import { FamilyHealth } from "${new URL("net/family_health.ts", root)}";
import { systemClock } from "${new URL("base/clock.ts", root)}";

const results = {};
for (const source of [{}, { sourceIpv4: "198.51.100.1", sourceIpv6: "2001:db8:51::1" }]) {
  for (const address of ["198.51.100.2", "2001:db8:51::2", "203.0.113.1", "2001:db8:99::1"]) {
    const health = new FamilyHealth(systemClock);
    const dial = createDial({ clock: systemClock, timeout: 300, health, ...source });
    const error = await dial({ address, port: 25 }).catch((error) => error);
    const suspect = health.suspect(address.includes(":") ? 6 : 4);
    results[address + ("sourceIpv4" in source ? " from" : "")] = error.name + ": " + error.message + (suspect ? ", suspect" : "");
  }
}
console.log(JSON.stringify(results));
Deno.exit(0);
`;

testWith(["unshare", "ip"], "createDial() in a network where nothing answers", async () => {
  await using folder = await makeFolder("dial");
  const script = await folder.write("dial.ts", SCRIPT);
  const output = await runOk("unshare", {
    args: [
      "--net",
      ...(Deno.uid() === 0 ? [] : ["--map-root-user"]),
      "sh",
      "-ec",
      `ip link set lo up
       ip link add void type veth peer name other
       ip link set other up
       ip address add 198.51.100.1/24 dev void
       ip address add 2001:db8:51::1/64 dev void nodad
       ip link set void up
       ip neigh add 198.51.100.2 lladdr 02:00:00:00:00:02 dev void
       ip neigh add 2001:db8:51::2 lladdr 02:00:00:00:00:02 dev void
       "${Deno.execPath()}" run -A --config "${new URL("deno.json", root).pathname}" "${script}"`,
    ],
  });
  const late = "DeadlineError: no connection in time, suspect";
  const noRoute = "ConnectionError: network unreachable, suspect";
  assert.deepEqual(JSON.parse(output), {
    "198.51.100.2": late,
    "2001:db8:51::2": late,
    "203.0.113.1": noRoute,
    "2001:db8:99::1": noRoute,
    "198.51.100.2 from": late,
    "2001:db8:51::2 from": late,
    "203.0.113.1 from": noRoute,
    "2001:db8:99::1 from": noRoute,
  });
});
