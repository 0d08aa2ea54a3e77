/**
 * Opens a dialogue with a host up to MAIL: greeting, EHLO, TLS, login.
 *
 * The ladder (RFC 7435, RFC 3207, RFC 7672) under the policy `prefer`: TLS with any certificate; where STARTTLS is
 * refused with 5xx or the handshake fails, plaintext on a fresh connection; where it is refused with 4xx, or the
 * connection ends directly after the handshake, the host counts as not available, and only if that is so again later,
 * plaintext. Where nothing more than that is asked for, HELO is said to who hung up at EHLO before. Under any other
 * policy, and where DNSSEC asks for TLS, the host counts as not available. Where TLS comes first (port 465 of a
 * route), there is no plaintext under any policy.
 *
 * @module
 */
import { counters } from "../base/counters.ts";
import type { DaneNeed } from "../tls/dane.ts";
import type { NotedAnswers } from "../dns/noted_answers.ts";
import type { Resolver } from "../dns/resolver.ts";
import type { Logger } from "../base/log.ts";
import { SmtpClient } from "../smtp/client.ts";
import type { ClientTimeouts } from "../smtp/client_dialogue.ts";
import { DialogueError } from "../smtp/send_result.ts";
import type { Clock } from "../base/clock.ts";
import { ConnectionError } from "../net/conn_transport.ts";
import type { RemoteReply } from "../smtp/reply_reader.ts";
import { connectFirst } from "./connect_first.ts";
import type { PeerMemory } from "./peer_memory.ts";
import type { clientUpgrade } from "../tls/client_upgrade.ts";
import { type AttemptEnd, attemptRecord, errorAt, faultStatus } from "./attempt_record.ts";
import type { Dial } from "../net/dial.ts";
import type { Credentials, Target } from "./mx.ts";
import type { Attempt, TlsDemand, TlsLevel } from "./queue_entry.ts";
import {
  demandOf,
  encrypt,
  forbidden,
  lookUpDane,
  NO_STARTTLS,
  Refusal,
  refused,
  type TlsFailure,
  type TlsProblem,
} from "./session_tls.ts";
import { errorText } from "../base/error_text.ts";

const opened = counters("mailapp_relay_connections_total", {
  help: "Connections to other servers, by whether MAIL could be sent",
  labels: ["result"],
});
const demanded = counters("mailapp_relay_policy_sessions_total", {
  help:
    "Sessions with other servers that a policy asks for TLS in, by how it was kept: kept, or the failure type of TLSRPT",
  labels: ["policy", "result"],
});
const usable = opened.with("ready");
const unusable = opened.with("unavailable");

/** What a connection to a host depends on. */
export interface SessionOptions {
  /** Our name in EHLO. */
  readonly hostname: string;
  /** Tells the time. */
  readonly clock: Clock;
  /** How long each step of the dialogue may take. */
  readonly timeouts: ClientTimeouts;
  /** Connects. */
  readonly dial: Dial;
  /** Makes the TLS handshake. */
  readonly upgrade: typeof clientUpgrade;
  /** Authorities to verify against, as PEM, instead of the built-in ones. */
  readonly ca?: string | readonly string[];
  /** What earlier dialogues have shown; shared by all connections. */
  readonly peers: PeerMemory;
  /** Where the DNS servers are trusted to validate: looks up TLSA records. Without it there is no DANE. */
  readonly daneResolver?: Resolver;
  /** Takes what happened. */
  readonly logger: Logger;
  /** Sees the dialogue, secrets masked, and with whom it is. */
  readonly onLine?: (side: "C" | "S", line: string, target: Target) => void;
  /** Aborts at once. */
  readonly signal?: AbortSignal;
  /** Told how TLS went with each host where that can be said. */
  readonly onTls?: (target: Target, verdict: TlsVerdict) => void;
  /** Takes the TLSA records that were found. */
  readonly noted?: NotedAnswers;
  /** Other addresses, one at each call, for when the one before is silent; under the same TLS policy. */
  readonly alternate?: () => Target | undefined;
}

