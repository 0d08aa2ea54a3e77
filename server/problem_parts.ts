/**
 * What each server watches for problems, and how postmaster is notified.
 *
 * @module
 */
import { isIP } from "node:net";
import { join } from "@std/path";
import type { DkimSigner } from "../dkim/sign.ts";
import type { Config, ListenConfig } from "../config/config.ts";
import type { Resolver } from "../dns/resolver.ts";
import {
  certificateCheck,
  dnsCheck,
  type KnownCause,
  queueCheck,
  type Refusal,
  type RefusalWatch,
  spaceCheck,
  undeliverableCheck,
} from "../doctor/problem_checks.ts";
import { serverCheck, silenceCheck, stuckQueueCheck } from "../doctor/outage_checks.ts";
import { problemMail } from "../doctor/problem_mail.ts";
import { type Problem, ProblemWatch } from "../doctor/problem_watch.ts";
import type { MaildirDelivery } from "../maildir/delivery.ts";
import type { Logger } from "../base/log.ts";
import type { Queue } from "../relay/queue.ts";
import { explainReply } from "../relay/reply_causes.ts";
import type { Scheduler } from "../relay/scheduler.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import type { Certificates } from "../tls/certificates.ts";
import { askOwnPolicy } from "../mta_sts/ask_own.ts";
import { listenAddresses, type NetworkIo } from "../net/interfaces.ts";
import { reachableAddress } from "../net/listen.ts";
import { serveOutAddress } from "./addresses.ts";
import { alertsOf, greetingProbe, type ProbePlace, total } from "./alert_parts.ts";
import { incomingDirectory } from "./parts.ts";
import { policyHosts } from "./policy_parts.ts";

/** The configuration as a reload may have left it. */
interface Live {
  readonly config: Config;
}

