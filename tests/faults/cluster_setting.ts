/**
 * Several serve-out on hosts of their own with one queue in PostgreSQL, a primary and a synchronous standby, under load;
 * and the faults that each of them can have.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Dialogue } from "../support/dialogue.ts";
import { Workspace } from "../support/mailapp.ts";
import { PostgresCluster } from "../support/postgres_cluster.ts";
import { createTestAuthority } from "../support/test_authority.ts";
import { until } from "../support/until.ts";
import { type WiredHost, wireHosts } from "../support/wired_hosts.ts";
import { checkedMessage, submit } from "./checked_message.ts";
import { checkArrivals, configureServeOut, queueIdOf, Receiver, serveOut } from "./serve_out_setting.ts";
import type { Serving } from "./setting.ts";

/** Connections to one host, of all hosts together. */
export const MOST_CONNECTIONS = 3;

const STARTS = 30;

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** What clients of all hosts have handed over. */
interface Sent {
  /** Checksums, by id. */
  readonly digests: Map<string, string>;
  readonly accepted: Set<string>;
  /** Queue ids of final dots without an answer, as the hosts' logs tell. */
  readonly recorded: Set<string>;
}

interface HostOptions {
  readonly name: string;
  readonly wire: WiredHost;
  readonly config: string;
  readonly sent: Sent;
  /** Milliseconds. */
  readonly lease: number;
}

/** serve-out on one of the hosts, started again where it was killed, and a client that hands it messages. */
export class ClusterHost implements AsyncDisposable {
  readonly #options: HostOptions;
  #serving: Serving | undefined;
  #client: Promise<void> = Promise.resolve();
  #paused = true;
  #dialogue: Dialogue | undefined;
  #count = 0;

  /** Starts nothing. */
  constructor(options: HostOptions) {
    this.#options = options;
  }

  /** What runs a program on it. */
  get through(): readonly string[] {
    return this.#options.wire.through;
  }

  /** The configuration of its serve-out. */
  get config(): string {
    return this.#options.config;
  }

  /** Starts serve-out; several times, as systemd does, where it does not start because the database is away. */
  async start(): Promise<void> {
    for (let left = STARTS; left > 0; left--) {
      try {
        this.#serving = await serveOut(this.config, { through: this.through });
        return;
      } catch (error) {
        if (left === 1) throw error;
      }
      await sleep(1_000);
    }
  }

  /** kill -9, and a new start. */
  async kill(): Promise<void> {
    this.#server.signal("SIGKILL");
    await this.#server.ended();
    this.noteRecords();
    await this.start();
  }