/** How TLS went. */
export interface TlsVerdict {
  /** What DNSSEC says of the host's certificate. */
  readonly dane: DaneNeed;
  /** What was wrong; absent for nothing. */
  readonly problem: TlsProblem | undefined;
  /** Our own address of the connection; absent where there was none. */
  readonly local?: string;
}

/** Where MAIL may be said. */
export interface ReadySession {
  /** Tells it from a failure. */
  readonly kind: "ready";
  /** Where it leads: the target asked for, or an alternate that answered first. */
  readonly target: Target;
  /** The client. */
  readonly client: SmtpClient;
  /** Whether HELO was used because the server closed at EHLO, so that it may have extensions all the same. */
  readonly withoutEhlo: boolean;
  /** Addresses that were asked and gave no connection. */
  readonly unanswered: readonly Unanswered[];
  /** How the connection is protected. */
  readonly tls: TlsLevel;
  /** What asked for that. */
  readonly policy?: TlsDemand;
  /** What is wrong with the protection, where no policy forbade using it. */
  readonly problem?: TlsProblem;
  /** What DNSSEC says of the host's certificate. */
  readonly dane: DaneNeed;
  /** Our own address of the connection. */
  readonly local?: string;
}

/** An address that gave no connection. */
export interface Unanswered {
  /** The address. */
  readonly target: Target;
  /** For the entry of each recipient, should no other address be reached. */
  readonly attempt: Attempt;
  /** It did not answer at all. */
  readonly silent: boolean;
}

/** Why there is no connection to a host. */
export interface OpenFailure {
  /** Tells it from a connection. */
  readonly kind: "unavailable";
  /** Which address this is about, where it is an alternate of the one that was asked for. */
  readonly target?: Target;
  /** Other addresses that were asked and gave no connection. */
  readonly unanswered?: readonly Unanswered[];
  /** For the entry of each recipient. */
  readonly attempt: Attempt;
  /** Whether there was a connection at all; absent where none was tried, since the policy forbids it. */
  readonly reached?: boolean;
}

/** Connects, and leads the dialogue to where MAIL may be said, under the target's TLS policy. Never throws. */
export async function openSession(
  target: Target,
  options: SessionOptions,
): Promise<ReadySession | OpenFailure> {
  const { peers, logger, signal } = options;
  const first = await openDialogue(target, { ...options, plaintext: false });
  const { target: reached = target, unanswered = [], problem, local } = first;
  if (first.kind === "ready" || problem !== undefined) {
    options.onTls?.(reached, { dane: first.dane, problem, ...(local !== undefined && { local }) });
  }
  countPolicy(first, reached);
  if (first.kind === "ready") {
    usable.add();
    peers.noteTls(reached);
    noteTesting(reached, { problem: first.problem, dane: first.policy === "dane", logger });
    return first;
  }
  unusable.add();
  const { attempt, tlsFailure } = first;
  if (tlsFailure === undefined || target.tls !== "prefer" || signal?.aborted) return first;
  if (tlsFailure === "passing" && !peers.refusesTlsStill(reached)) return first;
  // Never on the connection whose handshake failed, nor on one that an attacker may have written into.
  const { host, address } = reached;
  logger.warn("host.plaintext", { host, address, reason: attempt.error ?? attempt.reply });
  const { alternate: _, ...alone } = options;
  const second = await openDialogue(reached, { ...alone, plaintext: true });
  (second.kind === "ready" ? usable : unusable).add();
  if (second.kind === "ready") noteTesting(reached, { problem: first.problem ?? NO_STARTTLS, logger });
  return { ...second, target: reached, unanswered: [...unanswered, ...second.unanswered ?? []] };
}

