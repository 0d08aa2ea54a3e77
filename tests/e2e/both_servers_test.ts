// Both servers on one machine from one configuration file, as most will run them: serve-in on the outward interface,
// serve-out on loopback, both on port 25; and another machine that has mail for us and takes ours.
import assert from "node:assert/strict";
import { HOST_PROGRAMS, makeHosts } from "../support/hosts.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { startBind } from "../support/peers/bind.ts";
import { runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

// How the other machine's domains are found, and over which address its mail comes from us.
const THEIRS: Readonly<Record<string, { readonly zone: string; readonly from: RegExp }>> = {
  "both.test": {
    zone: "@ MX 10 mx\nmx A 198.51.100.2\nmx AAAA 2001:db8:51::2",
    from: /\[IPv6:2001:db8:51::1\]/,
  },
  "only4.test": { zone: "@ MX 10 mx\nmx A 198.51.100.2", from: /\[198\.51\.100\.1\]/ },
  "only6.test": { zone: "@ MX 10 mx\nmx AAAA 2001:db8:51::2", from: /\[IPv6:2001:db8:51::1\]/ },
  "implicit.test": { zone: "@ A 198.51.100.2", from: /\[198\.51\.100\.1\]/ },
  // Nothing answers at its IPv6 address.
  "dead6.test": {
    zone: "@ MX 10 mx\nmx A 198.51.100.2\nmx AAAA 2001:db8:51::dead",
    from: /\[198\.51\.100\.1\]/,
  },
};

testWith(
  [...HOST_PROGRAMS, "named", "swaks", "ss"],
  "both servers from one configuration, each on its port 25: mail to another host, from it, and to the own domain",
  async () => {
    await using ours = await Workspace.create();
    await using theirs = await Workspace.create();
    await using hosts = await makeHosts();
    const zones = Object.entries(THEIRS).map(([domain, { zone }]) => [domain, zone]);
    await using _dns = await startBind(Object.fromEntries(zones), {
      address: "198.51.100.2",
      port: 53,
      through: hosts.client,
    });
    const config = await ours.configure({
      tls: { self_signed: true },
      dns: { servers: ["198.51.100.2"] },
      "serve-in": { listen: "auto", port: 25 },
    });
    const theirConfig = await theirs.configure({
      "": { hostname: "mx.both.test" },
      tls: { self_signed: true },
      "serve-in": {
        listen: ["198.51.100.2", "2001:db8:51::2"],
        port: 25,
        domains: Object.keys(THEIRS),
      },
    });
    await using theirServeIn = new RunningMailapp(["serve-in", "--config", theirConfig], {
      through: hosts.client,
    });
    await using serveIn = new RunningMailapp(["serve-in", "--config", config], { through: hosts.server });
    await using serveOut = new RunningMailapp(["serve-out", "--config", config], { through: hosts.server });
    for (const server of [theirServeIn, serveIn, serveOut]) {
      await server.event("listener.ready", { after: 1 });
    }

    const [ip = "", ...inServer] = [...hosts.server, "ss", "-Hltn"];
    const bound = (await runOk(ip, { args: inServer })).trim().split("\n").map((line) =>
      line.split(/\s+/)[3]
    );
    assert.deepEqual(bound.sort(), ["127.0.0.1:25", "198.51.100.1:25", "[2001:db8:51::1]:25", "[::1]:25"]);
    for (const server of ["serve-in", "serve-out"]) {
      const { code, stderr } = await runMailapp(["healthcheck", server, "--config", config], {
        through: hosts.server,
      });
      assert.equal(code, 0, stderr);
    }

    const swaks = async (host: readonly string[], server: string, to: string) => {
      const [program = "", ...args] = [...host, "swaks", "--server", server, "--from", "alice@example.com"];
      await runOk(program, { args: [...args, "--to", to, "--helo", "program.test"] });
    };
    const hasArrived = async (domain: string, from: RegExp) => {
      const delivered = await theirServeIn.event("message.delivered", {
        where: { mailbox: `alice@${domain}` },
      });
      const text = await Deno.readTextFile(String(delivered["file"]));
      const [received = ""] = /^Received: (?:.*\n\s)*.*$/m.exec(text) ?? [];
      assert.match(received, /from mx\.example\.com/);
      assert.match(received, from);
      assert.match(received, /with ESMTPS \(TLSv1\.3/);
    };
    // A program on our machine, to each of their domains, in one transaction, and to our own.
    const { "dead6.test": dead6, ...alive } = THEIRS;
    const recipients = Object.keys(alive).map((domain) => `alice@${domain}`);
    await swaks(hosts.server, "127.0.0.1", [...recipients, "bob@example.com"].join(","));
    for (const [domain, { from }] of Object.entries(alive)) await hasArrived(domain, from);
    // Last, since what it shows of IPv6 counts for others too.
    await swaks(hosts.server, "127.0.0.1", "alice@dead6.test");
    await hasArrived("dead6.test", dead6?.from ?? /never/);
    assert.ok(!serveOut.events.some(({ event }) => event === "attempt.deferred"));
    const own = await serveIn.event("message.delivered", { where: { mailbox: "bob@example.com" } });
    assert.match(await Deno.readTextFile(String(own["file"])), /^Return-Path: <alice@example\.com>\n/);

    // From the other machine, over both families.
    await swaks(hosts.client, "198.51.100.1", "alice@example.com");
    await swaks(hosts.client, "2001:db8:51::1", "alice@example.com");
    assert.equal((await ours.stored("alice")).length, 2);

    for (const server of [serveOut, serveIn, theirServeIn]) assert.equal(await server.stop(), 0);
  },
);
