// Three serve-out on hosts of their own, with one queue in PostgreSQL: hosts are killed, frozen and cut off, the primary
// is lost and the standby promoted. Nothing is lost, and nothing sent twice without a record.
import assert from "node:assert/strict";
import type { Dialogue } from "../support/dialogue.ts";
import { runMailapp, Workspace } from "../support/mailapp.ts";
import { PostgresCluster } from "../support/postgres_cluster.ts";
import { testWith } from "../support/requires.ts";
import { createTestAuthority } from "../support/test_authority.ts";
import { until } from "../support/until.ts";
import { WIRE_PROGRAMS, type WiredHost, wireHosts } from "../support/wired_hosts.ts";
import { checkedMessage, submit } from "./checked_message.ts";
import { checkArrivals, configureServeOut, queueIdOf, Receiver, serveOut } from "./serve_out_setting.ts";
import { LONG_ROUNDS, report, type Serving } from "./setting.ts";

const LEASE = 5_000;
/** Connections to one host, of all hosts together. */
const MOST = 3;
const ROUNDS = LONG_ROUNDS || 1;

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** What clients of all hosts have handed over. */
interface Sent {
  /** Checksums, by id. */
  readonly digests: Map<string, string>;
  readonly accepted: Set<string>;
  /** Queue ids of final dots without an answer, as the hosts' logs tell. */
  readonly recorded: Set<string>;
}

/** serve-out on one of the hosts, started again where it was killed, and a client that does not stop. */
class Node implements AsyncDisposable {
  #serving: Serving | undefined;
  #client: Promise<void> = Promise.resolve();
  #stopped = false;
  #dialogue: Dialogue | undefined;
  #count = 0;
  constructor(
    readonly name: string,
    readonly host: WiredHost,
    private readonly config: string,
    private readonly sent: Sent,
  ) {}

  get server() {
    return this.#serving?.server ?? assert.fail("not started");
  }

