// serve-out and serve-in on two hosts, with a wire between them that is slow, loses packets, and is cut.
import assert from "node:assert/strict";
import { HOST_PROGRAMS, type Hosts, makeHosts } from "../support/hosts.ts";
import { RunningMailapp, Workspace } from "../support/mailapp.ts";
import { runOk } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";
import { type CheckedMessage, checkedMessage } from "./checked_message.ts";
import { queueIdOf, serveOut } from "./serve_out_setting.ts";
import { Mail } from "./setting.ts";

const THERE = "198.51.100.2";

/** A client, as a program to be run on one of the hosts: port and file. */
const SEND = `
  import { sendRaw } from ${JSON.stringify(new URL("../support/peers/raw_smtp.ts", import.meta.url))};
  const [port, file] = Deno.args;
  const message = { port: Number(port), from: "a@client.test", to: ["alice@example.com"] };
  console.log(await sendRaw({ ...message, data: await Deno.readFile(file) }));
`;

/** A wire at the end of the sender. */
class Wire {
  readonly #hosts: Hosts;

  constructor(hosts: Hosts) {
    this.#hosts = hosts;
  }

  /** Lets so much through, with a queue so short that packets are lost. */
  async narrow(rate: string): Promise<void> {
    await this.#run("tc", "qdisc", "replace", "dev", this.#hosts.device, "root", "tbf", "rate", rate, ...[
      "burst",
      "6kb",
      "latency",
      "8ms",
    ]);
  }

  /** Octets that went out, and packets that were lost, since it was last narrowed. */
  async counted(): Promise<{ octets: number; lost: number }> {
    const text = await this.#run("tc", "-s", "qdisc", "show", "dev", this.#hosts.device);
    const [, octets, lost] = /Sent (\d+) bytes .*dropped (\d+)/.exec(text) ?? [];
    return { octets: Number(octets), lost: Number(lost) };
  }

  async set(to: "up" | "down"): Promise<void> {
    await this.#run("ip", "link", "set", this.#hosts.device, to);
  }

  async #run(...command: string[]): Promise<string> {
    const [program = "", ...args] = [...this.#hosts.server, ...command];
    return await runOk(program, { args });
  }
}

testWith(
  [...HOST_PROGRAMS, "tc"],
  "serve-out delivers once, and whole, over a wire that loses packets and one that is cut in mid-data",
  async (t) => {
    await using there = await Workspace.create();
    await using here = await Workspace.create();
    await using hosts = await makeHosts();
    const wire = new Wire(hosts);
    const config = await there.configure({ "serve-in": { listen: [THERE], port: 25 } });
    await using receiver = new RunningMailapp(["serve-in", "--config", config], { through: hosts.client });
    await receiver.event("server.ready");
    const mail = new Mail(there);
    const { server, port } = await serveOut(
      await here.configure({
        "serve-in": { domains: ["here.test"] },
        "serve-out": { listen: ["127.0.0.1"], port: 0, min_free_space: 0, retry: ["1s"] },
        "serve-out.routes": { "*": `${THERE}:25` },
        "serve-out.timeouts": { connect: "2s", command: "3s", data: "2s", data_end: "10s" },
      }),
      { through: hosts.server },
    );
    await using _ = server;
    const handOver = async (id: string, octets: number): Promise<CheckedMessage & { queueId: string }> => {
      const message = checkedMessage(id, octets);
      await Deno.writeTextFile(here.file("message"), message.text);
      const [program = "", ...args] = [
        ...hosts.server,
        Deno.execPath(),
        "eval",
        SEND,
        `${port}`,
        here.file("message"),
      ];
      const reply = (await runOk(program, { args })).trim();
      const queueId = queueIdOf(reply);
      assert.notEqual(queueId, "", reply);
      return { ...message, queueId };
    };
    const arrived = () => mail.stored("alice").map(({ id, digest }) => [id, digest]).sort();

    await t.step("packets are lost", async () => {
      await wire.narrow("8mbit");
      const sent = [await handOver("a", 2_000), await handOver("b", 60_000), await handOver("c", 600_000)];
      for (const { queueId } of sent) await server.event("attempt.relayed", { where: { id: queueId } });
      assert.deepEqual(arrived(), sent.map(({ id, digest }) => [id, digest]));
      assert.ok((await wire.counted()).lost > 0);
      mail.clear("alice");
    });

    await t.step("the wire is cut in mid-data, and mended", async () => {
      await wire.narrow("4mbit");
      const before = (await wire.counted()).octets;
      const { id, digest, queueId } = await handOver("d", 2_000_000);
      for (let looks = 0; (await wire.counted()).octets < before + 100_000; looks++) {
        assert.ok(looks < 10_000, "no data goes over the wire");
      }
      await wire.set("down");
      const cut = await server.event("attempt.deferred", { where: { id: queueId } });
      assert.match(String(cut["error"]), /in the mail data/);
      assert.equal(cut["dot_sent_no_reply"], undefined);
      await server.event("attempt.deferred", { where: { id: queueId, attempts: 2 } });
      await wire.set("up");
      await wire.narrow("100mbit");
      await server.event("attempt.relayed", { where: { id: queueId } });
      assert.deepEqual(arrived(), [[id, digest]]);
    });
    assert.equal(await server.stop(), 0);
  },
);
