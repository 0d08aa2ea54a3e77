/**
 * Settings of serve-out that are judged by their value: see `settings.ts`.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { isOfThisMachine } from "../net/interfaces.ts";
import { DAY, hours, MINUTE, type Rule, SECOND } from "./setting_rule.ts";

/** Whether mail to others goes to their MX hosts. */
const asksMx = ({ serveOut: { routes } }: Config) => routes["*"] === undefined;

/** The rules. */
export const SENDING_RULES: readonly Rule[] = [
  {
    id: "setting.expire",
    tried: "a receiver that is down for three days",
    wrong: ({ serveOut }) =>
      serveOut.expireAfterMs < 3 * DAY ? `given up after ${hours(serveOut.expireAfterMs)}` : undefined,
    next: 'Set [serve-out] expire_after to "4d" or "5d" (RFC 5321 §4.5.4.1)',
  },
  {
    id: "setting.expire_late",
    tried: "a receiver that is gone for good",
    wrong: ({ serveOut }) =>
      serveOut.expireAfterMs > 14 * DAY
        ? `the sender is told only after ${hours(serveOut.expireAfterMs)}`
        : undefined,
    next: 'Set [serve-out] expire_after to "4d" or "5d" (RFC 5321 §4.5.4.1)',
  },
  {
    id: "setting.retry_once",
    tried: "a receiver that is down when a message is sent for the first time",
    wrong: ({ serveOut }) => {
      const [first = 0] = serveOut.retryMs;
      return first > 60 * MINUTE ? `tried again only after ${hours(first)}` : undefined;
    },
    next: 'Begin [serve-out] retry with minutes: ["1m", "5m", "15m", "30m", "1h", "2h", "4h"]',
  },
  {
    id: "setting.retry_always",
    tried: "a receiver that refuses for now, day after day",
    wrong: ({ serveOut }) => {
      const last = serveOut.retryMs.at(-1) ?? 60 * MINUTE;
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
    id: "setting.delay_notice_early",
    tried: "a receiver that asks to come again in ten minutes, as greylisting does",
    wrong: ({ serveOut }) =>
      serveOut.delayNoticeAfterMs < 20 * MINUTE
        ? `its senders get a notice of delay after ${serveOut.delayNoticeAfterMs / SECOND} s`
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
    id: "setting.timeouts",
    tried: "a receiver that takes half a minute for each answer, as many do with strangers",
    wrong: ({ serveOut: { timeouts: { connectMs, commandMs, dataMs } } }) => {
      const short = [
        ...(connectMs < 5 * SECOND ? [`connect = ${connectMs / SECOND} s`] : []),
        ...(commandMs < MINUTE ? [`command = ${commandMs / SECOND} s`] : []),
        ...(dataMs < MINUTE ? [`data = ${dataMs / SECOND} s`] : []),
      ];
      return short.length > 0 ? `never gets its mail: ${short.join(", ")}` : undefined;
    },
    next:
      'Set [serve-out.timeouts] connect = "30s", command = "5m", data = "3m", the defaults (RFC 5321 §4.5.3.2)',
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
    id: "setting.smtp_port",
    tried: "the mail servers of other domains, which listen on port 25",
    wrong: (config) =>
      config.serveOut.smtpPort !== 25 && asksMx(config)
        ? `asked on port ${config.serveOut.smtpPort}, where they do not listen`
        : undefined,
    next:
      'Set [serve-out] smtp_port = 25; the port of a smarthost goes into its route: [serve-out.routes] "*"',
  },
  {
    id: "setting.family",
    tried: "a domain whose mail servers have IPv4 addresses only, as most do",
    wrong: (config) =>
      config.serveOut.family === "ipv6" && asksMx(config) ? "never reached: IPv4 is not used" : undefined,
    next: 'Set [serve-out] family = "auto"',
  },
  {
    id: "setting.source",
    tried: "a connection from source_ipv4 and source_ipv6",
    wrong: ({ serveOut: { sourceIpv4, sourceIpv6 } }) => {
      const missing = [sourceIpv4, sourceIpv6].filter((address) =>
        address !== undefined && !isOfThisMachine(address)
      );
      return missing.length > 0
        ? `this machine does not have ${missing.join(", ")}: no mail leaves from there`
        : undefined;
    },
    next: "Set [serve-out] source_ipv4 and source_ipv6 to addresses of this machine, or take them out",
  },
  {
    id: "setting.per_host",
    tried: "a receiver that counts the connections of each client",
    wrong: ({ serveOut: { maxConnectionsPerHost } }) =>
      maxConnectionsPerHost > 20
        ? `sees up to ${maxConnectionsPerHost} of them, and may block us`
        : undefined,
    next: "Set [serve-out] max_connections_per_host to 5, the default; 20 are many",
  },
  {
    id: "setting.route_own",
    tried: "mail of this machine's programs to the domains of [serve-in]",
    wrong: ({ serveIn: { domains }, serveOut: { routes } }) => {
      const own = domains.filter((domain) => domain in routes);
      return own.length > 0
        ? `goes to serve-in here: the route of ${own.join(", ")} has no effect`
        : undefined;
    },
    next:
      "Take that entry out of [serve-out.routes], or the domain out of [serve-in] domains, wherever its mail belongs",
  },
  {
    id: "setting.undeliverable",
    tried: "a notice of failure that cannot be delivered, held for you to look at",
    wrong: ({ serveOut: { keepUndeliverableMs, maxUndeliverable } }) =>
      keepUndeliverableMs < 3 * DAY || maxUndeliverable < 10
        ? `dropped after ${hours(keepUndeliverableMs)}, or when there are more than ${maxUndeliverable}`
        : undefined,
    next: 'Set [serve-out] keep_undeliverable = "30d" and max_undeliverable = 1000, the defaults',
  },
];
