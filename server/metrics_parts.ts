/**
 * Metrics of a running server: where they are exposed, and what is read from its parts at each scrape.
 *
 * @module
 */
import { type Gauge, gauge, gauges, reading, type Series } from "../base/counters.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger, LogLevel } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { bind, BindError } from "../net/listen.ts";
import { eventCounter } from "../observe/logger.ts";
import type { QueuedItem, SchedulerStatus } from "../relay/scheduler_options.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import { metricsEndpoint } from "./grants.ts";
import type { ServerName } from "./server_start.ts";
import { VERSION } from "./version.ts";

const build = gauges("mailapp_build_info", {
  help: "Always 1; the labels say which server this is, and its version",
  labels: ["server", "version"],
});
const startedAt = gauge("process_start_time_seconds", "When the server began to run, in seconds since 1970");
const memory = gauges("process_resident_memory_bytes", { help: "Memory of the process", labels: [] });
const queued = gauges("mailapp_queue_messages", {
  help: "Messages in the queue, once for each destination, by the status of the last attempt since the start",
  labels: ["status"],
});
const ages = gauges("mailapp_queue_messages_by_age", {
  help: "Messages in the queue, once for each destination, that are older than the label says, in seconds",
  labels: ["older_than"],
});
const oldest = gauges("mailapp_queue_oldest_age_seconds", {
  help: "Age of the oldest message in the queue",
  labels: [],
});
const working = gauges("mailapp_queue_state_messages", {
  help: "Messages that wait for their time, that are due, and workers under way",
  labels: ["state"],
});
const shared = gauges("mailapp_queue_shared_messages", {
  help:
    "Messages in the queue of all hosts: those that a host has, and what waits, is due, held or unreadable",
  labels: ["host", "state"],
});

/** Ages in seconds; for each, the messages of at least that age are counted. */
const AGES = [0, 60, 600, 3600, 14_400, 86_400, 259_200];
/** Values of the label `status`; others are counted together. */
const MAX_STATUSES = 50;
/** Counting takes at most this share of the time. */
const SHARE = 0.005;

/**
 * Exposes the metrics of this thread as configured, until it is disposed of.
 * @throws {CommandError} when the port is taken, or there is no token
 */
export async function openMetrics(
  config: Config,
  { server, logger, refresh, now = Date.now }: {
    readonly server: ServerName;
    readonly logger: Logger;
    /** Takes the latest figures of other threads; awaited before each scrape. */
    readonly refresh?: () => Promise<void>;
    /** Milliseconds since the epoch; default: the system's clock. */
    readonly now?: () => number;
  },
): Promise<AsyncDisposable> {
  build.with(server, VERSION).set(1);
  startedAt.set(Math.round(now() / 1000));
  const endpoint = metricsEndpoint(config, server);
  if (endpoint === undefined) return { [Symbol.asyncDispose]: () => Promise.resolve() };
  // Most servers expose nothing; this saves them the memory.
  const { serveMetrics } = await import("../observe/metrics_server.ts");
  await showAllEvents();
  const token = await readToken(config.metrics.tokenFile);
  let listener: Deno.TcpListener;
  try {
    listener = bind(endpoint.address, endpoint.port);
  } catch (error) {
    if (!(error instanceof BindError)) throw error;
    throw new CommandError(`[metrics] ${error.message}`, error.exitCode, { cause: error });
  }
  const { hostname: address, port } = listener.addr;
  logger.info("metrics.ready", { address, port });
  const rss = memory.readFrom(() => [reading(Deno.memoryUsage().rss)]);
  const serving = serveMetrics(listener, {
    ...(token !== undefined && { token }),
    ...(refresh && { refresh }),
  });
  return {
    async [Symbol.asyncDispose]() {
      rss[Symbol.dispose]();
      listener.close();
      await serving;
    },
  };
}

/** Starts all events at 0: Prometheus sees no increase when a series first appears. */
async function showAllEvents(): Promise<void> {
  const { EVENT_GROUPS } = await import("../observe/events.ts");
  for (const [name, levels] of EVENT_GROUPS.flatMap(({ events }) => events)) {
    if (name.endsWith("*")) continue;
    for (const level of levels.split(", ")) if (level !== "trace") eventCounter(level as LogLevel, name);
  }
}