/** What all servers need. */
interface CommonParts {
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Watches a running serve-in: its certificate, the free space on its disks, and DNS if it queries any. */
export async function watchServeIn(
  live: Live,
  { delivery, certificates, resolver, clock, logger }: CommonParts & {
    readonly delivery: MaildirDelivery;
    readonly certificates: Pick<Certificates, "pair"> | undefined;
    /** The resolver of the checks; `undefined` while there are none. */
    readonly resolver: () => Resolver | undefined;
  },
): Promise<ProblemWatch> {
  const { hostname, tls: { selfSigned } } = live.config;
  const incoming = incomingDirectory(live.config);
  const alerts = alertsOf(live.config, "serve-in");
  return await ProblemWatch.start({
    clock,
    logger,
    stateFile: join(incoming, "trouble.json"),
    ...(alerts && { alerts }),
    checks: [
      ...(alerts === undefined ? [] : [
        ...(live.config.serveOut.port > 0
          ? [serverCheck("serve-out", greetingProbe(() => serveOutAddress(live.config)))]
          : []),
        silenceCheck(() => total("mailapp_messages_accepted_total")),
      ]),
      ...(certificates === undefined ? [] : [
        certificateCheck(() => certificates.pair.leaf, { selfSigned, now: () => clock.now() }),
      ]),
      spaceCheck(() => {
        const { minFreeSpace } = live.config.serveIn;
        return [
          { name: "the directory of the Maildirs", path: delivery.mailboxes.root, minFreeSpace },
          { name: "data_dir", path: incoming, minFreeSpace },
        ];
      }),
      dnsCheck(
        () => ({ names: live.config.serveIn.domains.slice(0, 1), resolver: resolver() }),
        "incoming mail is accepted unchecked",
      ),
    ],
    mail: (problems) => {
      const [domain = hostname] = live.config.serveIn.domains;
      return store(delivery, {
        domain,
        message: problemMail(problems, {
          server: "serve-in",
          hostname,
          to: `postmaster@${domain}`,
          id: newId(),
          now: clock.now(),
        }),
      });
    },
  });
}

/** Puts a message into postmaster's mailbox, as one that came in. */
async function store(
  delivery: MaildirDelivery,
  { domain, message }: { readonly domain: string; readonly message: Uint8Array },
): Promise<void> {
  const postmaster = { localPart: "postmaster", domain, text: `postmaster@${domain}` };
  await using pending = await delivery.begin({
    reversePath: null,
    recipients: [{ forwardPath: postmaster }],
    body: "8BITMIME",
    smtputf8: false,
    size: message.length,
  }, { origin: { id: "problem" } });
  await pending.write(message);
  await pending.commit([{ name: "Return-Path", value: "<>" }]);
}

/** The file of serve-out's problems. */
export function relayProblemFile({ dataDir }: Pick<Config, "dataDir">): string {
  return join(dataDir, "trouble.json");
}

/** Watches a running serve-out: queue, DNS, disk, and what other servers refuse. */
export async function watchServeOut(
  live: Live & { readonly resolver: Resolver },
  { queue, scheduler, scanned, signer, refusals, network, clock, logger }: CommonParts & {
    readonly queue: Pick<Queue, "newId" | "add">;
    readonly scheduler: Pick<Scheduler, "status" | "submit" | "undeliverable">;
    /** Resolves when all that was in the queue at the start is known. */
    readonly scanned: Promise<void>;
    readonly signer: Pick<DkimSigner, "sign">;
    readonly refusals: RefusalWatch;
    /** The machine's addresses. */
    readonly network: NetworkIo;
  },
): Promise<ProblemWatch> {
  const { hostname, dataDir, serveIn, serveOut } = live.config;
  const alerts = alertsOf(live.config, "serve-out");
  const submission = serveSubmitPlace(live.config);
  let known = false;
  scanned.then(() => known = true);
  const send = async (problems: readonly Problem[]) => {
    const id = queue.newId();
    const { qualifyDomain } = live.config.serveOut;
    const to = `postmaster@${qualifyDomain}`;
    const now = clock.now();
    const message = await signer.sign(
      id,
      problemMail(problems, { server: "serve-out", hostname, to, id, now }),
    );
    const eightBitBody = message.some((byte) => byte > 127);
    await queue.add({
      id,
      acceptedAt: now,
      // A notice that cannot be delivered must not lead to another one (RFC 5321 §4.5.5).
      reversePath: "",
      body: eightBitBody ? "8BITMIME" : "7BIT",
      smtputf8: false,
      size: message.length,
      content: { eightBitHeader: false, eightBitBody },
      recipients: [{
        address: to,
        domain: qualifyDomain,
        status: "pending",
        attemptCount: 0,
        attempts: [],
        nextAttemptAt: 0,
        delayNotified: true,
        settled: false,
      }],
    }, message);
    scheduler.submit({ id, age: 0, due: [{ domain: qualifyDomain, at: 0 }] });
  };
  return await ProblemWatch.start({
    clock,
    logger,
    stateFile: relayProblemFile(live.config),
    ...(alerts && { alerts }),
    checks: [
      ...(alerts === undefined ? [] : [
        ...(serveIn.domains.length > 0 && serveIn.port > 0
          ? [serverCheck("serve-in", greetingProbe(() => serveInPlace(live.config, network)))]
          : []),
        ...(submission === undefined
          ? []
          : [serverCheck("serve-submit", greetingProbe(() => submission(network)))]),
        ...(live.config.servePolicy?.port ? [serverCheck("serve-policy", policyProbe(live, network))] : []),
        stuckQueueCheck(() => ({
          relayed: total("mailapp_relay_attempts_total", { result: "relayed" }),
          deferred: total("mailapp_relay_attempts_total", { result: "deferred" }),
        })),
      ]),
      queueCheck(() => {
        const { waiting, ready, active } = scheduler.status;
        return known ? waiting + ready + active : undefined;
      }),
      undeliverableCheck(() => scheduler.undeliverable),
      dnsCheck(() => {
        const { qualifyDomain, routes } = live.config.serveOut;
        const smarthost = routes["*"]?.host ?? "";
        return { names: isIP(smarthost) !== 0 ? [] : [qualifyDomain], resolver: live.resolver };
      }),
      spaceCheck(() => [
        { name: "the spool", path: join(dataDir, "spool"), minFreeSpace: live.config.serveOut.minFreeSpace },
      ]),
      refusals.check,
    ],
    // Without its own domain the machine has no postmaster mailbox.
    ...(serveIn.domains.length > 0 || serveOut.qualifyDomain !== hostname ? { mail: send } : {}),
  });
}

/** In milliseconds. */
const PROBE_TIMEOUT = 10_000;

/** Where a client from outside would find serve-in. */
function serveInPlace({ serveIn: { listen, port } }: Config, network: NetworkIo): ProbePlace {
  return { address: firstAddress(listen, network), port };
}

/** How serve-submit is probed: where there is no STARTTLS, by TLS at once. `undefined` if it has no known port. */
function serveSubmitPlace(config: Config): ((network: NetworkIo) => ProbePlace) | undefined {
  const { serveSubmit, hostname } = config;
  if (serveSubmit === undefined) return undefined;
  const { listen, port, tlsPort } = serveSubmit;
  if (port !== false && port > 0) return (network) => ({ address: firstAddress(listen, network), port });
  if (tlsPort === false || tlsPort === 0) return undefined;
  return (network) => ({ address: firstAddress(listen, network), port: tlsPort, tls: hostname });
}

/** Asks serve-policy for the policy of the first domain. */
function policyProbe(live: Live, network: NetworkIo): () => Promise<void> {
  return async () => {
    const { servePolicy } = live.config;
    const [host] = policyHosts(live.config);
    // A reload may have removed it.
    if (servePolicy === undefined || host === undefined) return;
    const place = { address: firstAddress(servePolicy.listen, network), port: servePolicy.port };
    await askOwnPolicy(place, { host, timeout: PROBE_TIMEOUT, clock: systemClock });
  };
}

/** @throws {ListenError} while there is none */
function firstAddress(listen: ListenConfig, network: NetworkIo): string {
  const [{ address = "127.0.0.1" } = {}] = listenAddresses(listen, network);
  return reachableAddress(address);
}

/** What receivers say of an address with a bad reputation, whatever the code. */
const LISTED = /\b(?:block(?:ed|list)|black ?list|spamhaus|barracuda|sorbs|dnsbl|rbl|reputation)/i;
const LISTED_CAUSE: KnownCause = {
  meaning: "The receiver has this server on a block list, or thinks badly of its address.",
  operator:
    "Follow the address in its words, or ask its postmaster; look for a program or an account that sends spam (mailapp queue list --group sender).",
};

/** Codes about the sending server: DNS, SPF, DKIM, TLS, rate, login, loops. Plain policy codes are not. */
const OURS = /^[45]\.(?:1\.8|4\.6|7\.(?:[2-9]|[1-9]\d+))$/;

/** The cause of a refusal, if it is known and lies with us. */
export function causeOfOurs({ status, reply }: Refusal): KnownCause | undefined {
  if (LISTED.test(reply.slice(0, 1000))) return LISTED_CAUSE;
  if (!OURS.test(status)) return undefined;
  const { meaning = "", operator } = explainReply({ status, reply }) ?? {};
  return operator === undefined ? undefined : { meaning, operator };
}

function newId(): string {
  return crypto.randomUUID().replaceAll("-", "");
}