/** Counts how a policy was kept, where that can be said. */
function countPolicy(session: ReadySession | DialogueFailure, { sts }: Target): void {
  const { kind, problem } = session;
  const policy = kind === "ready" ? session.policy : session.attempt.policy;
  if (policy === undefined || (kind !== "ready" && problem === undefined)) return;
  const isListed = policy !== "mta-sts-testing" || sts === undefined || sts.allowed;
  demanded.with(policy, problem?.type ?? (isListed ? "kept" : "validation-failure")).add();
}

/** Logs what the MTA-STS policy of the domain would not have allowed, were its mode enforce. */
function noteTesting(
  { host, address, sts }: Target,
  { problem, dane = false, logger }: {
    readonly problem: TlsProblem | undefined;
    readonly dane?: boolean;
    readonly logger: Logger;
  },
): void {
  if (sts?.mode !== "testing" || dane) return;
  const reason = sts.allowed ? problem?.why : "the policy does not list the host";
  if (reason !== undefined) logger.info("mta_sts.testing", { domain: sts.domain, host, address, reason });
}

/** A failure, and whether it is only for lack of TLS, for now or for good. */
interface DialogueFailure extends OpenFailure {
  readonly tlsFailure?: TlsFailure;
  readonly problem?: TlsProblem;
  readonly dane: DaneNeed;
  /** Our own address of the connection, if there was one. */
  readonly local?: string;
}

type DialogueOptions = SessionOptions & { readonly plaintext: boolean };

