/**
 * The dialogues of a server in several threads. All accept from the same sockets; one that has clearly more connections
 * than the mean leaves the next to others. A thread that dies takes its own connections with it, and is replaced.
 *
 * What all of them must agree on is in shared memory (counts of connections, unique names) or with the server's thread,
 * which answers their questions (the greylist, the queue). Other bounds are split evenly.
 *
 * @module
 */
import { addFigures } from "../../base/counters.ts";
import type { Logger } from "../../base/log.ts";
import { ThreadFigures } from "../../base/thread_figures.ts";
import type { Config } from "../../config/config.ts";
import type { SocketAddress } from "../../net/transport.ts";
import {
  createSharedCounts,
  SharedConnectionCounts,
  type SharedCounts,
} from "../../smtp/shared_connection_counts.ts";
import { forgetClaims, type SharedClaimsData } from "../../storage/shared_claims.ts";
import { CommandError } from "../exit_codes.ts";
import type { Endpoint } from "../listeners.ts";
import type { ServerStart } from "../server_start.ts";
import type { StopReason } from "../signals.ts";
import { probePorts } from "./probe_ports.ts";
import type { DialoguesStart, FromDialogues, ToDialogues } from "./messages.ts";
import type { Dialogues, DialoguesEnd } from "./own.ts";

/** A thread, as far as it is needed. */
export interface DialoguesWorker {
  postMessage(message: ToDialogues): void;
  onmessage: ((event: MessageEvent<FromDialogues>) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
  terminate(): void;
}

/** What {@linkcode DialogueThreads} needs. */
export interface DialogueThreadsOptions {
  /** How many, at least 2. */
  readonly count: number;
  /** Starts a thread that calls `runDialogues`. */
  readonly startThread: () => DialoguesWorker;
  readonly start: Pick<ServerStart, "server" | "dnsServers" | "isTerminal" | "toJournal">;
  readonly config: Config;
  readonly endpoints: readonly Endpoint[];
  /** Connections that all of them have together, at most. */
  readonly clients: number;
  /** Of the threads, and of the server's own behind them. */
  readonly claims: SharedClaimsData;
  /** What each thread is started with besides. */
  readonly startData: () => Readonly<Record<string, unknown>>;
  /** Answers what a thread asks; a thread may ask what makes no sense. */
  readonly answer: (question: unknown, thread: number) => Promise<unknown>;
  /** Clears what a thread has left that has died. */
  readonly forget?: (thread: number) => void;
  readonly logger: Logger;
  /** Times in milliseconds; for tests. */
  readonly times?: Partial<Times>;
}

interface Times {
  /** Between two questions for the figures of each thread. */
  readonly poll: number;
  /** Before a thread is replaced the first time; doubled each time, up to a minute. */
  readonly pause: number;
  /** For an answer of all threads. */
  readonly answer: number;
}

const TIMES: Times = { poll: 1_000, pause: 1_000, answer: 10_000 };
const MAX_PAUSE = 60_000;
/** How long a scrape waits for figures at most, in milliseconds. */
const SCRAPE = 500;
/** Unanswered questions after which a thread counts as unresponsive: two minutes, as for the server's own thread. */
const MAX_UNANSWERED = 120;
/** After this life, in milliseconds, a thread is replaced as if it had never died before. */
const LONG_LIFE = 60_000;

/** Threads that serve; see the module. */
export class DialogueThreads implements Dialogues, Disposable {
  readonly #options: DialogueThreadsOptions;
  readonly #times: Times;
  readonly #shared: SharedCounts;
  readonly #counts: SharedConnectionCounts;
  readonly #threads: DialogueThread[];
  readonly #polling: ReturnType<typeof setInterval>;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #config: Config;
  #endpoints: readonly Endpoint[];
  #listening: Endpoint | undefined;
  /** Whether all of them have listened. */
  #open = false;
  #stopped = false;

  private constructor(options: DialogueThreadsOptions) {
    const { count, clients, config, endpoints, answer } = options;
    this.#options = options;
    this.#times = { ...TIMES, ...options.times };
    this.#config = config;
    this.#endpoints = endpoints;
    this.#shared = createSharedCounts({ threads: count, clients });
    this.#counts = new SharedConnectionCounts(this.#shared, count);
    this.#threads = Array.from({ length: count }, (_, number) =>
      new DialogueThread({
        startThread: options.startThread,
        answer: (question) => answer(question, number),
        start: () => this.#startData(number),
        died: (error, lived) => this.#replace(number, { error, lived }),
      }));
    this.#polling = setInterval(() => this.#poll(), this.#times.poll);
  }