  /** Stops it for longer than its lease. */
  async freeze(): Promise<void> {
    this.#server.signal("SIGSTOP");
    await sleep(this.#longerThanLease);
    this.#server.signal("SIGCONT");
  }

  /** Cuts it off from the database, and from the receiver, for longer than its lease. */
  async cut(): Promise<void> {
    await this.#options.wire.cut(true);
    await sleep(this.#longerThanLease);
    await this.#options.wire.cut(false);
  }

  /** Lets its client send. */
  resume(): void {
    this.#paused = false;
    this.#client = this.#handOver();
  }

  /** Resolves when its client sends no more. */
  async pause(): Promise<void> {
    this.#paused = true;
    // What its program has not noticed, such as a killed server, ends it too.
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, 2 * this.#options.lease);
    await Promise.race([this.#client, late]);
    clearTimeout(timer);
    this.#dialogue?.[Symbol.dispose]();
    await this.#client;
  }

  /** Takes from its log which dots had no answer. */
  noteRecords(): void {
    for (const { dot_sent_no_reply, id } of this.#server.events) {
      if (dot_sent_no_reply === true) this.#options.sent.recorded.add(String(id));
    }
  }

  /** SIGTERM. */
  async stop(): Promise<void> {
    assert.equal(await this.#server.stop(), 0, this.#server.transcript());
    this.noteRecords();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#paused = true;
    await this.#serving?.server[Symbol.asyncDispose]();
    await this.#client;
  }

  get #server() {
    return this.#serving?.server ?? assert.fail("not started");
  }

  get #longerThanLease(): number {
    return this.#options.lease + 2_000;
  }

  async #handOver(): Promise<void> {
    while (!this.#paused) {
      using dialogue = this.#dialogue = this.#options.wire.connect(this.#serving?.port ?? 0);
      await this.#talk(dialogue).catch(() => {});
      await sleep(100);
    }
  }

  async #talk(dialogue: Dialogue): Promise<void> {
    const { name, sent } = this.#options;
    await dialogue.hear();
    if (!(await dialogue.say("EHLO client.test")).startsWith("250")) return;
    while (!this.#paused) {
      const id = `${name}n${++this.#count}`;
      const message = checkedMessage(id, this.#count % 9 === 4 ? 300_000 : 2_000);
      sent.digests.set(id, message.digest);
      const reply = await submit(dialogue, message, { to: [`x@d${this.#count % 4}.test`] });
      if (reply === "") return;
      if (queueIdOf(reply) !== "") sent.accepted.add(id);
      await sleep(20);
    }
  }
}

/** How to start a {@linkcode ClusterSetting}. */
export interface ClusterOptions {
  /** The lease of each host, in milliseconds; whole seconds, at least 5,000. */
  readonly lease: number;
  /** Milliseconds for which the receiver waits with its answer to a dot; default: none. */
  readonly answerAfter?: () => number;
}

/** Three hosts, the database and the receiver of all mail. */
export class ClusterSetting implements AsyncDisposable {
  /** The longest time between two arrivals since it was last set, in milliseconds. */
  longestSilence = 0;
  #arrivedAt = performance.now();
  private constructor(
    readonly hosts: readonly ClusterHost[],
    readonly receiver: Receiver,
    private readonly cluster: PostgresCluster,
    private readonly database: string,
    private readonly sent: Sent,
    private readonly opened: AsyncDisposable,
  ) {}

  /** Starts all of it; the clients do not send yet. */
  static async start({ lease, answerAfter = () => 0 }: ClusterOptions): Promise<ClusterSetting> {
    await using opened = new AsyncDisposableStack();
    const wired = opened.use(await wireHosts(3));
    const { address, name } = wired;
    const authority = await createTestAuthority();
    const { cert, key } = await authority.issue({ names: [name] });
    const outside = { address, certificate: cert, key };
    const cluster = opened.use(await PostgresCluster.start({ outside }));
    const database = new URL(await cluster.primary.newDatabase()).pathname.slice(1);
    const receiver = opened.use(new Receiver(address));
    const sent: Sent = { digests: new Map(), accepted: new Set(), recorded: new Set() };
    const hosts: ClusterHost[] = [];
    for (const [number, wire] of wired.hosts.entries()) {
      const workspace = opened.use(await Workspace.create());
      const [urlFile, caFile] = [workspace.file("queue.url"), workspace.file("ca.pem")];
      const places = cluster.ports.map((port) => `${name}:${port}`).join(",");
      await Deno.writeTextFile(urlFile, `postgres://mailapp:x@${places}/${database}\n`, { mode: 0o600 });
      await Deno.writeTextFile(caFile, authority.cert);
      const config = await configureServeOut(workspace, receiver.port, {
        max_connections_per_host: MOST_CONNECTIONS,
      });
      const text = (await Deno.readTextFile(config)).replace(
        "127.0.0.1:" + receiver.port,
        `${address}:${receiver.port}`,
      );
      await Deno.writeTextFile(
        config,
        `${text}\n[queue]\nstore = "postgres"\nurl_file = "${urlFile}"\nca_file = "${caFile}"\n` +
          `lease = "${lease / 1000}s"\n[serve-out.timeouts]\ndata_end = "2s"\nconnect = "2s"\n`,
      );
      hosts.push(opened.use(new ClusterHost({ name: `h${number}`, wire, config, sent, lease })));
    }
    for (const host of hosts) await host.start();
    const setting = new ClusterSetting(hosts, receiver, cluster, database, sent, opened.move());
    receiver.atDot = async () => {
      const wait = answerAfter();
      if (wait > 0) await sleep(wait);
      setting.#noteArrival();
      return "take";
    };
    return setting;
  }

  /** How many messages were accepted. */
  get accepted(): number {
    return this.sent.accepted.size;
  }

  /** Waits for some arrivals. */
  async progress(what: string): Promise<void> {
    const { arrivals } = this.receiver;
    const enough = arrivals.length + 5;
    await until(() => arrivals.length >= enough, `deliveries ${what}`, () => sleep(100));
  }

  /** Loses the primary; resolves when the standby, which was promoted, accepts messages and they arrive. */
  async losePrimary(): Promise<void> {
    await this.cluster.failOver();
    const { accepted } = this;
    await until(() => this.accepted > accepted, "a message accepted by the new primary", () => sleep(100));
    await this.progress("after the loss of the primary");
  }

  /**
   * Lets the clients rest until everything has been sent, and balances: all that was accepted has arrived as it was, what
   * arrived twice has its record, and nothing is held by a host that is gone.
   * @returns how many messages have arrived more than once, of all so far, and how long it took to empty the queue
   */
  async balance(): Promise<{ readonly doubled: number; readonly emptiedAfter: number }> {
    await Promise.all(this.hosts.map((host) => host.pause()));
    const pausedAt = performance.now();
    await this.#untilNone("entry", "head IS NOT NULL");
    const emptiedAfter = performance.now() - pausedAt;
    // Those of a host that is gone count no longer, and are taken by another when it needs them.
    await this.#untilNone("slot", "owner IN (SELECT id FROM mailapp.host WHERE NOT dead)");
    await this.#untilNone(
      "entry",
      "owner IS NOT NULL AND owner NOT IN (SELECT id FROM mailapp.host WHERE NOT dead)",
    );
    await until(
      async () => await this.#count("host", "NOT dead") === this.hosts.length,
      "the end of the leases of killed hosts",
      () => sleep(200),
    );
    for (const host of this.hosts) host.noteRecords();
    const { doubled } = checkArrivals(this.receiver, { sent: this.sent.digests, ...this.sent });
    return { doubled: doubled.length, emptiedAfter };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.opened[Symbol.asyncDispose]();
  }

  #noteArrival(): void {
    const now = performance.now();
    this.longestSilence = Math.max(this.longestSilence, now - this.#arrivedAt);
    this.#arrivedAt = now;
  }

  async #untilNone(table: string, where = "true"): Promise<void> {
    const none = async () => await this.#count(table, where) === 0;
    await until(none, `an end of ${table} where ${where}`, () => sleep(200));
  }

  async #count(table: string, where: string): Promise<number> {
    const text = `SELECT count(*)::int AS n FROM mailapp.${table} WHERE ${where}`;
    const [row] = await this.cluster.primary.query(this.database, text);
    return Number(row?.n);
  }
}
