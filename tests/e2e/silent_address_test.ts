// A mail host whose IPv6 address swallows all packets, as behind a broken tunnel: mail and send-test go on over IPv4.
import assert from "node:assert/strict";
import { HOST_PROGRAMS, makeHosts } from "../support/hosts.ts";
import { runMailapp, RunningMailapp, Workspace } from "../support/mailapp.ts";
import { startBind } from "../support/peers/bind.ts";
import { runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

testWith(
  [...HOST_PROGRAMS, "named", "swaks"],
  "an IPv6 address that swallows all packets keeps neither send-test nor serve-out from the next address",
  async () => {
    await using ours = await Workspace.create();
    await using theirs = await Workspace.create();
    await using hosts = await makeHosts();
    const [ip = "", ...inServer] = [...hosts.server, "ip"];
    // No host has this address on the wire, and no neighbour solicitation is sent.
    await runOk(ip, {
      args: [
        ...inServer,
        "neigh",
        "add",
        "2001:db8:51::dead",
        "lladdr",
        "02:00:00:00:00:99",
        "dev",
        hosts.device,
      ],
    });
    await using _dns = await startBind({
      "silent6.test": "@ MX 10 mx\nmx A 198.51.100.2\nmx AAAA 2001:db8:51::dead",
    }, {
      address: "198.51.100.2",
      port: 53,
      through: hosts.client,
    });
    const config = await ours.configure({
      dns: { servers: ["198.51.100.2"] },
      "serve-in": { listen: "auto", port: 25 },
    });
    await using theirServeIn = new RunningMailapp([
      "serve-in",
      "--config",
      await theirs.configure({
        "": { hostname: "mx.silent6.test" },
        "serve-in": { listen: ["198.51.100.2"], port: 25, domains: ["silent6.test"] },
      }),
    ], { through: hosts.client });
    await theirServeIn.event("listener.ready");

    const { code, stdout } = await runMailapp(["send-test", "alice@silent6.test", "--config", config], {
      through: hosts.server,
    });
    assert.equal(code, 0, stdout);
    assert.match(
      stdout,
      /2001:db8:51::dead\].*\n {2}no answer yet; also trying its next address:\n.*198\.51\.100\.2\]/,
    );
    await theirServeIn.event("message.delivered");

    await using serveOut = new RunningMailapp(["serve-out", "--config", config], { through: hosts.server });
    await serveOut.event("listener.ready");
    const [program = "", ...args] = [
      ...hosts.server,
      "swaks",
      "--server",
      "127.0.0.1",
      "--helo",
      "program.test",
    ];
    await runOk(program, { args: [...args, "--from", "alice@example.com", "--to", "alice@silent6.test"] });
    const { address } = await serveOut.event("attempt.relayed");
    assert.equal(address, "198.51.100.2");
    const dead = await serveOut.event("host.dead");
    assert.equal(dead["address"], "2001:db8:51::dead");
    assert.ok(!serveOut.events.some(({ event }) => event === "attempt.deferred"));
    for (const server of [serveOut, theirServeIn]) assert.equal(await server.stop(), 0);
  },
);
