/**
 * Kills both servers at random under load, and before each step of a message's way to the disk; then balances.
 *
 * @module
 */
import { join } from "@std/path";
import { systemClock } from "../../base/clock.ts";
import { failure, type Finding, ok, untested } from "../../doctor/finding.ts";
import { LogTail } from "../log_tail.ts";
import { Peers } from "../peers.ts";
import { handIn } from "../stage.ts";
import { makeChecked } from "./checked_message.ts";
import { type Balance, Ledger, readMaildirs } from "./ledger.ts";
import { victimLog, type VictimOptions, type VictimPorts } from "./victim.ts";

/** A process with both servers, as its parent sees it. */
export interface VictimProcess {
  /** Its lines on standard output, the first with its ports. */
  readonly lines: AsyncIterator<string>;
  /** Writes a line to its standard input. */
  say(line: string): Promise<void>;
  /** SIGKILL. */
  kill(): void;
  /** Closes its standard input, at which it ends in an orderly way. */
  end(): Promise<void>;
  /** Resolves when it has ended. */
  readonly ended: Promise<unknown>;
}

/** What the rounds depend on. */
export interface RoundsOptions {
  /** A separate directory, on the file system under test. */
  readonly directory: string;
  /** Kills at random. */
  readonly rounds: number;
  /** Kills before each of the first so many steps of each way to the disk; a way has fewer than 200. */
  readonly steps: number;
  /** No round begins after this, in `clock.monotonic()`. */
  readonly until: number;
  /** Starts a process with {@linkcode runVictim}. */
  readonly start: (options: Omit<VictimOptions, "entry">) => VictimProcess;
  /** Called with the progress. */
  readonly progress: (what: string) => void;
}

/** What the rounds came to. */
export interface RoundsResult {
  readonly kills: number;
  readonly steps: number;
  readonly serveIn: Balance;
  readonly serveOut: Balance;
  readonly findings: readonly Finding[];
}

const CLIENTS = 4;
/** For the next message, with servers under load and as the queue becomes empty at the end; in milliseconds. */
const PATIENCE = 90_000;
/** Messages that each server answers for before it is killed at random. */
const SOME = 3;
const SIZES = [900, 5_000, 40_000, 300_000];

/** Runs them. */
export async function runRounds(options: RoundsOptions): Promise<RoundsResult> {
  await using rounds = new Rounds(options);
  return await rounds.run();
}

class Rounds implements AsyncDisposable {
  readonly #options: RoundsOptions;
  readonly #in = new Ledger();
  readonly #out = new Ledger();
  readonly #peers: Peers;
  readonly #port: number;
  readonly #broken: string[] = [];
  /** Queue ids of messages that may arrive twice, and the messages of queue ids, by the log. */
  readonly #uncertain = new Set<string>();
  readonly #idOf = new Map<string, string>();
  #runs = 0;
  #kills = 0;
  #steps = 0;
  #messages = 0;
  #running: VictimProcess | undefined;