/** @throws {CommandError} */
async function readToken(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  let token: string | undefined;
  try {
    token = (await Deno.readTextFile(path)).split("\n", 1)[0]?.trim();
  } catch (error) {
    throw new CommandError(`[metrics] token_file: ${errorText(error)}`, EXIT.config, { cause: error });
  }
  if (token !== undefined && /^[\x21-\x7e]{16,}$/.test(token)) return token;
  const form = "must have at least 16 characters without spaces in its first line";
  throw new CommandError(`[metrics] token_file: ${path} ${form}`, EXIT.config);
}

/** What all hosts that share a queue have of it. */
export interface SharedCounts {
  readonly hosts: readonly { readonly name: string; readonly entries: number; readonly state: string }[];
  /** What no host has. */
  readonly free: Readonly<Record<"waiting" | "due" | "held" | "unreadable", number>>;
}

/** The database is asked so often, in milliseconds. */
const SHARED_EVERY = 15_000;

/** Counts a queue of several hosts now and then, until it is disposed of. */
export function sharedQueueMetrics(
  count: () => Promise<SharedCounts>,
  { clock }: { readonly clock: Clock },
): AsyncDisposable {
  let counted: readonly Series<Gauge>[] = [];
  let closed = false;
  let timer: Timer | undefined;
  const look = async () => {
    try {
      const { hosts, free } = await count();
      const names = Map.groupBy(hosts.filter(({ state }) => state !== "gone"), ({ name }) => name);
      counted = [
        ...Array.from(
          names,
          ([name, those]) => reading(those.reduce((sum, { entries }) => sum + entries, 0), name, "owned"),
        ),
        ...Object.entries(free).map(([state, count]) => reading(count, "", state)),
      ];
    } catch {
      // Figures that are no longer true are worse than none.
      counted = [];
    }
    if (!closed) timer = clock.after(SHARED_EVERY, () => void (looking = look()));
  };
  let looking = look();
  const source = shared.readFrom(() => counted);
  return {
    async [Symbol.asyncDispose]() {
      closed = true;
      timer?.cancel();
      source[Symbol.dispose]();
      await looking;
    },
  };
}

/** What is needed of a scheduler. */
interface QueueView {
  readonly status: SchedulerStatus;
  items(): Iterable<QueuedItem>;
}

/** Counts the queue at a scrape, until it is disposed of; less often if the queue is long. */
export function queueMetrics(queue: QueueView, now: () => number = () => performance.now()): Disposable {
  let counted: QueueCount | undefined;
  let until = -Infinity;
  const count = () => {
    const begun = now();
    if (counted !== undefined && begun < until) return counted;
    counted = countQueue(queue.items());
    const took = now() - begun;
    until = begun + took / SHARE;
    return counted;
  };
  const sources = new DisposableStack();
  sources.use(queued.readFrom(() => count().byStatus));
  sources.use(ages.readFrom(() => count().byAge));
  sources.use(oldest.readFrom(() => [reading(count().oldest)]));
  sources.use(working.readFrom(() => {
    const { waiting, ready, active } = queue.status;
    return [reading(waiting, "waiting"), reading(ready, "due"), reading(active, "active")];
  }));
  return sources;
}

interface QueueCount {
  readonly byStatus: readonly Series<Gauge>[];
  readonly byAge: readonly Series<Gauge>[];
  /** In seconds. */
  readonly oldest: number;
}

function countQueue(items: Iterable<QueuedItem>): QueueCount {
  const statuses = new Map<string, number>();
  const older = AGES.map(() => 0);
  let oldest = 0;
  for (const { age, status = "none" } of items) {
    const key = statuses.has(status) || statuses.size < MAX_STATUSES ? status : "other";
    statuses.set(key, (statuses.get(key) ?? 0) + 1);
    const seconds = age / 1000;
    if (seconds > oldest) oldest = seconds;
    for (let index = 0; index < AGES.length && seconds >= (AGES[index] as number); index++) {
      older[index] = (older[index] as number) + 1;
    }
  }
  return {
    byStatus: Array.from(statuses, ([status, count]) => reading(count, status)),
    byAge: AGES.map((age, index) => reading(older[index] ?? 0, String(age))),
    oldest,
  };
}
