/**
 * Settings whose effect takes hours or days, or lies outside this machine: judged by their value, not tried.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { type Finding, ok, warning } from "../doctor/finding.ts";
import { addressScope } from "../net/ip_address.ts";
import { openMailboxes } from "../server/parts.ts";
import { brokenPromise } from "../server/policy_parts.ts";
import { SENDING_RULES } from "./sending_settings.ts";
import { MINUTE, type Rule, SECOND } from "./setting_rule.ts";

/** The free octets of the file system that a path is, or will be, on; `undefined` where that cannot be determined. */
export type FreeSpace = (path: string) => Promise<number | undefined>;

/** What the file system of a path, or of where it will be, means for mail: what is wrong with it. */
export type DiskFindings = (path: string) => Promise<readonly Finding[]>;

/** What of the machine the settings are held against. */
export interface Machine {
  readonly freeSpace: FreeSpace;
  readonly diskFindings: DiskFindings;
}

/** Judges them. Each finding says that nothing was tried. */
export async function settingsFindings(config: Config, machine: Machine): Promise<Finding[]> {
  const findings = [...RULES, ...SENDING_RULES].map(({ id, tried, wrong, next }) => {
    const what = wrong(config);
    return what === undefined
      ? ok(id, tried, "ok, by its value")
      : warning(id, tried, { what: `${what}, by its value`, next });
  });
  return [...findings, ...await room(config, machine.freeSpace), ...await disks(config, machine)];
}

const MIB = 1024 ** 2;

/** Lists of good servers, and of bad ones, by their names. */
const ALLOW_LIST = /(?:^|[.-])(?:dnswl|whitelist|allowlist|welcomelist|wl|swl)(?=[.-])/i;
const BLOCK_LIST =
  /(?:^|[.-])(?:zen|sbl|xbl|pbl|css|bl|dnsbl|rbl|blacklist|blocklist|spamcop|barracuda\w*|psbl|uceprotect)(?=[.-])/i;

