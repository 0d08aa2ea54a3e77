/**
 * The tables of the configuration file: each key, its default as written in the file, and what it may be.
 * What concerns several keys at once is in `checks.ts`.
 *
 * @module
 */
import * as z from "zod";
import type {
  DkimConfig,
  DnsConfig,
  LogConfig,
  MailboxesConfig,
  RouteConfig,
  ServeInConfig,
  ServeOutConfig,
  TlsConfig,
} from "./config.ts";
import { alerts } from "./alerts.ts";
import { dashboard } from "./dashboard.ts";
import { ADDRESS_FAMILIES } from "../net/address_family.ts";
import { acme } from "./acme.ts";
import { queue } from "./queue.ts";
import { mailChecks } from "./mail_checks.ts";
import { metrics } from "./metrics.ts";
import { mtaSts, servePolicy } from "./own_policy.ts";
import { serveSubmit } from "./submission.ts";
import {
  isLoopback,
  parseDomain,
  parseFullyQualified,
  parseIp,
  parseLocalPartOrAddress,
  parsePort,
  splitHostPort,
} from "./names.ts";
import {
  absolute,
  byName,
  DAY,
  domain,
  duration,
  flag,
  integer,
  list,
  listen,
  logFile,
  noControls,
  oneOf,
  path,
  pathOrEmpty,
  port,
  size,
  table,
  targetPort,
  tlsPolicy,
  value,
} from "./values.ts";

/** The top level, apart from the tables. */
export const top = {
  hostname: value('a fully qualified name, such as "mx.example.com"', parseFullyQualified).optional(),
  data_dir: path.prefault("/var/lib/mailapp"),
};

const log = table({
  level: oneOf("error", "warn", "info", "debug", "trace").prefault("info"),
  format: oneOf("auto", "text", "json").prefault("auto"),
  file: logFile.prefault(""),
}).transform(({ level, format, file }): LogConfig => ({ level, format, ...(file !== "" && { file }) }));

const tls = table({
  cert: pathOrEmpty.prefault(""),
  key: pathOrEmpty.prefault(""),
  self_signed: flag.prefault(false),
  acme: acme.optional(),
}).transform(({ cert, key, self_signed, acme }, context): TlsConfig => {
  const problem = (name: string, message: string) =>
    context.issues.push({ code: "custom", message, input: undefined, path: [name] });
  if (cert !== "" && key === "") problem("key", "must be set as well, since cert is");
  if (cert === "" && key !== "") problem("cert", "must be set as well, since key is");
  if (self_signed && (cert !== "" || key !== "")) {
    problem("self_signed", "must be false where cert and key are set");
  }
  if (acme !== undefined && (self_signed || cert !== "" || key !== "")) {
    problem(
      "acme",
      "cannot be combined with cert, key or self_signed: it obtains and renews the certificate itself",
    );
  }
  return {
    selfSigned: self_signed,
    ...(acme && { acme }),
    ...(cert !== "" && { certificate: { certFile: cert, keyFile: key } }),
  };
});

const dns = table({
  servers: list(
    value('an IP address with or without a port, such as "127.0.0.1:5353"', (input) => {
      if (typeof input !== "string") return undefined;
      const { host, port = 53 } = splitHostPort(input);
      const address = parseIp(host);
      return address === undefined || parsePort(port, { min: 1 }) === undefined
        ? undefined
        : { address, port };
    }),
    "IP addresses",
  ).prefault([]),
  dnssec: flag.prefault(false),
}).transform(({ servers, dnssec }): DnsConfig => ({ servers, dnssec }));

const threads = value(
  '"auto" or a whole number from 1 to 32',
  (input): number | "auto" | undefined =>
    input === "auto" || Number.isInteger(input) && Number(input) >= 1 && Number(input) <= 32
      ? input as number | "auto"
      : undefined,
).prefault("auto");

const serveIn = table({
  listen: listen.prefault("auto"),
  port: port.prefault(25),
  tls_port: value(
    "a port, 0 to 65535, or false for none",
    (input): number | false | undefined => input === false ? false : parsePort(input),
  ).prefault(465),
  domains: list(domain, "domains").prefault([]),
  max_message_size: size(1).prefault("50MiB"),
  max_recipients: integer(1, 100_000).prefault(100),
  max_connections: integer(1, 100_000).prefault(1000),
  max_connections_per_ip: integer(1, 100_000).prefault(50),
  idle_timeout: duration(DAY).prefault("5m"),
  min_free_space: size(0).prefault("256MiB"),
  threads,
  checks: mailChecks.prefault({}),
}).transform((table): ServeInConfig => ({
  listen: table.listen,
  port: table.port,
  tlsPort: table.tls_port,
  domains: [...new Set(table.domains)],
  maxMessageSize: table.max_message_size,
  maxRecipients: table.max_recipients,
  maxConnections: table.max_connections,
  maxConnectionsPerIp: Math.min(table.max_connections_per_ip, table.max_connections),
  idleTimeoutMs: table.idle_timeout,
  minFreeSpace: table.min_free_space,
  threads: table.threads,
  checks: table.checks,
}));

