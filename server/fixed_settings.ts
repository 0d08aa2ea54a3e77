/**
 * The settings that a reload cannot change, since a running server keeps its sockets and directories, and its
 * grants are fixed at its start.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { intakeThreads } from "./dialogues/count.ts";
import { intakeGrants } from "./dialogues/intake_grants.ts";
import { asksDns, dnsGrants, RESOLV_CONF } from "./dns_parts.ts";
import { filterGrants, type Grants, isWithin, PASSWD_FILE, unreachable, unreadable } from "./grants.ts";
import type { FixedSetting } from "./reload.ts";
import type { ServerStart } from "./server_start.ts";

/** Settings of every server that need a restart. */
const COMMON_FIXED: readonly FixedSetting[] = [
  { key: "hostname", paths: [["hostname"]] },
  { key: "data_dir", paths: [["dataDir"]] },
  { key: "log.file", paths: [["log", "file"]] },
  { key: "log.format", paths: [["log", "format"]] },
  { key: "metrics", paths: [["metrics"]] },
  { key: "alerts", paths: [["alerts"]] },
];

/** The fixed settings of serve-in. */
export function serveInFixed({ grants, config }: Pick<ServerStart, "grants" | "config">): FixedSetting[] {
  const { checks } = config.serveIn;
  const ownChecks = Object.keys(checks).filter((key) => key !== "filters");
  return [
    ...COMMON_FIXED,
    { key: "tls", paths: [["tls"]] },
    {
      key: "dns",
      paths: [["dns"]],
      beyond: (next) => asksDns(config) ? beyondDns(grants, next) : undefined,
    },
    { key: "serve-in.listen", paths: [["serveIn", "listen"]] },
    { key: "serve-in.port", paths: [["serveIn", "port"]] },
    { key: "serve-in.threads", paths: [["serveIn", "threads"]] },
    {
      key: "serve-in.checks.filter",
      paths: [["serveIn", "checks", "filters"]],
      beyond: (next) => unreachable(grants, filterGrants(next).net),
    },
    {
      key: "serve-in.checks",
      paths: ownChecks.map((key) => ["serveIn", "checks", key]),
      // A server that was started without DNS has no grant for it.
      beyond: (next) => asksDns(next) && !asksDns(config) ? beyondDns(grants, next) : undefined,
    },
    { key: "serve-in.tls_port", paths: [["serveIn", "tlsPort"]] },
    {
      key: "mailboxes",
      // Local users and their Maildirs change together.
      paths: [["mailboxes"], ["serveIn", "domains"]],
      beyond: ({ mailboxes: { path, users } }) =>
        !grants.write.some((granted) => isWithin(path, granted))
          ? path
          : users === "system"
          ? unreadable(grants, [PASSWD_FILE])
          : undefined,
    },
  ];
}

/** The DNS servers of a configuration that the grants do not cover. */
function beyondDns(grants: Grants, { dns }: Config): string | undefined {
  const { net, read } = dnsGrants({ dns }, dns.servers);
  return unreadable(grants, read) ?? unreachable(grants, net);
}

/** The fixed settings of serve-submit. */
export function serveSubmitFixed(grants: Grants): FixedSetting[] {
  return [
    ...COMMON_FIXED,
    { key: "tls", paths: [["tls"]] },
    { key: "serve-submit.listen", paths: [["serveSubmit", "listen"]] },
    { key: "serve-submit.port", paths: [["serveSubmit", "port"]] },
    { key: "serve-submit.tls_port", paths: [["serveSubmit", "tlsPort"]] },
    {
      key: "serve-submit.accounts_file",
      paths: [["serveSubmit", "accountsFile"], ["serveSubmit", "dovecotSocket"]],
    },
    // The only address that it may connect to.
    { key: "serve-out.listen", paths: [["serveOut", "listen"]] },
    { key: "serve-out.port", paths: [["serveOut", "port"]] },
    {
      key: "mailboxes.users",
      paths: [["mailboxes"], ["serveIn", "domains"]],
      beyond: ({ mailboxes: { users } }) =>
        users === "system" ? unreadable(grants, [PASSWD_FILE]) : undefined,
    },
  ];
}

/** The fixed settings of serve-policy. */
export function servePolicyFixed(): FixedSetting[] {
  return [
    ...COMMON_FIXED,
    { key: "tls", paths: [["tls"]] },
    { key: "serve-policy", paths: [["servePolicy"]] },
  ];
}

/** The fixed settings of serve-out. */
export function serveOutFixed({ grants, config }: Pick<ServerStart, "grants" | "config">): FixedSetting[] {
  // Whoever signs reads the keys.
  const signing = intakeThreads(config) > 1 ? intakeGrants(config, []) : grants;
  return [
    ...COMMON_FIXED,
    { key: "serve-out.listen", paths: [["serveOut", "listen"]] },
    { key: "serve-out.port", paths: [["serveOut", "port"]] },
    { key: "serve-out.threads", paths: [["serveOut", "threads"]] },
    { key: "queue", paths: [["queue"]] },
    // serve-in keeps its listeners until it is restarted.
    { key: "serve-in.listen", paths: [["serveIn", "listen"]] },
    { key: "serve-in.port", paths: [["serveIn", "port"]] },
    {
      key: "serve-out.routes",
      paths: [["serveOut", "routes"]],
      beyond: ({ serveOut: { routes } }) =>
        unreadable(grants, Object.values(routes).flatMap(({ login }) => login?.passwordFile ?? [])),
    },
    {
      key: "dkim",
      paths: [["dkim"]],
      beyond: ({ dkim }) => unreadable(signing, Object.values(dkim).flat().map(({ keyFile }) => keyFile)),
    },
    {
      key: "dns.servers",
      paths: [["dns"]],
      beyond: ({ dns: { servers } }) => servers.length > 0 ? undefined : unreadable(grants, [RESOLV_CONF]),
    },
  ];
}