  /**
   * Starts the threads; resolves when all of them listen.
   * @throws {CommandError} with the exit code that fits when a port is taken or forbidden, or a thread cannot start
   */
  static async open(options: DialogueThreadsOptions): Promise<DialogueThreads> {
    const threads = new DialogueThreads(options);
    try {
      await Promise.all(threads.#threads.map((thread) => thread.load()));
      threads.#listening = probePorts(options.endpoints);
      await Promise.all(threads.#threads.map((thread) => thread.begin()));
    } catch (error) {
      threads[Symbol.dispose]();
      throw error;
    }
    threads.#open = true;
    return threads;
  }

  get connections(): number {
    return this.#counts.total;
  }

  /** Where they have listened from the start, the first of several; where they wait for all, the first of these. */
  get listening(): SocketAddress | undefined {
    return this.#listening ?? this.#endpoints[0];
  }

  follow(endpoints: readonly Endpoint[]): void {
    this.#endpoints = endpoints;
    for (const thread of this.#threads) thread.tell({ kind: "follow", endpoints });
  }

  async reopen(): Promise<void> {
    await this.#askAll((number) => ({ kind: "reopen", number }), this.#times.answer);
  }

  async apply(config: Config): Promise<void> {
    this.#config = config;
    await this.#askAll((number) => ({ kind: "apply", number, config }), this.#times.answer);
  }

  /** Takes the latest figures of all threads; waits half a second at most. */
  async refreshFigures(): Promise<void> {
    await this.#askAll((number) => ({ kind: "figures", number }), SCRAPE);
  }

  async shutdown(reason: StopReason, { forced, accepting }: DialoguesEnd): Promise<void> {
    this.#stopped = true;
    const tell = (message: ToDialogues) => {
      for (const thread of this.#threads) thread.tell(message);
    };
    const force = () => tell({ kind: "force" });
    const ended = this.#threads.map((thread) => thread.stop(reason, accepting !== undefined));
    if (forced.aborted) force();
    else forced.addEventListener("abort", force, { once: true });
    void accepting?.then(() => tell({ kind: "refuse" }));
    await Promise.all(ended);
    this[Symbol.dispose]();
  }

  /** Ends all threads at once. */
  [Symbol.dispose](): void {
    this.#stopped = true;
    clearInterval(this.#polling);
    for (const timer of this.#timers) clearTimeout(timer);
    for (const thread of this.#threads) thread.end();
  }

  #startData(thread: number): DialoguesStart {
    const { start: { server, dnsServers, isTerminal, toJournal = false }, claims, startData } = this.#options;
    return {
      ...startData(),
      ...{ server, dnsServers, isTerminal, toJournal, thread, claims },
      counts: this.#shared,
      config: this.#config,
      endpoints: this.#endpoints,
    };
  }

  async #askAll(question: (number: number) => ToDialogues, timeout: number): Promise<void> {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeout);
    await Promise.race([over, Promise.all(this.#threads.map((thread) => thread.ask(question)))]);
    clearTimeout(timer);
  }

  #poll(): void {
    for (const thread of this.#threads) {
      if (thread.unanswered >= MAX_UNANSWERED) thread.kill("it does not answer");
      else void thread.ask((number) => ({ kind: "figures", number }));
    }
  }

  #replace(number: number, { error, lived }: { readonly error: string; readonly lived: number }): void {
    const thread = this.#threads[number];
    if (!this.#open || thread === undefined) return;
    const { pause } = this.#times;
    thread.deaths = lived >= LONG_LIFE ? 1 : thread.deaths + 1;
    const wait = Math.min(pause * 2 ** (thread.deaths - 1), MAX_PAUSE);
    const { logger } = this.#options;
    logger.error("thread.died", {
      thread: number,
      connections: this.#counts.totalOf(number),
      error,
      action: this.#stopped
        ? "none: the server stops"
        : `starting another one in ${Math.ceil(wait / 1000)} s`,
    });
    // It may still run for a moment: terminate() does not wait.
    this.#after(pause, () => {
      this.#counts.forget(number);
      forgetClaims(this.#options.claims, number);
      this.#options.forget?.(number);
    });
    this.#after(wait, async () => {
      if (this.#stopped) return;
      try {
        await thread.load();
        await thread.begin();
        logger.info("thread.started", { thread: number });
      } catch {
        // It has died again, and this was called again.
      }
    });
  }

  #after(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
  }
}

interface DialogueThreadOptions extends Pick<DialogueThreadsOptions, "startThread"> {
  readonly answer: (question: unknown) => Promise<unknown>;
  /** What it is started with now. */
  readonly start: () => DialoguesStart;
  /** Called when it has died; not when it was ended. `lived`: milliseconds. */
  readonly died: (error: string, lived: number) => void;
}

/** One place for a thread, which may die and be started again. */
class DialogueThread {
  readonly #options: DialogueThreadOptions;
  readonly #figures = new ThreadFigures();
  readonly #adding = addFigures(this.#figures.series);
  readonly #waiting = new Map<number, () => void>();
  /** How often it died without having lived long. */
  deaths = 0;
  #worker: DialoguesWorker | undefined;
  #loaded = Promise.withResolvers<void>();
  #ready = Promise.withResolvers<void>();
  #ended = Promise.withResolvers<void>();
  #stopping = false;
  /** Whether it was told its configuration, and whether it listens. */
  #begun = false;
  #serving = false;
  #since = 0;
  #asked = 0;

  constructor(options: DialogueThreadOptions) {
    this.#options = options;
  }

  /** Questions without an answer yet. */
  get unanswered(): number {
    return this.#waiting.size;
  }

  /** Starts the thread; resolves when its modules are loaded. Rejects when it dies before. */
  load(): Promise<void> {
    this.#loaded = Promise.withResolvers();
    this.#ready = Promise.withResolvers();
    this.#ended = Promise.withResolvers();
    for (const { promise } of [this.#loaded, this.#ready]) promise.catch(() => {});
    this.#since = performance.now();
    const worker = this.#worker = this.#options.startThread();
    worker.onerror = (event) => {
      event.preventDefault();
      if (worker === this.#worker) this.kill(event.message);
    };
    worker.onmessage = ({ data }) => {
      if (worker === this.#worker) this.#hear(data);
    };
    return this.#loaded.promise;
  }

  /** Resolves when it listens. @throws {CommandError} when it cannot start */
  begin(): Promise<void> {
    this.tell({ kind: "start", start: this.#options.start() });
    this.#begun = true;
    return this.#ready.promise;
  }

  tell(message: ToDialogues): void {
    this.#worker?.postMessage(message);
  }

  /** Resolves when it has answered, or has died. */
  async ask(question: (number: number) => ToDialogues): Promise<void> {
    const number = ++this.#asked;
    const message = question(number);
    // While it starts, its configuration must not grow old; its figures can wait.
    if (message.kind === "figures" ? !this.#serving : !this.#begun) return;
    const answered = new Promise<void>((resolve) => void this.#waiting.set(number, resolve));
    this.tell(message);
    await answered;
  }

  /** Resolves when its connections are closed. */
  async stop(reason: StopReason, accepting: boolean): Promise<void> {
    this.#stopping = true;
    // While it starts it has no connections, and may not hear.
    if (!this.#serving) return this.#end();
    this.tell({ kind: "stop", reason, accepting });
    await this.#ended.promise;
  }

  /** Ends it as one that has died. */
  kill(error: string): void {
    if (this.#worker === undefined) return;
    const lived = this.#serving ? performance.now() - this.#since : 0;
    this.#end();
    this.#loaded.reject(new Error(error));
    this.#ready.reject(new Error(error));
    this.#options.died(error, lived);
  }

  /** Ends it for good. */
  end(): void {
    this.#end();
    this.#adding[Symbol.dispose]();
  }

  #end(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#begun = this.#serving = false;
    this.#figures.end();
    for (const resolve of this.#waiting.values()) resolve();
    this.#waiting.clear();
    this.#ended.resolve();
  }

  #hear(message: FromDialogues): void {
    switch (message.kind) {
      case "loaded":
        return this.#loaded.resolve();
      case "ready":
        this.#serving = true;
        return this.#ready.resolve();
      case "failed":
        this.#ready.reject(new CommandError(message.error, message.exitCode));
        return this.kill(message.error);
      case "done":
        this.#figures.take(message.figures);
        this.#waiting.get(message.number)?.();
        this.#waiting.delete(message.number);
        return;
      case "question":
        return void this.#answer(message.number, message.question);
      case "ended":
        this.#figures.take(message.figures);
        if (this.#stopping) this.#end();
        else this.kill("it has ended");
    }
  }

  async #answer(number: number, question: unknown): Promise<void> {
    const worker = this.#worker;
    let answer: unknown;
    try {
      answer = await this.#options.answer(question);
    } catch {
      // The thread asked what makes no sense.
    }
    // Not to one that has taken its place meanwhile.
    if (worker === this.#worker) this.tell({ kind: "answer", number, answer });
  }
}
