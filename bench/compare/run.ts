/**
 * Runs the comparison: for each kind of work all servers that do it are started, warmed up, and measured in turn.
 *
 * @module
 */
import type { Folder } from "../../tests/support/peers/folder.ts";
import { costOf } from "../process_tree.ts";
import { empty, storedMessages } from "../server_under_load.ts";
import { type Sinks, startSinks } from "../sinks.ts";
import { figure } from "../statistics.ts";
import { type Client, DOMAINS, type Load } from "./client.ts";
import { type Durability, durabilityOf } from "./durability.ts";
import { type Peer, type Target, type Work, WORKS, type World } from "./peer.ts";
import { probe } from "./probe.ts";
import type { Result, Round, RowReport } from "./report.ts";
import { fewest, messagesFor, type Row } from "./rows.ts";
import { HOSTS, SMTP_PORT } from "./zone.ts";

/** How much is measured. */
export interface RunOptions {
  readonly rows: readonly Row[];
  readonly peers: readonly Peer[];
  readonly rounds: number;
  /** What one measurement is to take; one of a slow server takes more. */
  readonly seconds: number;
  /** For how long a server is warmed up at most, in seconds. */
  readonly warmUp: number;
  readonly world: World;
  readonly client: Client;
  /** Told what goes on. */
  readonly progress: (line: string) => void;
}

/** A server that takes part in one kind of work. */
interface Contender {
  readonly peer: Peer;
  readonly target: Target;
  readonly synced: Durability;
}

/** How a server is measured at one kind of load. */
interface Plan {
  readonly messages: number;
  readonly rounds: number;
}

// From this size on in octets, messages are removed at once, since the disk would not hold all of them.
const LARGE = 1024 * 1024;
const GIVE_UP = 120_000;
// A server that takes so many times as long as it is to, with one message a session, is not measured again.
const TOO_LONG = 5;

/** Runs it. */
export async function compare(options: RunOptions): Promise<RowReport[]> {
  const reports: RowReport[] = [];
  for (const work of WORKS) {
    const rows = options.rows.filter((row) => row.work === work);
    if (rows.length > 0) reports.push(...await new Contest(work, options).run(rows));
  }
  return reports;
}

/** All servers at one kind of work. */
class Contest {
  readonly #work: Work;
  readonly #options: RunOptions;
  readonly #contenders: Contender[] = [];
  /** Those that do not take part, and why. */
  readonly #missing = new Map<Peer, string>();
  #sinks: Sinks | undefined;
  /** The first domain that had no mail yet. */
  #nextDomain = 1;

  constructor(work: Work, options: RunOptions) {
    this.#work = work;
    this.#options = options;
  }