  constructor(options: RoundsOptions) {
    this.#options = options;
    this.#peers = Peers.start({
      taken: ({ data, address }) =>
        void this.#out.found(data, { place: "receiver", name: `an arrival at ${address}` }),
    });
    this.#peers.addOn("127.0.0.1");
    this.#port = this.#peers.port;
  }

  async run(): Promise<RoundsResult> {
    // On a slow machine both have their share of the time.
    await this.#atRandom(this.#middle());
    await this.#atEachStep();
    await this.#drain();
    for (let run = 1; run <= this.#runs; run++) await this.#readRecords(run);
    this.#in.forgetFound();
    await readMaildirs(join(this.#options.directory, "mail", "prove.test"), this.#in);
    const [serveIn, serveOut] = [this.#in.balance(), this.#out.balance()];
    return {
      kills: this.#kills,
      steps: this.#steps,
      serveIn,
      serveOut,
      findings: [
        this.#verdict("serve-in", serveIn),
        this.#verdict("serve-out", serveOut),
        ...this.#broken.map((what) =>
          failure("ledger.start", "a start after a kill", {
            what,
            next: "This is a defect: please report it",
          })
        ),
      ],
    };
  }

  #verdict(server: string, { accepted, lost, torn, twiceRecorded, twiceUnrecorded }: Balance): Finding {
    const tried =
      `${server}, killed ${this.#kills} times, at ${this.#steps} steps and at random: messages acknowledged`;
    const twice = server === "serve-in"
      ? ""
      : `; ${twiceRecorded} arrived twice, each with its record of a dot that was not answered`;
    // Only where nothing at all came through is nothing shown; it is no failure of the disk.
    if (accepted === 0 && lost.length === 0 && torn.length === 0) {
      return untested("ledger.balance", tried, {
        what: this.#kills === 0 ? "nothing was killed" : "no message was acknowledged in time",
        next: "Give it more --rounds and --minutes, or run it while the machine has less to do",
      });
    }
    if (lost.length === 0 && torn.length === 0 && twiceUnrecorded.length === 0) {
      return ok("ledger.balance", tried, `${accepted}, all stored and complete${twice}`);
    }
    const what = [
      `${accepted} were answered with 250`,
      ...(lost.length > 0 ? [`${lost.length} of them are lost (${lost.slice(0, 3).join(", ")})`] : []),
      ...(torn.length > 0 ? [`${torn.length} are torn (${torn.slice(0, 3).join(", ")})`] : []),
      ...(twiceUnrecorded.length > 0 ? [`${twiceUnrecorded.length} arrived twice without a record`] : []),
    ].join(", ");
    return failure("ledger.balance", tried, {
      what,
      next:
        "Do not use this file system for mail; if it is ext4, xfs or btrfs of a good disk, please report it",
    });
  }

  async #start(): Promise<
    { readonly victim: VictimProcess; readonly ports: VictimPorts; readonly run: number }
  > {
    const run = ++this.#runs;
    const { directory, start } = this.#options;
    const victim = start({ directory, run, receiverPort: this.#port });
    this.#running = victim;
    const { value, done } = await victim.lines.next();
    if (done) throw new Error("the servers do not start on what is on the disk");
    return { victim, ports: JSON.parse(value) as VictimPorts, run };
  }

  /** Sends one message; notes what was answered for. Whether it was. */
  async #send(server: keyof VictimPorts, { ports, users, octets }: {
    readonly ports: VictimPorts;
    readonly users: readonly string[];
    readonly octets: number;
  }): Promise<boolean> {
    const { id, text } = makeChecked(`${server}-${++this.#messages}`, octets);
    const recipients = server === "serveIn" ? users.map((user) => `${user}@prove.test`) : ["x@there.test"];
    try {
      const { taken } = await handIn({
        port: ports[server],
        from: "127.0.0.1",
        sender: "a@prove.test",
        recipients,
        data: text,
      });
      if (!taken) return false;
      if (server === "serveIn") this.#in.accepted.set(id, users);
      else this.#out.accepted.set(id, ["receiver"]);
      return true;
    } catch {
      return false;
    }
  }

  /** Each way to the disk, with a kill before each of its steps. */
  async #atEachStep(): Promise<void> {
    const ways = [
      ["serveIn", "a small message into a Maildir", ["alice"], 2_000],
      ["serveIn", "a large message into a Maildir", ["alice"], 300_000],
      ["serveIn", "a message into two Maildirs", ["alice", "bob"], 40_000],
      ["serveOut", "a message through the queue", ["x"], 2_000],
    ] as const;
    for (const [server, what, users, octets] of ways) {
      for (
        let step = 1;
        step <= this.#options.steps && systemClock.monotonic() < this.#options.until;
        step++
      ) {
        this.#options.progress(`${what}: killed before step ${step}`);
        const { victim, ports, run } = await this.#start();
        await victim.say(`arm ${step}`);
        await victim.lines.next();
        const taken = await this.#send(server, { ports, users, octets });
        const survived = taken && await this.#settles(server, { run, victim });
        victim.kill();
        await victim.ended;
        this.#kills++;
        if (survived) break;
        this.#steps++;
      }
    }
  }

  /** Whether the whole way of what was taken was gone without a death. */
  async #settles(
    server: keyof VictimPorts,
    { run, victim }: { readonly run: number; readonly victim: VictimProcess },
  ): Promise<boolean> {
    let died = false;
    const ended = victim.ended.then(() => died = true);
    if (server === "serveIn") {
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 100))]);
      return !died;
    }
    const log = new LogTail(victimLog(this.#options.directory, { run, server: "serve-out" }));
    const until = systemClock.monotonic() + 10_000;
    while (!died && systemClock.monotonic() < until) {
      if (await log.find(({ event }) => event === "queue.done", 100) !== undefined) {
        // What is removed after it is a step, too.
        await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 200))]);
        return !died;
      }
    }
    return false;
  }

  #middle(): number {
    const now = systemClock.monotonic();
    return now + (this.#options.until - now) / 2;
  }

  async #atRandom(until: number): Promise<void> {
    const { rounds, progress } = this.#options;
    for (let round = 1; round <= rounds && systemClock.monotonic() < until; round++) {
      progress(
        `killed at random: round ${round} of ${rounds}, ${
          this.#in.accepted.size + this.#out.accepted.size
        } messages acknowledged`,
      );
      const { victim, ports } = await this.#start();
      let over = false;
      const load = Array.from({ length: 2 * CLIENTS }, async (_, client) => {
        const server = client % 2 === 0 ? "serveIn" : "serveOut";
        for (let number = client; !over; number++) {
          const users = number % 3 === 0 ? ["alice", "bob"] : ["alice"];
          const sent = await this.#send(server, {
            ports,
            users,
            octets: SIZES[number % SIZES.length] ?? 900,
          });
          if (!sent) await new Promise((resolve) => setTimeout(resolve, 20));
        }
      });
      await this.#underWay(victim);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 800));
      victim.kill();
      over = true;
      await Promise.all([victim.ended, ...load]);
      this.#kills++;
    }
  }

  /** Waits until both servers have answered for some messages: a machine may be slow. */
  async #underWay(victim: VictimProcess): Promise<void> {
    const before = [this.#in.accepted.size, this.#out.accepted.size] as const;
    let ended = false;
    void victim.ended.then(() => ended = true);
    await progressing({
      left: () =>
        Math.max(0, before[0] + SOME - this.#in.accepted.size) +
        Math.max(0, before[1] + SOME - this.#out.accepted.size),
      over: () => ended,
    });
  }

  /** Lets the queue become empty. */
  async #drain(): Promise<void> {
    if (this.#runs === 0) return;
    this.#options.progress("the queue is emptied");
    const { victim } = await this.#start();
    await progressing({ left: () => this.#out.missing });
    await victim.end();
    await victim.ended;
    this.#running = undefined;
  }

  /** The queue ids that serve-out has said may arrive twice are those of messages; and what it found damaged. */
  async #readRecords(run: number): Promise<void> {
    const log = new LogTail(victimLog(this.#options.directory, { run, server: "serve-out" }));
    await log.read();
    for (const event of log.events) {
      if (event["dot_sent_no_reply"] === true) this.#uncertain.add(String(event["id"]));
      if (event.event === "message.accepted") {
        const id = /^<([^<>@]{1,100})@prove\.test>$/.exec(String(event["message_id"] ?? ""))?.[1];
        if (id !== undefined) this.#idOf.set(String(event["id"]), id);
      }
      if (event.event === "queue.damaged") this.#broken.push(`run ${run}: ${JSON.stringify(event)}`);
    }
    for (const queueId of this.#uncertain) {
      const id = this.#idOf.get(queueId);
      if (id !== undefined) this.#out.recorded(id);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#running?.kill();
    await this.#running?.ended;
    await this.#peers[Symbol.asyncDispose]();
  }
}

/** Waits until nothing is left, or it is over, or nothing has become less for {@linkcode PATIENCE}. */
async function progressing(
  { left, over = () => false }: { readonly left: () => number; readonly over?: () => boolean },
): Promise<void> {
  let [last, since] = [left(), systemClock.monotonic()];
  while (last > 0 && !over() && systemClock.monotonic() < since + PATIENCE) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const now = left();
    if (now < last) since = systemClock.monotonic();
    last = now;
  }
}