async function openDialogue(
  first: Target,
  options: DialogueOptions,
): Promise<ReadySession | DialogueFailure> {
  const { clock, hostname, timeouts, onLine, signal, plaintext, peers, dial, alternate, logger } = options;
  const { implicitTls = false } = first;
  let target = first;
  let unanswered: readonly Unanswered[] = [];
  const at = clock.now();
  const failure = (
    end: AttemptEnd,
    more: {
      reached?: boolean;
      tlsFailure?: TlsFailure | undefined;
      problem?: TlsProblem | undefined;
    } = {},
  ): DialogueFailure => ({
    kind: "unavailable",
    target,
    unanswered,
    attempt: attemptRecord(target, at, { ...end, ...asked }),
    ...(more.reached !== undefined && { reached: more.reached }),
    ...(more.tlsFailure && { tlsFailure: more.tlsFailure }),
    ...(more.problem && { problem: more.problem }),
    ...(local !== "" && { local }),
    dane,
  });

  let local = "";
  let dane = { kind: "none", reason: "" } as DaneNeed;
  let asked: { readonly policy?: TlsDemand } = {};
  /** The requirements for the connection; or why there may be none. */
  const lookUp = async () => {
    if (!plaintext) dane = await lookUpDane(target, options);
    const policy = demandOf(target, dane);
    asked = policy === undefined ? {} : { policy };
    return forbidden(target, dane);
  };
  const obstacle = await lookUp();
  if (obstacle !== undefined) return failure(obstacle.end, { problem: obstacle.problem });
  const { connection, unconnected } = await connectFirst(target, {
    dial,
    clock,
    ...(signal && { signal }),
    ...(alternate && { alternate }),
  });
  unanswered = unconnected.map(({ target, at, error, silent }) => ({
    target,
    silent,
    attempt: attemptRecord(target, at, connectFailure(target, error)),
  }));
  if (connection === undefined) {
    const own = unanswered.find((one) => one.target === first);
    unanswered = unanswered.filter((one) => one !== own);
    // A local problem says nothing about the host.
    const allOurs = unconnected.every(({ error }) => isOfOurs(error));
    return {
      ...failure({ status: "4.4.1" }, allOurs ? {} : { reached: false }),
      ...(own && { attempt: own.attempt }),
    };
  }
  const reached = connection.target;
  target = reached;
  local = connection.transport.local.address;
  if (target.host !== first.host) {
    const obstacle = await lookUp();
    if (obstacle !== undefined) {
      connection.transport.close();
      return failure(obstacle.end, { reached: true, problem: obstacle.problem });
    }
  }
  // Without EHLO there is neither TLS nor a login.
  const isPlainEnough = target.tls === "prefer" && dane.kind === "none" && !implicitTls;
  const withoutEhlo = isPlainEnough && target.auth === undefined && !peers.takeEhlo(target);
  if (withoutEhlo) {
    const { host, address } = target;
    logger.warn("host.plaintext", { host, address, reason: "it hung up at EHLO, and HELO has no TLS" });
  }
  const client = new SmtpClient(connection.transport, {
    hostname,
    clock,
    timeouts,
    ...(onLine && { onLine: (side, line) => onLine(side, line, reached) }),
    pipelining: peers.takesPipelining(target),
    ehlo: !withoutEhlo,
  });
  const abort = () => client.close();
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  let tls: TlsLevel = "none";
  let problem: TlsProblem | undefined = NO_STARTTLS;
  try {
    if (implicitTls) ({ tls, problem } = await encrypt(client, target, { ...options, dane }));
    requireReady(await client.greeting());
    requireReady(await client.hello());
    if (!plaintext && !implicitTls) {
      ({ tls, problem } = await encrypt(client, target, { ...options, dane }));
      if (tls !== "none") requireReady(await client.hello());
    }
    if (target.auth !== undefined) await logIn(client, target.auth, tls);
    return {
      kind: "ready",
      target,
      client,
      tls,
      withoutEhlo,
      unanswered,
      ...asked,
      ...(problem && { problem }),
      dane,
      local,
    };
  } catch (error) {
    const shown = tls === "none" ? {} : { tls };
    if (error instanceof Refusal) {
      await client.quit();
      const { end, tlsFailure, problem } = error;
      return failure({ ...end, ...shown }, { reached: true, tlsFailure, problem });
    }
    client.close();
    if (!(error instanceof DialogueError)) {
      return failure({ status: "4.3.0", error: errorText(error), ...shown }, { reached: true });
    }
    const { fault, stage, said, message } = error;
    if (stage === "hello" && fault === "closed" && said === "" && tls === "none") {
      if (withoutEhlo) peers.forgetEhlo(target);
      else peers.noteEhloLost(target);
    }
    // In TLS 1.3 a server may reject the handshake after it is complete for us, for example if it wants a certificate.
    const brokenOff = !implicitTls && tls !== "none" && dane.kind === "none" && stage === "hello" &&
      fault === "closed";
    const where = errorAt(stage, message);
    return failure({ status: faultStatus(fault), error: where, said, ...shown }, {
      reached: true,
      ...(brokenOff && { tlsFailure: "passing", problem: { type: "validation-failure", why: where } }),
    });
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** Why there is no connection, with a hint to the cause. */
function connectFailure({ via }: Target, error: unknown): AttemptEnd {
  const text = errorText(error);
  if (isOfOurs(error)) return { status: "4.3.5", error: text };
  if (via === "local") return { status: "4.3.2", error: `serve-in does not answer: ${text}` };
  return { status: "4.4.1", error: via === "route" ? `the route's host does not answer: ${text}` : text };
}

/** The configured source address is not there. */
function isOfOurs(error: unknown): boolean {
  return error instanceof ConnectionError && error.code === "EADDRNOTAVAIL";
}

async function logIn(client: SmtpClient, auth: Credentials, tls: TlsLevel): Promise<void> {
  if (tls !== "verified" && tls !== "dane") {
    throw new Refusal({ status: "4.7.5", error: "no login without verified TLS" });
  }
  const reply = await client.authenticate(auth);
  if (reply === undefined) {
    throw new Refusal({ status: "4.7.8", error: "the server offers neither AUTH PLAIN nor AUTH LOGIN" });
  }
  if (reply.code >= 300) throw refused(reply);
}

function requireReady(reply: RemoteReply): void {
  if (reply.code >= 400) throw refused(reply);
}