  async run(rows: readonly Row[]): Promise<RowReport[]> {
    await using stack = new AsyncDisposableStack();
    const { peers, world, progress } = this.#options;
    const stores = this.#work === "store" || this.#work === "check";
    if (!stores) this.#sinks = stack.use(await startSinks(world.folder, { port: SMTP_PORT, hosts: HOSTS }));
    for (const peer of peers) await this.#start(peer, stack);
    const reports: RowReport[] = [];
    for (const row of rows) {
      progress(`${row.work}: ${row.title}`);
      reports.push(await this.#measureRow(row));
    }
    return reports;
  }

  async #start(peer: Peer, stack: AsyncDisposableStack): Promise<void> {
    const { world, client, progress } = this.#options;
    const start = peer.start[this.#work];
    if (start === undefined) {
      this.#missing.set(peer, peer.lacks[this.#work] ?? "not set up here");
      return;
    }
    await this.#orMissing(peer, async () => {
      const target = stack.use(await start(world));
      const synced = durabilityOf(await probe(target, { work: this.#work, client, folder: world.folder }));
      progress(`${this.#work}: ${peer.name} syncs ${synced} before its 250`);
      const contender = { peer, target, synced };
      await this.#tidy(contender, { large: true });
      await this.#warmUp(contender);
      this.#contenders.push(contender);
    });
  }

  async #warmUp(contender: Contender): Promise<void> {
    const { peer } = contender;
    const row = { ...WARM_UP_ROW, work: this.#work };
    const messages = Math.ceil(peer.warmUp / 8);
    const deadline = performance.now() + this.#options.warmUp * 1000;
    for (let sent = 0; sent < peer.warmUp && performance.now() < deadline; sent += messages) {
      await this.#measure(contender, { row, messages });
    }
  }

  async #measureRow(row: Row): Promise<RowReport> {
    const { rounds, seconds, progress } = this.#options;
    const results = new Map<Contender, Round[]>();
    const absent = new Map(this.#missing);
    const plans = new Map<Contender, Plan>();
    for (const contender of this.#contenders) {
      const why = whyNot(row, contender.target);
      if (why !== undefined) {
        absent.set(contender.peer, why);
        continue;
      }
      await this.#orMissing(contender.peer, async () => {
        const trial = await this.#calibrate(contender, row);
        const slow = trial.messages / trial.done > TOO_LONG * seconds;
        // Of large messages, the trial has fewer than the row.
        const enough = slow && trial.messages >= row.sessions;
        results.set(contender, enough ? [trial] : []);
        if (enough) progress(`  once, ${describe(contender, trial)}`);
        else if (slow) plans.set(contender, { messages: fewest(row), rounds: 1 });
        else plans.set(contender, { messages: messagesFor(row, { rate: trial.done, seconds }), rounds });
      });
    }
    for (let round = 0; round < rounds; round++) {
      for (const [contender, plan] of plans) {
        if (round >= plan.rounds) continue;
        await this.#orMissing(contender.peer, async () => {
          const result = await this.#measure(contender, { row, messages: plan.messages });
          results.get(contender)?.push(result);
          progress(`  round ${round + 1}, ${describe(contender, result)}`);
        });
      }
    }
    for (const [peer, why] of this.#missing) absent.set(peer, why);
    return {
      name: row.name,
      title: row.title,
      work: row.work,
      results: [...results].filter(([{ peer }]) => !absent.has(peer)).map(([contender, rounds]) =>
        resultOf(contender, rounds)
      ),
      missing: [...absent].map(([{ name: server }, why]) => ({ server, why })),
    };
  }

  /** Measures with a few messages, to see how many are enough. */
  async #calibrate(contender: Contender, row: Row): Promise<Round> {
    const enough = Math.min(1, this.#options.seconds / 3);
    for (let messages = row.size < LARGE ? row.sessions : Math.min(2, row.sessions);; messages *= 4) {
      const trial = await this.#measure(contender, {
        row: { ...row, sessions: Math.min(row.sessions, messages) },
        messages,
      });
      if (messages / trial.done >= enough || messages >= (row.most ?? messages + 1)) return trial;
    }
  }

  async #measure(contender: Contender, load: Load): Promise<Round> {
    const { target } = contender;
    const { messages, row } = load;
    const many = (row.domains ?? 1) > 1;
    const before = await this.#arrived(contender);
    const { result, cpu, memory } = await costOf(target.pids, async () => {
      const begin = performance.now();
      const sent = await this.#options.client(target, {
        ...load,
        ...many && { firstDomain: this.#nextDomain },
      });
      await this.#until(contender, before + messages);
      return { ...sent, done: Math.max(sent.seconds, (performance.now() - begin) / 1000) };
    });
    if (many) this.#nextDomain = (this.#nextDomain + messages - 1) % DOMAINS + 1;
    await this.#tidy(contender, { large: row.size >= LARGE });
    return {
      messages,
      accepted: messages / result.seconds,
      done: messages / result.done,
      cpu: cpu * 1000 / messages,
      memory: memory / 1024 ** 2,
      p50: result.p50,
      p99: result.p99,
      deferred: result.deferred,
    };
  }

  async #arrived({ target: { maildir } }: Contender): Promise<number> {
    return this.#sinks === undefined ? storedMessages(maildir ?? "").length : await this.#sinks.count();
  }

  /** Waits until so many have arrived. Looks rarely, since that takes time that servers need. */
  async #until(contender: Contender, count: number): Promise<void> {
    const deadline = performance.now() + GIVE_UP;
    while (await this.#arrived(contender) < count) {
      if (performance.now() > deadline) throw new Error("messages are missing at the end");
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  /** Takes away what was stored. */
  async #tidy({ target: { maildir } }: Contender, { large }: { large: boolean }): Promise<void> {
    if (this.#sinks !== undefined || maildir === undefined) return;
    if (!large) return await empty(maildir, this.#options.world.folder);
    for (const name of storedMessages(maildir)) await Deno.remove(`${maildir}/new/${name}`);
  }

  /** What fails does not end the comparison of the others: the server is out of this kind of work, with the reason. */
  async #orMissing(peer: Peer, act: () => Promise<void>): Promise<void> {
    if (this.#missing.has(peer)) return;
    try {
      await act();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#options.progress(`${this.#work}: ${peer.name} failed: ${why}`);
      this.#missing.set(peer, `failed: ${why.trim().split("\n").at(-1)?.slice(0, 200)}`);
    }
  }
}

function describe({ peer }: Contender, { messages, accepted, done, cpu }: Round): string {
  return `${peer.name}: ${messages} messages, ${figure(accepted)}/s accepted, ${figure(done)}/s done, CPU ${
    figure(cpu)
  } ms`;
}

function whyNot(row: Row, { startTls, mostSessions = Infinity }: Target): string | undefined {
  if (row.startTls && startTls === false) return "STARTTLS does not work in this build";
  return row.sessions > mostSessions ? `not measurable with more than ${mostSessions} sessions` : undefined;
}

const WARM_UP_ROW = { name: "warm-up", title: "warm-up", sessions: 20, perConnection: 100, size: 4096 };

function resultOf({ peer, target, synced }: Contender, rounds: readonly Round[]): Result {
  return {
    server: peer.name,
    ...target.with !== undefined && { with: target.with },
    synced,
    rounds,
  };
}

/** Whether a folder for the comparison lies on a disk, rather than in memory. */
export async function assertOnDisk(folder: Folder): Promise<void> {
  const { type } = await import("node:fs/promises").then(({ statfs }) => statfs(folder.path));
  if (type === TMPFS) throw new Error(`${folder.path} is in memory; set TMPDIR to a folder on a disk`);
}

/** TMPFS_MAGIC of statfs(2). */
const TMPFS = 0x01021994;