const userOrAddress = value(
  'a local-part or a whole address, such as "alice" or "bob@example.net"',
  parseLocalPartOrAddress,
);

const users = z.unknown().transform((input, context): readonly string[] | "system" => {
  if (input === "system") return input;
  if (Array.isArray(input)) {
    const { data, error } = z.array(userOrAddress).safeParse(input);
    if (data !== undefined) return [...new Set(data)];
    for (const { message, path } of error.issues) {
      context.issues.push({ code: "custom", message, input: input[Number(path[0])], path: [...path] });
    }
    return z.NEVER;
  }
  context.issues.push({ code: "custom", message: 'must be a list such as ["alice"], or "system"', input });
  return z.NEVER;
});

const aliasTargets = z.preprocess(
  (input) => typeof input === "string" ? [input] : input,
  z.array(userOrAddress, { error: "must be a mailbox or a list of mailboxes" }).min(
    1,
    "must name at least one mailbox",
  ),
);

const mailboxes = table({
  path: value(
    "an absolute path with {user} in it, and no placeholders but {domain} and {user}",
    (input) => {
      const text = absolute(input);
      if (text === undefined || !text.includes("{user}")) return undefined;
      return /[{}]/.test(text.replaceAll("{user}", "").replaceAll("{domain}", "")) ? undefined : text;
    },
  ).prefault("/var/mail/{domain}/{user}"),
  users: users.prefault([]),
  subaddress_separator: value(
    'one character of punctuation, such as "+", or "" for none',
    (input) => typeof input === "string" && /^[!#$%&'*+/=?^_`{|}~-]?$/.test(input) ? input : undefined,
  ).prefault("+"),
  aliases: byName(
    'a local-part, a whole address or "*"',
    parseLocalPartOrAddress,
    aliasTargets,
  ).prefault({}),
  junk_folder: value(
    'a folder of the Maildir, such as "Junk" or "Spam.mailapp", of ASCII letters, digits, space, "-" and "_", ' +
      'or "" for none',
    (input) =>
      typeof input === "string" && input.length <= 100 && /^(?:[\w -]+(?:\.[\w -]+)*)?$/.test(input)
        ? input
        : undefined,
  ).prefault("Junk"),
}).transform(({ path, users, subaddress_separator, aliases, junk_folder }): MailboxesConfig => ({
  path,
  users,
  subaddressSeparator: subaddress_separator,
  aliases,
  ...(junk_folder !== "" && { junkFolder: junk_folder }),
}));

const routeHost = value(
  'a host name or an IP address, such as "smtp.example.net"',
  (input) => parseIp(input) ?? parseDomain(input),
);

/** Before the port of target servers, the default, is known. */
type Route = Omit<RouteConfig, "port"> & { readonly port?: number };

const route = z.preprocess(
  (input) => typeof input === "string" ? splitHostPort(input) : input,
  table({
    host: routeHost,
    port: targetPort.optional(),
    tls: tlsPolicy.optional(),
    user: value("a name", (input) => noControls(input) && input !== "" ? input : undefined).optional(),
    password_file: path.optional(),
  }, '"host:port" or a table with host'),
).transform(({ host, port, tls, user, password_file }, context): Route => {
  const problem = (name: string, message: string) =>
    context.issues.push({ code: "custom", message, input: undefined, path: [name] });
  const rest = { host, ...(port !== undefined && { port }) };
  if (user !== undefined && password_file !== undefined) {
    if (tls === "prefer") problem("tls", 'must be "require", "verify" or "dane", since a password is sent');
    return { ...rest, tls: tls ?? "verify", login: { user, passwordFile: password_file } };
  }
  if (user !== undefined) problem("password_file", "must be set as well, since user is");
  if (password_file !== undefined) problem("user", "must be set as well, since password_file is");
  return { ...rest, tls: tls ?? "prefer" };
});

const serveOut = table({
  listen: list(
    value('a loopback address, "127.0.0.1" or "::1": serve-out relays for whoever can reach it', (input) => {
      const address = parseIp(input);
      return address !== undefined && isLoopback(address) ? address : undefined;
    }),
    "loopback addresses",
  ).min(1, "must have at least one address").prefault(["127.0.0.1", "::1"]),
  port: port.prefault(25),
  qualify_domain: value(
    'a domain, or "" for the first of [serve-in] domains',
    (input) => input === "" ? "" : parseDomain(input),
  )
    .prefault(""),
  max_message_size: size(1).prefault("50MiB"),
  max_recipients: integer(1, 100_000).prefault(1000),
  max_connections: integer(1, 100_000).prefault(200),
  idle_timeout: duration(DAY).prefault("5m"),
  min_free_space: size(0).prefault("256MiB"),
  threads,
  family: oneOf(...ADDRESS_FAMILIES).prefault("auto"),
  source_ipv4: value(
    'an IPv4 address, or "" for the system\'s choice',
    (input) =>
      input === "" || !String(input).includes(":") && parseIp(input) !== undefined
        ? String(input)
        : undefined,
  ).prefault(""),
  source_ipv6: value('an IPv6 address, or "" for the system\'s choice', (input) => {
    const address = input === "" ? "" : parseIp(input);
    return address === "" || address?.includes(":") ? address : undefined;
  }).prefault(""),
  smtp_port: targetPort.prefault(25),
  allow_private_targets: flag.prefault(false),
  retry: list(duration(30 * DAY), "durations").min(1, "must have at least one duration")
    .prefault(["1m", "5m", "15m", "30m", "1h", "2h", "4h"]),
  expire_after: duration(100 * DAY).prefault("5d"),
  delay_notice_after: duration(100 * DAY).prefault("4h"),
  keep_undeliverable: duration(1000 * DAY).prefault("30d"),
  max_undeliverable: integer(1, 10_000).prefault(1000),
  max_connections_per_host: integer(1, 1000).prefault(5),
  mta_sts: flag.prefault(true),
  show_account: flag.prefault(true),
  tls_reports: flag.prefault(true),
  timeouts: table({
    connect: duration(DAY).prefault("30s"),
    command: duration(DAY).prefault("5m"),
    data: duration(DAY).prefault("3m"),
    data_end: duration(DAY).prefault("10m"),
  }).prefault({}),
  routes: byName('a domain or "*"', domainOrStar, route).prefault({}),
  tls_policy: byName("a domain", parseDomain, tlsPolicy).prefault({}),
}).transform((table): ServeOutConfig => ({
  listen: [...new Set(table.listen)],
  port: table.port,
  qualifyDomain: table.qualify_domain,
  maxMessageSize: table.max_message_size,
  maxRecipients: table.max_recipients,
  maxConnections: table.max_connections,
  idleTimeoutMs: table.idle_timeout,
  minFreeSpace: table.min_free_space,
  threads: table.threads,
  family: table.family,
  ...(table.source_ipv4 !== "" && { sourceIpv4: table.source_ipv4 }),
  ...(table.source_ipv6 !== "" && { sourceIpv6: table.source_ipv6 }),
  smtpPort: table.smtp_port,
  allowPrivateTargets: table.allow_private_targets,
  retryMs: table.retry,
  expireAfterMs: table.expire_after,
  delayNoticeAfterMs: table.delay_notice_after,
  keepUndeliverableMs: table.keep_undeliverable,
  maxUndeliverable: table.max_undeliverable,
  maxConnectionsPerHost: table.max_connections_per_host,
  timeouts: {
    connectMs: table.timeouts.connect,
    commandMs: table.timeouts.command,
    dataMs: table.timeouts.data,
    dataEndMs: table.timeouts.data_end,
  },
  routes: Object.fromEntries(
    Object.entries(table.routes).map((
      [name, route],
    ) => [name, { ...route, port: route.port ?? table.smtp_port }]),
  ),
  mtaSts: table.mta_sts,
  showAccount: table.show_account,
  tlsReports: table.tls_reports,
  tlsPolicy: table.tls_policy,
}));

function domainOrStar(name: string): string | undefined {
  return name === "*" ? name : parseDomain(name);
}

const dkimKey = table({
  selector: value('a selector, such as "s2026"', parseDomain),
  key: path,
}, "a table with selector and key, or a list of such tables").transform((
  { selector, key },
): DkimConfig => ({ selector, keyFile: key }));

/** RSA and Ed25519, each old and new: more would only make messages longer. */
const MAX_DKIM_KEYS = 4;

/** One key as a table, several as a list of tables. */
const dkimKeys = z.unknown().transform((input, context): readonly DkimConfig[] => {
  const single = !Array.isArray(input);
  const keys: DkimConfig[] = [];
  for (const [index, item] of (single ? [input] : input).entries()) {
    const { data, error } = dkimKey.safeParse(item);
    const at = single ? [] : [index];
    for (const issue of error?.issues ?? []) {
      context.issues.push({ ...issue, path: [...at, ...issue.path], input: item });
    }
    if (data === undefined) continue;
    if (keys.some(({ selector }) => selector === data.selector)) {
      const message = "must differ from the selectors of the other keys: a selector names one key";
      context.issues.push({ code: "custom", message, input, path: [...at, "selector"] });
    }
    keys.push(data);
  }
  if (!single && (input.length === 0 || input.length > MAX_DKIM_KEYS)) {
    context.issues.push({ code: "custom", message: `must have 1 to ${MAX_DKIM_KEYS} keys`, input });
  }
  return context.issues.length > 0 ? z.NEVER : keys;
});

const dkim = byName("a domain", parseDomain, dkimKeys);

/** The tables, by the name of each in the file. */
export const tables = {
  log,
  tls,
  dns,
  "serve-in": serveIn,
  mailboxes,
  "serve-out": serveOut,
  "serve-submit": serveSubmit,
  "serve-policy": servePolicy,
  mta_sts: mtaSts,
  queue,
  dkim,
  metrics,
  dashboard,
  alerts,
};
