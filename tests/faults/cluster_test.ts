// Three serve-out on hosts of their own, with one queue in PostgreSQL: one is killed, one frozen and one cut off, then the
// primary is lost and the standby promoted. Nothing is lost, and nothing sent twice without a record. The long form:
// deno task cluster.
import assert from "node:assert/strict";
import { runMailapp } from "../support/mailapp.ts";
import { testWith } from "../support/requires.ts";
import { WIRE_PROGRAMS } from "../support/wired_hosts.ts";
import { ClusterSetting, MOST_CONNECTIONS } from "./cluster_setting.ts";

testWith(
  [...WIRE_PROGRAMS, "pg_lsclusters", "runuser"],
  "three hosts with one queue lose nothing by a kill, a freeze, a cut and the loss of the primary",
  async () => {
    await using setting = await ClusterSetting.start({ lease: 5_000 });
    const { hosts, receiver } = setting;
    const [killed, frozen, cut] = hosts;
    assert.ok(killed && frozen && cut);
    for (const host of hosts) host.resume();
    await setting.progress("at first");
    // Each by itself would open as many; the receiver learns a little later than the sender that one has ended.
    assert.ok(receiver.mostConnections < 2 * MOST_CONNECTIONS, `${receiver.mostConnections} connections`);
    await Promise.all([killed.kill(), frozen.freeze(), cut.cut()]);
    await setting.progress("after a host was killed, one frozen and one cut off");
    await setting.losePrimary();
    await setting.balance();
    for (const host of hosts) await host.stop();
    // The database's name is verified.
    const { config, through } = killed;
    await Deno.writeTextFile(config, (await Deno.readTextFile(config)).replace(/^ca_file.*$/m, ""));
    const distrusted = await runMailapp(["queue", "hosts", "--config", config], { through });
    assert.equal(distrusted.code, 69, distrusted.stderr);
  },
);
