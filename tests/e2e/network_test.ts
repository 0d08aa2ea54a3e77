// serve-in on its own network: which addresses "auto" binds, and a second host that delivers to each.
import assert from "node:assert/strict";
import { HOST_PROGRAMS, type Hosts, makeHosts } from "../support/hosts.ts";
import { startBind } from "../support/peers/bind.ts";
import { run, start } from "../support/peers/process.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";

const IPV4 = "198.51.100.1";
const IPV6 = "2001:db8:51::1";

async function sh(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  const decoder = new TextDecoder();
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${decoder.decode(stderr)}${decoder.decode(stdout)}`);
  return decoder.decode(stdout);
}

const programs = [...HOST_PROGRAMS, "ss", "swaks", "bash"];

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

/** Delivers to a user over an address, from the second host. */
async function deliver(hosts: Hosts, address: string, user: string): Promise<void> {
  const [program = "", ...rest] = [...hosts.client, "swaks", "--server", address, "--from", "a@client.test"];
  await sh(program, ...rest, "--to", `${user}@example.com`, "--helo", "client.test");
}

/** Runs `ip` on the first host. */
async function ip(hosts: Hosts, ...args: readonly string[]): Promise<void> {
  const [program = "", ...rest] = hosts.server;
  await sh(program, ...rest, "ip", ...args);
}

testWith(
  programs,
  "serve-in waits for its first address, and follows those that come and go",
  async () => {
    await using workspace = await Workspace.create();
    await using hosts = await makeHosts();
    const dev = ["dev", hosts.device];
    await ip(hosts, "address", "flush", ...dev);
    const config = await workspace.configure({ "serve-in": { listen: "auto", port: 25 } });
    const checked = await runMailapp(["check-config", "--config", config], { through: hosts.server });
    assert.equal(checked.code, 0, checked.stdout);
    assert.match(checked.stdout, /warning: .*serve-in waits/);
    await using server = new RunningMailapp(["serve-in", "--config", config], { through: hosts.server });
    await server.event("listener.waiting");
    server.signal("SIGHUP");
    await server.event("config.reloaded");
    const healthcheck = await runMailapp(["healthcheck", "serve-in", "--config", config], {
      through: hosts.server,
    });
    assert.equal(healthcheck.code, 69);

    await ip(hosts, "address", "add", `${IPV4}/24`, ...dev);
    await ip(hosts, "route", "add", "default", "via", "198.51.100.2");
    assert.equal((await server.event("listener.ready"))["address"], IPV4);
    await deliver(hosts, IPV4, "alice");

    // As a router advertisement brings it.
    await ip(hosts, "address", "add", `${IPV6}/64`, ...dev);
    await ip(hosts, "route", "replace", "default", "via", "2001:db8:51::2", ...dev);
    await server.event("listener.ready", { where: { address: IPV6 } });
    await deliver(hosts, IPV6, "alice");
    await deliver(hosts, IPV4, "alice");
    assert.equal((await workspace.stored("alice")).length, 3);

    const ready = server.events.filter(({ event }) => event === "server.ready").length;
    await ip(hosts, "address", "del", `${IPV6}/64`, ...dev);
    await server.event("listener.closed", { where: { address: IPV6 } });
    await ip(hosts, "address", "add", `${IPV6}/64`, ...dev);
    await server.event("listener.ready", { where: { address: IPV6 }, after: 1 });
    await deliver(hosts, IPV6, "bob");
    assert.equal(server.events.filter(({ event }) => event === "server.ready").length, ready);
    assert.equal(await server.stop(), 0);
  },
);

testWith(
  [...programs, "prlimit"],
  "serve-in without a descriptor left lives on, and follows its addresses when it has some",
  async () => {
    await using workspace = await Workspace.create();
    await using hosts = await makeHosts();
    const config = await workspace.configure({ "serve-in": { listen: "auto", port: 25 } });
    await using server = new RunningMailapp(["serve-in", "--config", config], { through: hosts.server });
    await server.event("listener.ready", { where: { address: IPV6 } });
    const limit = (soft: string) => sh("prlimit", "--pid", String(server.pid), `--nofile=${soft}:`);
    await limit("1");
    // Addresses are read every five seconds, which takes a descriptor.
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    await limit("1024");
    await ip(hosts, "address", "del", `${IPV6}/64`, "dev", hosts.device);
    await server.event("listener.closed", { where: { address: IPV6 } });
    await deliver(hosts, IPV4, "alice");
    assert.equal(await server.stop(), 0);
  },
);

testWith(
  programs,
  "serve-in with another address finishes what is in flight, knows what it was told meanwhile, and no other address",
  async () => {
    await using workspace = await Workspace.create();
    await using hosts = await makeHosts();
    const config = await workspace.configure({ "serve-in": { listen: "auto", port: 25 } });
    await using server = new RunningMailapp(["serve-in", "--config", config], { through: hosts.server });
    await server.event("listener.ready", { where: { address: IPV6 } });
    await workspace.configure({
      "serve-in": { listen: "auto", port: 25 },
      mailboxes: { users: ["alice", "carol"] },
    });
    server.signal("SIGHUP");
    await server.event("config.reloaded");

    await using slow = start(hosts.client[0] ?? "", {
      args: [...hosts.client.slice(1), "bash", "-c", SLOW_CLIENT, "bash", IPV4, workspace.file("go")],
    });
    await slow.line(/^354 /);
    const later = "198.51.100.77";
    await ip(hosts, "address", "add", `${later}/24`, "dev", hosts.device);
    await server.event("server.stopping", { where: { signal: "new addresses" } });
    // A slow client does not lock out others.
    await deliver(hosts, IPV4, "carol");
    await Deno.writeTextFile(workspace.file("go"), "");
    await slow.line(/^250 2\.0\.0 .* accepted/);
    await server.event("listener.ready", { where: { address: later } });
    await server.event("config.reloaded", { after: 1 });
    await deliver(hosts, later, "carol");
    await deliver(hosts, IPV6, "carol");
    assert.equal((await workspace.stored("carol")).length, 4);
    assert.equal(await server.stop(), 0);
  },
);

testWith(
  [...programs, "named"],
  "serve-in that started without a network checks mail once resolv.conf names a DNS server, and when it names another",
  async () => {
    await using workspace = await Workspace.create();
    await using hosts = await makeHosts();
    await using files = await makeNetnsFiles(hosts.server.at(-1) ?? "");
    await files.writeResolvConf("");
    const config = await workspace.configure({
      "serve-in": { listen: "auto", port: 25 },
      "serve-in.checks": { spf: true, dkim: true, dmarc: "enforce" },
    });
    const [program = "", ...rest] = hosts.client;
    const send = async () => {
      const swaks = ["swaks", "--server", IPV4, "--from", "a@bank.test", "--to", "alice@example.com"];
      const { stdout } = await run(program, { args: [...rest, ...swaks, "--helo", "client.test"] });
      return stdout;
    };
    await using server = new RunningMailapp(["serve-in", "--config", config], { through: hosts.server });
    await server.event("listener.ready", { where: { address: IPV6 } });
    assert.match(await send(), /<-\s+250 2\.0\.0 .* accepted/);

    const zones = { "bank.test": `@ TXT "v=spf1 -all"\n_dmarc TXT "v=DMARC1; p=reject"` };
    // The second one as DHCP of another network brings it.
    for (const [index, address] of ["198.51.100.2", "203.0.113.10"].entries()) {
      if (index > 0) {
        await sh(program, ...rest, "ip", "address", "add", `${address}/24`, "dev", "other");
        await ip(hosts, "link", "set", "other", "up");
      }
      await using bind = await startBind(zones, { address, port: 53, through: hosts.client });
      assert.equal(bind.port, 53);
      await files.writeResolvConf(`nameserver ${address}\n`);
      await server.event("server.stopping", { where: { signal: "new DNS servers" }, after: index });
      await server.event("server.ready", { after: index + 1 });
      assert.match(await send(), /<\*\*\s+550 5\.7\.1 /);
    }
    assert.equal((await workspace.stored("alice")).length, 1);
    assert.equal(await server.stop(), 0);
  },
);

/** The files that a network namespace has in place of those in /etc. */
async function makeNetnsFiles(netns: string) {
  const directory = `/etc/netns/${netns}`;
  await Deno.mkdir(directory, { recursive: true });
  return {
    writeResolvConf: (text: string) => Deno.writeTextFile(`${directory}/resolv.conf`, text),
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

/** Begins a message, and sends the rest of it when a file is there. */
const SLOW_CLIENT = `
  exec 3<>"/dev/tcp/$1/25"
  printf 'EHLO client.test\\r\\nMAIL FROM:<>\\r\\nRCPT TO:<carol@example.com>\\r\\nDATA\\r\\n' >&3
  (until [ -e "$2" ]; do sleep 0.1; done; printf 'Subject: slow\\r\\n\\r\\nHello\\r\\n.\\r\\n' >&3) &
  cat <&3
`;