  async start(): Promise<void> {
    this.#serving = await serveOut(this.config, { through: this.host.through });
    if (this.#count === 0) this.#client = this.#handOver();
  }

  async kill(): Promise<void> {
    this.server.signal("SIGKILL");
    await this.server.ended();
    this.#note();
    await this.start();
  }

  async freeze(ms: number): Promise<void> {
    this.server.signal("SIGSTOP");
    await sleep(ms);
    this.server.signal("SIGCONT");
  }

  async cut(ms: number): Promise<void> {
    await this.host.cut(true);
    await sleep(ms);
    await this.host.cut(false);
  }

  async stopClient(): Promise<void> {
    this.#stopped = true;
    // What its program has not noticed, such as a killed server, ends it too.
    await Promise.race([this.#client, sleep(2 * LEASE)]);
    this.#dialogue?.[Symbol.dispose]();
    await this.#client;
  }

  async stop(): Promise<void> {
    assert.equal(await this.server.stop(), 0, this.server.transcript());
    this.#note();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await this.#serving?.server[Symbol.asyncDispose]();
    await this.#client;
  }

  #note(): void {
    for (const { dot_sent_no_reply, id } of this.server.events) {
      if (dot_sent_no_reply === true) this.sent.recorded.add(String(id));
    }
  }

  async #handOver(): Promise<void> {
    while (!this.#stopped) {
      using dialogue = this.#dialogue = this.host.connect(this.#serving?.port ?? 0);
      await this.#talk(dialogue).catch(() => {});
      await sleep(100);
    }
  }

  async #talk(dialogue: Dialogue): Promise<void> {
    await dialogue.hear();
    if (!(await dialogue.say("EHLO client.test")).startsWith("250")) return;
    while (!this.#stopped) {
      const id = `${this.name}n${++this.#count}`;
      const message = checkedMessage(id, this.#count % 9 === 4 ? 300_000 : 2_000);
      this.sent.digests.set(id, message.digest);
      const reply = await submit(dialogue, message, { to: [`x@d${this.#count % 4}.test`] });
      if (reply === "") return;
      if (queueIdOf(reply) !== "") this.sent.accepted.add(id);
      await sleep(20);
    }
  }
}

testWith(
  [...WIRE_PROGRAMS, "pg_lsclusters", "runuser"],
  `three hosts with one queue lose nothing: ${ROUNDS} times kills, freezes, cuts, and the loss of the primary`,
  async () => {
    await using wired = await wireHosts(3);
    const { address, name } = wired;
    const authority = await createTestAuthority();
    const { cert, key } = await authority.issue({ names: [name] });
    await using cluster = await PostgresCluster.start({ outside: { address, certificate: cert, key } });
    const inside = await cluster.primary.newDatabase();
    const database = new URL(inside).pathname.slice(1);
    await using receiver = new Receiver(address);
    await using opened = new AsyncDisposableStack();
    const sent: Sent = { digests: new Map(), accepted: new Set(), recorded: new Set() };
    const nodes: Node[] = [];
    const configs: string[] = [];
    for (const [number, host] of wired.hosts.entries()) {
      const workspace = opened.use(await Workspace.create());
      const [urlFile, caFile] = [workspace.file("queue.url"), workspace.file("ca.pem")];
      const places = cluster.ports.map((port) => `${name}:${port}`).join(",");
      await Deno.writeTextFile(urlFile, `postgres://mailapp:x@${places}/${database}\n`, { mode: 0o600 });
      await Deno.writeTextFile(caFile, authority.cert);
      const config = await configureServeOut(workspace, receiver.port, { max_connections_per_host: MOST });
      const text = (await Deno.readTextFile(config)).replace(
        "127.0.0.1:" + receiver.port,
        `${address}:${receiver.port}`,
      );
      await Deno.writeTextFile(
        config,
        `${text}\n[queue]\nstore = "postgres"\nurl_file = "${urlFile}"\nca_file = "${caFile}"\nlease = "5s"\n` +
          '[serve-out.timeouts]\ndata_end = "2s"\nconnect = "2s"\n',
      );
      configs.push(config);
      nodes.push(opened.use(new Node(`h${number}`, host, config, sent)));
    }
    for (const node of nodes) await node.start();
    const progress = async (what: string, more = 5) => {
      const before = receiver.arrivals.length;
      await until(() => receiver.arrivals.length >= before + more, `deliveries ${what}`, () => sleep(100));
    };
    for (let round = 0; round < ROUNDS; round++) {
      await progress("at first");
      // Each by itself would open as many; the receiver learns a little later than the sender that one has ended.
      if (round === 0) {
        assert.ok(receiver.mostConnections < 2 * MOST, `${receiver.mostConnections} connections`);
      }
      // Each of them once in three rounds.
      const [killed, frozen, cut] = [0, 1, 2].map((index) => nodes[(index + round) % 3]) as [
        Node,
        Node,
        Node,
      ];
      const faults = [killed.kill(), frozen.freeze(LEASE + 2_000), cut.cut(LEASE + 2_000)];
      await Promise.all(faults);
      await progress("after a host was killed, one frozen and one cut off");
      const accepted = sent.accepted.size;
      await cluster.failOver();
      await until(
        () => sent.accepted.size > accepted,
        "a message accepted by the new primary",
        () => sleep(100),
      );
      await progress("after the loss of the primary");
    }
    await Promise.all(nodes.map((node) => node.stopClient()));
    const left = async (table: string, where = "true") => {
      const [row] = await cluster.primary.query(
        database,
        `SELECT count(*)::int AS n FROM mailapp.${table} WHERE ${where}`,
      );
      return Number(row?.n);
    };
    await until(
      async () => await left("entry", "head IS NOT NULL") === 0,
      "an empty queue",
      () => sleep(200),
    );
    await until(async () => await left("slot") === 0, "no connections", () => sleep(200));
    for (const node of nodes) await node.stop();
    const { doubled } = checkArrivals(receiver, { sent: sent.digests, ...sent });
    report(`${sent.accepted.size} messages, ${doubled.length} twice, each with its record`);
    // The database's name is verified.
    const [config = ""] = configs;
    await Deno.writeTextFile(config, (await Deno.readTextFile(config)).replace(/^ca_file.*$/m, ""));
    const distrusted = await runMailapp(["queue", "hosts", "--config", config], {
      through: nodes[0]?.host.through ?? [],
    });
    assert.equal(distrusted.code, 69, distrusted.stderr);
  },
);
