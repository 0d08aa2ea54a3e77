/**
 * Builds the parts of serve-submit from the configuration: permitted senders, limits, and the connections to serve-out.
 *
 * @module
 */
import { join } from "@std/path";
import { type Clock, systemClock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { createDial } from "../net/dial.ts";
import { LimitsFile, readLimits } from "../submit/limits_file.ts";
import { LoginLimits } from "../submit/login_limits.ts";
import { Senders } from "../submit/senders.ts";
import { Upstream } from "../submit/upstream.ts";
import { openMailboxes, submitDirectory } from "./parts.ts";
import { certificateCheck, sendingLimitCheck, uncheckedLoginsCheck } from "../doctor/problem_checks.ts";
import { serverCheck } from "../doctor/outage_checks.ts";
import { problemMail } from "../doctor/problem_mail.ts";
import { type Problem, ProblemWatch } from "../doctor/problem_watch.ts";
import { handOver, openDialogue } from "../smtp/hand_over.ts";
import type { Certificates } from "../tls/certificates.ts";
import { serveOutAddress } from "./addresses.ts";
import { alertsOf, greetingProbe, total } from "./alert_parts.ts";

/** Milliseconds to connect to serve-out, which is on this machine. */
const CONNECT = 5_000;
/** In milliseconds. Shorter than the timeouts of mail programs, so that they get a reply if serve-out is slow. */
const TIMEOUTS = { command: 30_000, data: 60_000, dataEnd: 240_000 };
/** How long a connection to serve-out waits for the next message, in milliseconds. */
const KEEP = 30_000;
const MAX_KEPT = 20;
/** The fraction of serve-out's connections that stays free for programs of this machine: one in this many. */
const FOR_OTHERS = 4;

/** The connections to serve-out. */
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
 * The senders that each login may use.
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

/** The file of serve-submit's problems. */
export function submitProblemFile(config: Config): string {
  return join(submitDirectory(config), "trouble.json");
}

/**
 * Watches a running serve-submit: its certificate, logins that cannot be checked or have reached their limits, and
 * serve-out.
 */
export async function watchServeSubmit(
  live: { readonly config: Config },
  { certificates, limits, clock, logger }: {
    readonly certificates: Pick<Certificates, "pair">;
    readonly limits: Pick<LoginLimits, "limited">;
    readonly clock: Clock;
    readonly logger: Logger;
  },
): Promise<ProblemWatch> {
  const { tls: { selfSigned } } = live.config;
  const alerts = alertsOf(live.config, "serve-submit");
  return await ProblemWatch.start({
    clock,
    logger,
    stateFile: submitProblemFile(live.config),
    ...(alerts && { alerts }),
    checks: [
      ...(alerts === undefined ? [] : [
        serverCheck("serve-out", greetingProbe(() => serveOutAddress(live.config))),
      ]),
      uncheckedLoginsCheck(() => ({
        accepted: total("mailapp_logins_total", { result: "accepted" }),
        unavailable: total("mailapp_logins_total", { result: "unavailable" }),
      })),
      certificateCheck(() => certificates.pair.leaf, { selfSigned, now: () => clock.now() }),
      sendingLimitCheck(() => limits.limited),
    ],
    mail: (problems) => tellPostmaster(problems, live.config),
  });
}

/**
 * Hands serve-out a message to postmaster about these.
 * @throws when serve-out does not take it
 */
export async function tellPostmaster(problems: readonly Problem[], config: Config): Promise<void> {
  const { hostname } = config;
  const to = `postmaster@${config.serveOut.qualifyDomain}`;
  const id = crypto.randomUUID().replaceAll("-", "");
  const message = problemMail(problems, {
    server: "serve-submit",
    hostname,
    to,
    id,
    now: systemClock.now(),
  });
  const dial = createDial({ clock: systemClock, timeout: CONNECT });
  const client = await openDialogue(await dial(serveOutAddress(config)), { hostname, clock: systemClock });
  try {
    // A notice that cannot be delivered must not lead to another one (RFC 5321 §4.5.5).
    const [result] = await handOver(client, {
      sender: "",
      recipients: [to],
      size: message.length,
      eightBit: true,
      chunks: async function* () {
        yield message;
      },
    });
    if (result?.kind !== "relayed") throw new Error("serve-out does not take it");
    await client.quit();
  } finally {
    client.close();
  }
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

/** What each login may send; nothing without the table. */
export function sendingLimits({ serveSubmit }: Config): LoginLimits["limits"] {
  if (serveSubmit === undefined) throw new TypeError("[serve-submit] is not there");
  return serveSubmit.sending;
}
