/**
 * Checks of keys across several tables.
 *
 * @module
 */
import { isIP } from "node:net";
import type {
  AlertsConfig,
  DashboardConfig,
  DkimConfig,
  DnsConfig,
  LogConfig,
  MailboxesConfig,
  MetricsConfig,
  MtaStsConfig,
  QueueConfig,
  ServeInConfig,
  ServeOutConfig,
  ServePolicyConfig,
  ServeSubmitConfig,
  TlsConfig,
} from "./config.ts";

/** Something wrong in the file: where, what, and the value where it is one key's. */
export interface ConfigProblem {
  /** The key, from the top of the file. */
  readonly path: readonly PropertyKey[];
  /** What is allowed, or what to do. */
  readonly problem: string;
  /** The value as it was read. */
  readonly value?: unknown;
}

/** The valid tables; the others are `undefined`. */
export interface Sections {
  /** `[log]` */
  readonly log: LogConfig | undefined;
  /** `[tls]` */
  readonly tls: TlsConfig | undefined;
  /** `[dns]` */
  readonly dns: DnsConfig | undefined;
  /** `[serve-in]` */
  readonly "serve-in": ServeInConfig | undefined;
  /** `[mailboxes]` */
  readonly mailboxes: MailboxesConfig | undefined;
  /** `[serve-out]` */
  readonly "serve-out": ServeOutConfig | undefined;
  /** `[serve-submit]`; `undefined` also where it is not there */
  readonly "serve-submit": ServeSubmitConfig | undefined;
  /** `[serve-policy]`, as `[serve-submit]` */
  readonly "serve-policy": ServePolicyConfig | undefined;
  /** `[mta_sts]`; `undefined` also where neither it nor `[serve-policy]` is there */
  readonly mta_sts: MtaStsConfig | undefined;
  /** `[dkim]` */
  readonly dkim: Readonly<Record<string, readonly DkimConfig[]>> | undefined;
  /** `[queue]` */
  readonly queue: QueueConfig | undefined;
  /** `[alerts]` */
  readonly alerts: AlertsConfig | undefined;
  /** `[metrics]` */
  readonly metrics: MetricsConfig | undefined;
  /** `[dashboard]` */
  readonly dashboard: Omit<DashboardConfig, "installed"> | undefined;
}

/**
 * Errors and warnings between keys; an invalid table is skipped. Whether users
 * and aliases make sense is for `maildir/` to say.
 */
export function checkTogether(sections: Sections): { errors: ConfigProblem[]; warnings: ConfigProblem[] } {
  const { mailboxes, "serve-in": serveIn, "serve-out": serveOut } = sections;
  return {
    errors: [
      ...checkPorts(serveIn),
      ...checkDane(sections),
      ...checkSendAs(sections),
      ...checkChallenge(sections),
    ],
    warnings: [...checkUsers(mailboxes, serveIn), ...checkExpiry(serveOut)],
  };
}

function checkPorts(serveIn: ServeInConfig | undefined): ConfigProblem[] {
  if (serveIn === undefined || serveIn.tlsPort === 0 || serveIn.tlsPort !== serveIn.port) return [];
  const problem = "must differ from port, where the dialogue begins without TLS";
  return [{ path: ["serve-in", "tls_port"], value: serveIn.tlsPort, problem }];
}

function checkUsers(
  mailboxes: MailboxesConfig | undefined,
  serveIn: ServeInConfig | undefined,
): ConfigProblem[] {
  if (mailboxes === undefined || serveIn === undefined || mailboxes.users === "system") return [];
  return mailboxes.users.flatMap((user, index) => {
    const at = user.lastIndexOf("@");
    if (at === -1 || serveIn.domains.includes(user.slice(at + 1))) return [];
    const problem = "is reached only by aliases: its domain is not one of [serve-in] domains";
    return [{ path: ["mailboxes", "users", index], value: user, problem }];
  });
}

/** A message is given up at an attempt that fails after its time: it needs time for some. */
function checkExpiry(serveOut: ServeOutConfig | undefined): ConfigProblem[] {
  const [first = 0] = serveOut?.retryMs ?? [];
  if (serveOut === undefined || serveOut.expireAfterMs > first) return [];
  const problem =
    "is not longer than the first step of retry: a message that is put off once, as by greylisting, " +
    "is returned to its sender when the second attempt fails";
  return [{ path: ["serve-out", "expire_after"], problem }];
}

/** TLS-ALPN-01 is answered on port 443 of the policy hosts, too. */
function checkChallenge({ tls, "serve-policy": servePolicy }: Sections): ConfigProblem[] {
  const value = tls?.acme?.challenge;
  if (value !== "tls-alpn-01" || servePolicy?.port !== 443) return [];
  const problem = 'needs port 443, which serve-policy has: use "http-01" or "dns-01"';
  return [{ path: ["tls", "acme", "challenge"], value, problem }];
}

/** A bare name in `send_as` takes its domain from `[serve-in]`. */
function checkSendAs({ "serve-in": serveIn, "serve-submit": serveSubmit }: Sections): ConfigProblem[] {
  if (serveIn === undefined || serveIn.domains.length > 0) return [];
  return Object.keys(serveSubmit?.sendAs ?? {}).filter((login) => !login.includes("@")).map((login) => ({
    path: ["serve-submit", "send_as", login],
    problem: "must be a whole address: [serve-in] domains is empty, from which a bare name has its domain",
  }));
}

function checkDane({ dns, "serve-in": serveIn, "serve-out": serveOut }: Sections): ConfigProblem[] {
  if (serveOut === undefined) return [];
  const { tlsPolicy, routes } = serveOut;
  const wanted = [
    ...Object.entries(tlsPolicy).map(([domain, value]) => ({
      path: ["serve-out", "tls_policy", domain],
      value,
      route: routes[domain] ?? routes["*"],
      local: serveIn?.domains.includes(domain),
    })),
    ...Object.entries(routes).map(([domain, route]) => ({
      path: ["serve-out", "routes", domain, "tls"],
      value: route.tls,
      route,
      local: false,
    })),
  ];
  return wanted.filter(({ value }) => value === "dane").flatMap(({ path, value, route, local }) => {
    if (local) {
      const problem =
        "needs another policy: mail for a domain of [serve-in] goes straight to serve-in, for which " +
        "DNSSEC names no certificate";
      return [{ path, value, problem }];
    }
    const problems: string[] = [];
    if (dns?.dnssec === false) {
      problems.push("needs [dns] dnssec = true: DANE is only as good as validated answers");
    }
    if (route !== undefined && isIP(route.host) !== 0) {
      problems.push(`needs a host name in the route: DNSSEC names no certificate for ${route.host}`);
    }
    return problems.map((problem) => ({ path, value, problem }));
  });
}
