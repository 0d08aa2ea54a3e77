// serve-in on a network of its own: which addresses "auto" binds, and a second host that delivers to each.
import assert from "node:assert/strict";
import { HOST_PROGRAMS, makeHosts } from "../support/hosts.ts";
import { RunningMailapp, Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";

const IPV4 = "198.51.100.1";
const IPV6 = "2001:db8:51::1";

async function sh(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  const decoder = new TextDecoder();
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${decoder.decode(stderr)}${decoder.decode(stdout)}`);
  return decoder.decode(stdout);
}

const programs = [...HOST_PROGRAMS, "ss", "swaks"];

testWith(
  programs,
  'listen = "auto" binds the outward addresses of both families and no others, and a second host delivers to each',
  async () => {
    await using workspace = await Workspace.create();
    await using hosts = await makeHosts();
    const config = await workspace.configure({ "serve-in": { listen: "auto", port: 25 } });
    // Started at once: the IPv6 address is still tentative then, and comes a moment later.
    await using server = new RunningMailapp(["serve-in", "--config", config], { through: hosts.server });
    const ready = [await server.event("listener.ready"), await server.event("listener.ready", { after: 1 })];
    assert.deepEqual(ready.map((event) => event["address"]).sort(), [IPV4, IPV6]);

    const [program = "", ...rest] = [...hosts.server, "ss", "-Hltn"];
    const bound = (await sh(program, ...rest)).trim().split("\n").map((line) => line.split(/\s+/)[3]);
    assert.deepEqual(bound.sort(), [`${IPV4}:25`, `[${IPV6}]:25`]);

    for (const [address, user] of [[IPV4, "alice"], [IPV6, "bob"]] as const) {
      const [program = "", ...rest] = [
        ...hosts.client,
        "swaks",
        "--server",
        address,
        "--from",
        "a@client.test",
      ];
      await sh(program, ...rest, "--to", `${user}@example.com`, "--helo", "client.test");
      const [name = ""] = await workspace.stored(user);
      const text = await Deno.readTextFile(workspace.file("mail", "example.com", user, "new", name));
      assert.match(text, /^Received: from client\.test \(\[(?:IPv6:2001:db8:51::2|198\.51\.100\.2)\]\)/m);
    }
    assert.equal(await server.stop(), 0);
  },
);

testWith(
  programs,
  "serve-in serves an address that the machine gets later",
  async () => {
    await using workspace = await Workspace.create();
    await using hosts = await makeHosts();
    const later = "198.51.100.77";
    const config = await workspace.configure({ "serve-in": { listen: [IPV4, later], port: 25 } });
    await using server = new RunningMailapp(["serve-in", "--config", config], { through: hosts.server });
    assert.equal((await server.event("listener.missing"))["address"], later);
    const [program = "", ...rest] = hosts.server;
    await sh(program, ...rest, "ip", "address", "add", `${later}/24`, "dev", hosts.device);
    assert.equal((await server.event("listener.ready", { after: 1 }))["address"], later);
    assert.equal(await server.stop(), 0);
  },
);
