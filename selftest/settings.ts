/**
 * Settings whose effect takes hours or days, or lies outside this machine: judged by their value, not tried.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { type Finding, ok, warning } from "../doctor/finding.ts";
import { addressScope } from "../net/ip_address.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The free octets of the file system that a path is, or will be, on; `undefined` where that cannot be determined. */
export type FreeSpace = (path: string) => Promise<number | undefined>;

/** Judges them. Each finding says that nothing was tried. */
export async function settingsFindings(config: Config, freeSpace: FreeSpace): Promise<Finding[]> {
  const findings = RULES.map(({ id, tried, wrong, next }) => {
    const what = wrong(config);
    return what === undefined
      ? ok(id, tried, "ok, by its value")
      : warning(id, tried, { what: `${what}, by its value`, next });
  });
  return [...findings, ...await room(config, freeSpace)];
}

interface Rule {
  readonly id: string;
  readonly tried: string;
  /** What is wrong; `undefined`: nothing. */
  readonly wrong: (config: Config) => string | undefined;
  readonly next: string;
}

const hours = (ms: number) => `${Math.round(ms / HOUR * 10) / 10} h`;

const RULES: readonly Rule[] = [
  {
    id: "setting.idle",
    tried: "a good client that pauses for five minutes",
    wrong: ({ serveIn }) =>
      serveIn.domains.length > 0 && serveIn.idleTimeoutMs < 5 * MINUTE
        ? `ended after ${serveIn.idleTimeoutMs / SECOND} s`
        : undefined,
    next:
      'Set [serve-in] idle_timeout to "5m" or more, as RFC 5321 §4.5.3.2.7 asks; the limits on connections ' +
      "keep idle clients from harm",
  },
  {
    id: "setting.expire",
    tried: "a receiver that is down for three days",
    wrong: ({ serveOut }) =>
      serveOut.expireAfterMs < 3 * DAY ? `given up after ${hours(serveOut.expireAfterMs)}` : undefined,
    next: 'Set [serve-out] expire_after to "4d" or "5d" (RFC 5321 §4.5.4.1)',
  },
  {
    id: "setting.retry_once",
    tried: "a receiver that is down when a message is sent for the first time",
    wrong: ({ serveOut }) => {
      const [first = 0] = serveOut.retryMs;
      return first > HOUR ? `tried again only after ${hours(first)}` : undefined;
    },
    next: 'Begin [serve-out] retry with minutes: ["1m", "5m", "15m", "30m", "1h", "2h", "4h"]',
  },
  {
    id: "setting.retry_always",
    tried: "a receiver that refuses for now, day after day",
    wrong: ({ serveOut }) => {
      const last = serveOut.retryMs.at(-1) ?? HOUR;
      return last < 15 * MINUTE ? `asked every ${last / SECOND} s without end` : undefined;
    },
    next: 'End [serve-out] retry with half an hour or more, such as "4h": who asks too often is blocked',
  },
  {
    id: "setting.retry_late",
    tried: "a message that waits, near the end of its time",
    wrong: ({ serveOut }) => {
      const longest = Math.max(...serveOut.retryMs);
      return longest > serveOut.expireAfterMs / 2
        ? `the wait of ${hours(longest)} is more than half of expire_after, ${hours(serveOut.expireAfterMs)}`
        : undefined;
    },
    next: "Make the waits of [serve-out] retry short against expire_after",
  },
  {
    id: "setting.delay_notice",
    tried: "a sender whose message waits for a day",
    wrong: ({ serveOut }) =>
      serveOut.delayNoticeAfterMs >= Math.min(DAY, serveOut.expireAfterMs)
        ? `gets no notice for ${hours(Math.min(serveOut.delayNoticeAfterMs, serveOut.expireAfterMs))}`
        : undefined,
    next: 'Set [serve-out] delay_notice_after to a few hours, such as "4h"',
  },
  {
    id: "setting.patience",
    tried: "a receiver that checks a message for two minutes before it answers",
    wrong: ({ serveOut: { timeouts } }) =>
      timeouts.dataEndMs < 5 * MINUTE
        ? `given up after ${timeouts.dataEndMs / SECOND} s, and sent again: it arrives twice`
        : undefined,
    next: 'Set [serve-out.timeouts] data_end to "10m" (RFC 5321 §4.5.3.2.6)',
  },
  {
    id: "setting.private_targets",
    tried: "a domain whose MX leads to an address of your own network",
    wrong: ({ serveOut }) =>
      serveOut.allowPrivateTargets
        ? "serve-out would connect there: others can make it connect to machines inside your network"
        : undefined,
    next:
      "Set [serve-out] allow_private_targets = false, unless this network is closed; routes may point inside in any case",
  },
  {
    id: "setting.mta_sts",
    tried: "a domain that promises valid certificates by MTA-STS, behind an attacker without one",
    wrong: ({ serveOut }) => serveOut.mtaSts ? undefined : "mail would go there unencrypted",
    next: "Set [serve-out] mta_sts = true",
  },
  {
    id: "setting.tls_policy",
    tried: "a domain that asks for more TLS than [serve-out.tls_policy] does",
    wrong: ({ serveOut: { tlsPolicy } }) => {
      const weak = Object.entries(tlsPolicy).filter(([, policy]) => policy === "prefer").map(([name]) =>
        name
      );
      return weak.length > 0
        ? `${weak.join(", ")}: "prefer" overrides its MTA-STS and TLSA records`
        : undefined;
    },
    next:
      'Take the entries with "prefer" out of [serve-out.tls_policy]: without them the domain itself decides',
  },
  {
    id: "setting.dnssec",
    tried: "a DNS server on another machine whose answers count as validated",
    wrong: ({ dns }) => {
      const far = dns.servers.filter(({ address }) => !/^127\.|^::1$/.test(address));
      return dns.dnssec && (far.length > 0 || dns.servers.length === 0)
        ? `dnssec = true with ${
          far.length > 0 ? far.map(({ address }) => address).join(", ") : "the servers of /etc/resolv.conf"
        }: whoever is on the way can forge the answers`
        : undefined;
    },
    next: "Run a validating resolver on this machine, name it in [dns] servers, or set dnssec = false",
  },
  {
    id: "setting.sealers",
    tried: "mail of a trusted list, which seals it by ARC",
    wrong: ({ serveIn: { checks } }) =>
      checks.trustedSealers.length > 0 && !checks.arc
        ? "refused for DMARC: trusted_sealers has no effect with arc = false"
        : undefined,
    next: "Set [serve-in.checks] arc = true",
  },
  {
    id: "setting.filter",
    tried: "mail while the filter does not answer",
    wrong: ({ serveIn: { checks } }) =>
      checks.filters.length > 0 && checks.dmarc === "off" && checks.filterFailure === "accept"
        ? "accepted without any check"
        : undefined,
    next: 'Set [serve-in.checks] filter_failure = "defer", or dmarc = "enforce"',
  },
  {
    id: "setting.checks_timeout",
    tried: "mail of a domain whose DNS is slow",
    wrong: ({ serveIn: { domains, checks: { timeoutMs } } }) =>
      domains.length === 0
        ? undefined
        : timeoutMs > MINUTE
        ? `the client waits up to ${
          timeoutMs / SECOND
        } s for its answer; some go away before, and send it again`
        : timeoutMs < 3 * SECOND
        ? `after ${timeoutMs / SECOND} s the checks count as unknown, and forged mail is accepted`
        : undefined,
    next: 'Set [serve-in.checks] timeout to 5 to 30 s; the default is "10s"',
  },
  {
    id: "setting.listen",
    tried: "a server on the Internet that brings mail",
    wrong: ({ serveIn: { domains, listen, port } }) => {
      if (domains.length === 0) return undefined;
      if (port !== 25) return `serve-in is on port ${port}, and mail servers use port 25`;
      const addresses = typeof listen === "string" ? [listen] : listen;
      return addresses.every((address) => address === "lo" || addressScope(address) === "loopback")
        ? `serve-in listens on ${addresses.join(", ")} alone, which other hosts cannot reach`
        : undefined;
    },
    next: 'Set [serve-in] listen = "auto" and port = 25, unless something before it forwards the connections',
  },
  {
    id: "setting.log",
    tried: "a question about last week's mail",
    wrong: ({ log: { level } }) =>
      level === "error" || level === "warn"
        ? `the log has no messages with level = "${level}": trace, explain --replay and what-if need it`
        : level === "trace"
        ? 'the log has every dialogue with level = "trace": it fills the disk'
        : undefined,
    next: 'Set [log] level = "info"',
  },
  {
    id: "setting.hostname",
    tried: "a receiver that looks at the name in EHLO",
    wrong: ({ hostname }) =>
      /(?:^|\.)(?:localhost|localdomain|local|lan|home|internal|intranet|invalid)$/.test(hostname)
        ? `${hostname} does not exist in public DNS, and many refuse such a name`
        : undefined,
    next: "Set hostname to this machine's name in public DNS, which its reverse DNS leads to",
  },
  {
    id: "setting.submission_limits",
    tried: "a stolen password",
    wrong: ({ serveSubmit }) =>
      serveSubmit !== undefined &&
        (serveSubmit.sending.messagesADay === Infinity && serveSubmit.sending.messagesAnHour === Infinity ||
          serveSubmit.sending.recipientsADay === Infinity &&
            serveSubmit.sending.recipientsAnHour === Infinity)
        ? "sends without limit"
        : undefined,
    next: "Set [serve-submit] messages_an_hour, messages_a_day, recipients_an_hour and recipients_a_day",
  },
];

/** Whether there is room where mail is stored, with what has to stay free. */
async function room(config: Config, freeSpace: FreeSpace): Promise<Finding[]> {
  const { serveIn, serveOut, mailboxes, dataDir } = config;
  const places = [
    ...(serveIn.domains.length > 0
      ? [{
        key: "[serve-in] min_free_space",
        path: mailboxes.path.replace(/\{.*/s, ""),
        least: serveIn.minFreeSpace,
      }]
      : []),
    { key: "[serve-out] min_free_space", path: dataDir, least: serveOut.minFreeSpace },
  ];
  return await Promise.all(places.map(async ({ key, path, least }) => {
    const tried = `any message, with the free space of ${path}`;
    const free = await freeSpace(path);
    if (free === undefined) return ok("setting.room", tried, "unknown: the directory cannot be read");
    return free >= least ? ok("setting.room", tried, "taken") : warning("setting.room", tried, {
      what: `deferred: ${free} octets are free, and ${key} is ${least}`,
      next: `Free space, or lower ${key}`,
    });
  }));
}
