/**
 * The dashboard as it runs in its thread, confined to what {@linkcode DashboardStart} grants.
 *
 * @module
 */
import { systemClock } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import { isOfThisMachine, type NetworkIo } from "../../net/interfaces.ts";
import { BindError, explainBind } from "../../net/listen.ts";
import { ControlClient } from "../../relay/control_client.ts";
import { EXIT, type ExitCode } from "../../server/exit_codes.ts";
import { openLog } from "../../server/log_parts.ts";
import type { ServerContext, ServerStart } from "../../server/server_start.ts";
import { findLog, followLog } from "../trace/log_sources.ts";
import { dashboardApp } from "./app.ts";
import { Guard } from "./guard.ts";
import { LogView } from "./log_view.ts";
import { Machine, type MachinePlaces } from "./machine.ts";
import { QueueView } from "./queue_view.ts";
import { ReceivedReports } from "./reports.ts";
import type { Token } from "./tokens.ts";

/** What the dashboard starts with, found before it is confined. */
export interface DashboardStart extends ServerStart {
  readonly tokens: readonly Token[];
  /** By which browsers that have been logged in are known. */
  readonly browserKey: string;
  readonly machine: MachinePlaces;
  /** The control socket of serve-out. */
  readonly controlSocket: string;
  /** The machine's addresses. */
  readonly interfaces: ReturnType<NetworkIo["interfaces"]>;
  /** The Maildir that reports are sent to. */
  readonly reports?: string;
  /** Logs in place of the configured one. */
  readonly logs: readonly string[];
}

/** How long a page waits for a serve-out that says nothing, in milliseconds. */
const SERVER_SILENCE = 10_000;
/** Time for requests under way after SIGTERM, in milliseconds. */
const GRACE = 5_000;

/** Serves until it is stopped; returns the exit code. */
export async function runDashboard(given: ServerStart, { signals }: ServerContext): Promise<ExitCode> {
  const start = given as DashboardStart;
  const { config, controlSocket, machine, tokens, browserKey, logs, interfaces } = start;
  await using ownLog = openLog(config, start);
  const { logger } = ownLog;
  const stopping = new AbortController();
  const found = await findLog(config, logs);
  const log = new LogView({
    sources: found.sources,
    follow: (signal) => found.sources.length === 0 ? nothing() : followLog(found, signal),
    now: () => systemClock.now(),
    isOwnAddress: (address) => isOfThisMachine(address, { interfaces: () => interfaces }),
  });
  const queue = new QueueView({
    find: () => ControlClient.find(controlSocket, { silence: SERVER_SILENCE }),
    clock: systemClock,
  });
  const state = new Machine(machine);
  // So that the first visitor need not wait.
  void state.look();
  void queue.look();
  const reports = new ReceivedReports({
    clock: systemClock,
    ...(start.reports !== undefined && { maildir: start.reports }),
  });
  const app = dashboardApp({
    hostname: config.hostname,
    guard: new Guard({ tokens, browserKey, hosts: config.dashboard.hosts, clock: systemClock }),
    log,
    queue,
    machine: state,
    reports,
    findLog: () => findLog(config, logs),
    logProblems: found.problems,
    logger,
    now: () => systemClock.now(),
  });
  const { address, port } = config.dashboard.listen;
  let server: Deno.HttpServer<Deno.NetAddr>;
  try {
    server = Deno.serve({
      hostname: address,
      port,
      onListen: (addr) => logger.info("dashboard.ready", { address: addr.hostname, port: addr.port }),
      onError: (error) => {
        logger.error("dashboard.failed", { error: errorText(error) });
        return new Response("That failed.\n", { status: 500 });
      },
    }, (request, { remoteAddr }) => app.fetch(request, { peer: remoteAddr.hostname }));
  } catch (error) {
    const failure = explainBind(error, { address, port });
    logger.error("dashboard.failed", { error: errorText(failure) });
    return failure instanceof BindError ? failure.exitCode : EXIT.unavailable;
  }
  const reading = log.run(stopping.signal);
  const signal = await signals.stopped;
  logger.info("server.stopping", { signal });
  stopping.abort();
  await Promise.race([
    Promise.all([server.shutdown(), queue.idle(), state.idle(), reports.idle(), reading]),
    new Promise((resolve) => {
      setTimeout(resolve, GRACE);
      signals.forced.addEventListener("abort", resolve, { once: true });
    }),
  ]);
  logger.info("server.stopped");
  return EXIT.ok;
}

async function* nothing(): AsyncGenerator<string> {}