/** Resolvers for everybody, which lists do not answer. */
const PUBLIC_RESOLVERS = new Set([
  ...["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"],
  ...["1.1.1.1", "1.0.0.1", "2606:4700:4700::1111", "2606:4700:4700::1001"],
  ...["9.9.9.9", "149.112.112.112", "2620:fe::fe", "208.67.222.222", "208.67.220.220"],
]);

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
    id: "setting.mta_sts_promise",
    tried: "a sender that obeys the MTA-STS policy of [mta_sts]",
    wrong: (config) => {
      const broken = brokenPromise(config);
      return broken === undefined ? undefined : `delivers nothing: ${broken}`;
    },
    next:
      'Name every MX host in [mta_sts] mx, have a certificate of an authority ([tls.acme]), or set mode = "testing"',
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
    id: "setting.list_action",
    tried: "a client that a DNS list knows",
    wrong: ({ serveIn: { checks: { dnsLists } } }) => {
      const turned = dnsLists.filter(({ zone, action }) =>
        ALLOW_LIST.test(zone) ? action !== "allow" : BLOCK_LIST.test(zone) && action === "allow"
      );
      return turned.length > 0
        ? turned.map(({ zone, action }) =>
          action === "allow"
            ? `${zone} lists senders of junk, and lets them in here`
            : `${zone} lists good servers, and their mail ${
              action === "junk" ? "is junk" : "is refused"
            } here`
        ).join("; ")
        : undefined;
    },
    next:
      'Set its action in [serve-in.checks] dns_lists: "allow" for lists of good servers, else "refuse" or "junk"',
  },
  {
    id: "setting.list_resolver",
    tried: "a DNS list that is asked by way of a public resolver",
    wrong: ({ dns: { servers }, serveIn: { checks: { dnsLists } } }) => {
      const open = servers.filter(({ address }) => PUBLIC_RESOLVERS.has(address));
      return dnsLists.length > 0 && open.length > 0
        ? `answers ${open.map(({ address }) => address).join(", ")} with an error: the list is not used`
        : undefined;
    },
    next: "Run a resolver of your own on this machine, and name it in [dns] servers",
  },
  {
    id: "setting.junk_folder",
    tried: "a good message that was taken for junk",
    wrong: ({ mailboxes: { junkFolder = "" } }) =>
      /^(?:trash|deleted(?: items| messages)?|sent(?: items| messages)?|drafts|outbox|archive)$/i.test(
          junkFolder,
        )
        ? `is in ${junkFolder}, where nobody looks for it and mail programs may remove it`
        : undefined,
    next: 'Set [mailboxes] junk_folder = "Junk"',
  },
  {
    id: "setting.shared_maildir",
    tried: "two people with the same name in two domains",
    wrong: ({ serveIn: { domains }, mailboxes: { path, users } }) => {
      if (domains.length < 2 || path.includes("{domain}")) return undefined;
      const names = users === "system" ? [] : users.map((user) => user.split("@", 1)[0]);
      const shared = users === "system"
        ? "everybody"
        : names.find((name, index) => users[index] === name || names.indexOf(name) !== index);
      return shared === undefined
        ? undefined
        : `${shared} at ${domains.slice(0, 2).join(" and at ")}: they read each other's mail, in ${path}`;
    },
    next:
      'Set [mailboxes] path with {domain} in it, such as "/var/mail/{domain}/{user}", unless they are one person; then an alias says so',
  },
  {
    id: "setting.submit_idle",
    tried: "a mail program that pauses for five minutes",
    wrong: ({ serveSubmit, serveOut }) => {
      const short = [
        ...(serveSubmit !== undefined && serveSubmit.idleTimeoutMs < MINUTE ? ["[serve-submit]"] : []),
        ...(serveOut.idleTimeoutMs < MINUTE ? ["[serve-out]"] : []),
      ];
      return short.length > 0 ? `loses its connection by idle_timeout of ${short.join(" and ")}` : undefined;
    },
    next: 'Set idle_timeout to "5m", as RFC 5321 §4.5.3.2.7 asks, in [serve-submit] and [serve-out]',
  },
  {
    id: "setting.send_as",
    tried: "a login that may send in the name of another address",
    wrong: (config) => {
      const { serveSubmit } = config;
      // Dovecot has logins of its own.
      if (serveSubmit === undefined || serveSubmit.dovecotSocket !== undefined) return undefined;
      const logins = new Set<string>();
      for (const { address } of openMailboxes(config).all()) {
        logins.add(address.toLowerCase());
        logins.add(address.slice(0, address.lastIndexOf("@")).toLowerCase());
      }
      const unknown = Object.keys(serveSubmit.sendAs).filter((login) => !logins.has(login.toLowerCase()));
      return unknown.length > 0
        ? `${unknown.join(", ")}: there is no such mailbox that could log in`
        : undefined;
    },
    next: "Correct the name in [serve-submit.send_as]: a mailbox's address or its local part",
  },
  {
    id: "setting.no_reserve",
    tried: "a flood of mail that fills the disk",
    wrong: ({ serveIn, serveOut }) => {
      const none = [
        ...(serveIn.domains.length > 0 && serveIn.minFreeSpace < MIB ? ["[serve-in]"] : []),
        ...(serveOut.minFreeSpace < MIB ? ["[serve-out]"] : []),
      ];
      return none.length > 0
        ? `nothing is left for the log, the queue and other programs: min_free_space of ${none.join(" and ")}`
        : undefined;
    },
    next: 'Set min_free_space = "256MiB", the default',
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

/** Whether what is synced stays where the queue and the mailboxes are. */
async function disks(
  { dataDir, mailboxes, serveIn }: Config,
  { diskFindings }: Machine,
): Promise<Finding[]> {
  const paths = [dataDir, ...(serveIn.domains.length > 0 ? [mailboxes.path.replace(/\{.*/s, "")] : [])];
  const found = await Promise.all(paths.map(async (path) => {
    const tried = `mail in ${path}, after a restart of the machine`;
    const bad = (await diskFindings(path)).find(({ outcome }) => outcome === "failure");
    return bad === undefined
      ? ok("setting.disk", tried, "kept, by the file system's options")
      : warning("setting.disk", tried, {
        what: `${bad.subject} ${bad.what}`,
        next: bad.next ?? "mailapp prove DIRECTORY says more",
      });
  }));
  return found;
}
