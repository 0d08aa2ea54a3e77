/**
 * From the configuration to the parts of serve-submit: who may send as whom, how much, and the way to serve-out.
 *
 * @module
 */
import { join } from "@std/path";
import { systemClock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { createDial } from "../net/dial.ts";
import { LimitsFile, readLimits } from "../submit/limits_file.ts";
import { LoginLimits } from "../submit/login_limits.ts";
import { Senders } from "../submit/senders.ts";
import { Upstream } from "../submit/upstream.ts";
import { openMailboxes, submitDirectory } from "./parts.ts";
import { serveOutAddress } from "./addresses.ts";

/** Milliseconds to connect to serve-out, which is on this machine. */
const CONNECT = 5_000;
/** Milliseconds. Below what mail programs wait, so that they hear of a serve-out that is slow. */
const TIMEOUTS = { command: 30_000, data: 60_000, dataEnd: 240_000 };
/** How long a connection to serve-out waits for the next message, in milliseconds. */
const KEEP = 30_000;
const MAX_KEPT = 20;
/** The part of serve-out's connections that programs of this machine find free. */
const FOR_OTHERS = 4;

/** The way to serve-out. */
export function openUpstream(config: Config): Upstream {
  const { hostname, serveOut: { maxConnections, idleTimeoutMs } } = config;
  const dial = createDial({ clock: systemClock, timeout: CONNECT });
  return new Upstream({
    connect: () => dial(serveOutAddress(config)),
    hostname,
    clock: systemClock,
    timeouts: TIMEOUTS,
    maxConnections: Math.max(1, maxConnections - Math.ceil(maxConnections / FOR_OTHERS)),
    keep: Math.min(KEEP, idleTimeoutMs / 2),
    maxKept: MAX_KEPT,
  });
}

/**
 * Who may send as whom.
 * @throws {ConfigError}
 */
export function openSenders(config: Config): Senders {
  const mailboxes = openMailboxes(config);
  return new Senders({
    mailboxesOf: (address) => mailboxes.owners(address).map(({ address }) => address),
    domains: config.serveIn.domains,
    qualifyDomain: config.serveOut.qualifyDomain,
    sendAs: config.serveSubmit?.sendAs ?? {},
  });
}

/** The limits of logins, kept in a file. */
export async function openLimits(
  config: Config,
  logger: Logger,
): Promise<{ readonly limits: LoginLimits } & AsyncDisposable> {
  const file = { path: join(submitDirectory(config), "limits.json"), clock: systemClock, logger };
  const limits = new LoginLimits({
    limits: sendingLimits(config),
    clock: systemClock,
    logger,
    remembered: await readLimits(file),
  });
  const kept = new LimitsFile(limits, file);
  return { limits, [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose]() };
}

/** What each login may send; without the table nobody sends. */
export function sendingLimits({ serveSubmit }: Config): LoginLimits["limits"] {
  if (serveSubmit === undefined) throw new TypeError("[serve-submit] is not there");
  return serveSubmit.sending;
}
