/**
 * Which hosts take a domain's mail, in which order (RFC 5321 §5.1, RFC 7505).
 *
 * How it reports failure: `failed` only on an authoritative answer (no such domain, null MX, no usable address);
 * whatever may change (DNS not answering, targets on private networks) is `deferred`.
 *
 * @module
 */
import { isIP } from "node:net";
import { canonicalName } from "../dns/name.ts";
import type { NotedAnswers } from "../dns/noted_answers.ts";
import type { Answer, Resolver } from "../dns/resolver.ts";
import { addressScope, sameAddress } from "../net/ip_address.ts";
import type { Logger } from "../base/log.ts";
import { byPreference, interleave, searchBounds, shuffle } from "./target_order.ts";
import { SUBMISSIONS_PORT } from "../smtp/client.ts";
import type { EnhancedStatusCode } from "../smtp/reply.ts";
import type { AddressFamily } from "../net/address_family.ts";
import type { FamilyHealth } from "../net/family_health.ts";
import { stricterPolicy, type TlsPolicy } from "../net/tls_policy.ts";
import { showSts, stsFailure, type StsPolicies, underSts } from "./sts_rule.ts";
import type { Route, Target, Targets } from "./target.ts";
import type { PolicyAnswer } from "../mta_sts/policies.ts";

export type { Credentials, Route, Target, Targets } from "./target.ts";

/** One of our listening sockets. */
export interface OwnListener {
  /** An IP address; no wildcard. */
  readonly address: string;
  /** Its port. */
  readonly port: number;
}

/** What {@linkcode findTargets} depends on. */
export interface TargetOptions {
  /** Asks DNS. */
  readonly resolver: Resolver;
  /** Which addresses are used. */
  readonly family: AddressFamily;
  /** After a failed attempt: the family to begin with this time, if both are used. */
  readonly preferFamily?: 4 | 6;
  /** How many attempts there were before: with each, more hosts are looked at. */
  readonly earlier?: number;
  /** Whether the families work from here; one that does not goes last. */
  readonly health?: FamilyHealth;
  /** The port of MX hosts, 25. */
  readonly port: number;
  /** Whether MX may lead to loopback and private networks. Routes always may. */
  readonly allowPrivateTargets: boolean;
  /** Our own name; an MX of this name is ourselves. */
  readonly hostname: string;
  /** Where we listen, serve-in and serve-out; an MX there is ourselves. */
  readonly ownListeners: readonly OwnListener[];
  /** The domains of serve-in (lower case, A-labels) and where it listens; tried in order. */
  readonly local?: { readonly domains: ReadonlySet<string>; readonly listeners: readonly OwnListener[] };
  /** Routes by domain (lower case, A-labels), `"*"` for all others. */
  readonly routes: ReadonlyMap<string, Route>;
  /** TLS policies by domain; default `prefer`. For a domain named here MTA-STS is not used. */
  readonly tlsPolicy: ReadonlyMap<string, TlsPolicy>;
  /** Knows the MTA-STS policies; absent: none is looked for. */
  readonly stsPolicies?: StsPolicies;
  /** Draws from [0, 1), to shuffle equals. */
  readonly random: () => number;
  /** Takes unusual findings. */
  readonly logger: Logger;
  /**
   * Whether policies of the domain are left aside (`TLS-Required: No`, RFC 8689 §5); those of the configuration are
   * not.
   */
  readonly relaxed?: boolean;
  /** Gives up; the outcome is then `deferred`. */
  readonly signal?: AbortSignal;
  /** Takes the MTA-STS policy that was heeded; the answers of DNS are the resolver's to note. */
  readonly noted?: NotedAnswers;
}

const MAX_ADDRESSES_PER_HOST = 8;

/**
 * Finds the targets of a domain (lower case, A-labels, or an address literal such as `[192.0.2.1]`): serve-in's own
 * domains first, then routes, then MX, then the domain's own address. At most 32 targets of 16 hosts at first.
 */
export async function findTargets(domain: string, options: TargetOptions): Promise<Targets> {
  const configured = options.tlsPolicy.get(domain);
  const policy = configured ?? "prefer";
  if (options.local?.domains.has(domain)) return localTargets(options.local.listeners, policy, options);
  const route = options.routes.get(domain) ?? options.routes.get("*");
  if (route !== undefined) return await routeTargets(route, configured, options);
  if (domain.startsWith("[")) return literalTargets(domain, policy, options);
  const name = canonicalName(domain);
  if (name === undefined) return failed("5.1.2", `${domain} is not a domain name`);
  if (configured !== undefined || options.relaxed) {
    return await mxTargets(
      name,
      { kind: "configured", tls: policy, relaxed: configured === undefined },
      options,
    );
  }
  // Concurrently with the MX query, so that it adds no time.
  const asked = options.stsPolicies?.find(name, querySignal(options));
  const found = await mxTargets(name, asked, options);
  if (asked !== undefined) options.noted?.noteLine(showSts(await asked));
  if (found.kind !== "targets") return found;
  const failure = stsFailure(await asked);
  return failure === undefined ? found : { ...found, stsFailure: failure };
}

/** How a host is to be connected to: as the configuration says, or else as the domain's policy, once that is known. */
type Protection = Configured | PolicyAnswer | Promise<PolicyAnswer> | undefined;

interface Configured {
  readonly kind: "configured";
  readonly tls: TlsPolicy;
  readonly relaxed: boolean;
}

function protect(
  host: string,
  protection: Awaited<Protection>,
): Pick<Target, "tls" | "configured" | "relaxed" | "sts"> {
  return protection?.kind === "configured"
    ? { tls: protection.tls, ...(protection.relaxed ? { relaxed: true } : { configured: true }) }
    : underSts(host, protection);
}

function localTargets(listeners: readonly OwnListener[], tls: TlsPolicy, options: TargetOptions): Targets {
  const host = options.hostname;
  const targets = listeners.map(({ address, port }) =>
    target({ host, port, via: "local", tls, authenticated: false }, address)
  );
  return targets.length === 0
    ? deferred("4.3.5", "serve-in, whose domain this is, does not listen")
    : { kind: "targets", targets };
}

async function routeTargets(
  route: Route,
  configured: TlsPolicy | undefined,
  options: TargetOptions,
): Promise<Targets> {
  const port = route.port ?? options.port;
  const minimum = route.auth === undefined ? "prefer" : "verify";
  const tls = stricterPolicy(stricterPolicy(route.tls ?? "prefer", configured ?? "prefer"), minimum);
  const base: TargetBase = {
    host: route.host.toLowerCase(),
    port,
    via: "route",
    tls,
    ...(port === SUBMISSIONS_PORT && { implicitTls: true }),
    ...(configured !== undefined && { configured: true }),
    // The name comes from the configuration, and cannot be forged in DNS (RFC 7672 §2.2.2).
    authenticated: isIP(route.host) === 0,
    ...(route.auth && { auth: route.auth }),
  };
  if (isIP(route.host) !== 0) return { kind: "targets", targets: [target(base, route.host)] };
  const found = await hostTargets(route.host, base, options);
  if (found.targets.length > 0) return { kind: "targets", targets: found.targets };
  // A route comes from the configuration: a mistake in it is not the sender's.
  const { status, reason } = found.deferral ?? { status: "4.3.5", reason: found.nothing };
  return deferred(status, `route: ${reason}`);
}

function literalTargets(domain: string, tls: TlsPolicy, options: TargetOptions): Targets {
  const address = /^\[(?:ipv6:(?=[^\]]*:))?([0-9a-f.:]+)\]$/i.exec(domain)?.[1] ?? "";
  if (isIP(address) === 0) return failed("5.1.3", `${domain} is not an address literal`);
  if (isOwn(address, options.port, options)) return failed("5.4.6", `${domain} is this very server`);
  if (!options.allowPrivateTargets && addressScope(address) !== "public") {
    return deferred("4.4.4", `${domain} is ${describeScope(address)}`);
  }
  const base: TargetBase = {
    host: address,
    port: options.port,
    via: "literal",
    tls,
    authenticated: false,
  };
  return { kind: "targets", targets: [target(base, address)] };
}

async function mxTargets(name: string, asked: Protection, options: TargetOptions): Promise<Targets> {
  const { resolver, logger } = options;
  const answer = await resolver.mx(name, { ...querySignal(options), shared: true });
  switch (answer.kind) {
    case "failed":
      return deferred("4.4.3", `MX of ${name}: ${answer.reason}`);
    case "no-such-name":
      return failed("5.1.2", `the domain ${name} does not exist`);
    case "none":
      return await implicitTargets(name, await asked, options);
    case "found":
  }
  const records = answer.records.filter((record) => record.exchange !== ".");
  if (records.length === 0) {
    return failed("5.1.10", `${name} accepts no mail (null MX)`);
  }
  if (records.length < answer.records.length) logger.warn("mx.null_among_others", { domain: name });
  const protection = await asked;

  const found: Target[] = [];
  const reasons: string[] = [];
  let deferral: Deferral | undefined;
  let hosts = 0;
  let loop = false;
  const { maxHosts, maxTargets } = searchBounds(options.earlier);
  const { groups, omitted } = byPreference(records, options.random);
  for (const [rank, group] of groups.entries()) {
    const results: HostTargets[] = [];
    for (const waiting = [...group]; waiting.length > 0 && hosts < maxHosts;) {
      const some = await Promise.all(
        waiting.splice(0, maxHosts - hosts).map(({ exchange: host }) => {
          const { authenticated } = answer;
          const base: TargetBase = {
            host,
            port: options.port,
            via: "mx",
            authenticated,
            policyDomain: name,
            ...protect(host, protection),
            ...(rank > 0 && { rank }),
          };
          return hostTargets(host, base, options);
        }),
      );
      results.push(...some);
      // An authoritatively missing host does not count: only when all are missing is there no way.
      hosts += some.filter((result) => result.nothing === undefined).length;
    }
    // This server is among these, so they and all later ones would only send it back (§5.1).
    if (group.some((record) => isOwnName(record.exchange, options)) || results.some((result) => result.own)) {
      loop = true;
      break;
    }
    for (const result of results) {
      found.push(...result.targets);
      if (result.targets.length > 0) continue;
      deferral ??= result.deferral;
      if (result.nothing !== undefined) reasons.push(result.nothing);
    }
    if (found.length >= maxTargets || hosts >= maxHosts) break;
  }
  if (found.length > 0) return { kind: "targets", targets: found.slice(0, maxTargets) };
  if (deferral !== undefined) return deferred(deferral.status, deferral.reason);
  if (loop) {
    return failed("5.4.6", `the best MX of ${name} is this very server, which does not have the domain`);
  }
  const reason = `no MX of ${name} can be used: ${reasons.slice(0, 3).join("; ")}`;
  return omitted === 0
    ? failed("5.4.4", reason)
    : deferred("4.4.4", `${reason}; ${omitted} more have not been looked at in this attempt`);
}

async function implicitTargets(
  name: string,
  protection: Awaited<Protection>,
  options: TargetOptions,
): Promise<Targets> {
  const base: TargetBase = {
    host: name,
    port: options.port,
    via: "implicit",
    authenticated: true,
    policyDomain: name,
    ...protect(name, protection),
  };
  const found = await hostTargets(name, base, options);
  if (found.own || isOwnName(name, options)) {
    return failed("5.4.6", `${name} is this very server, which does not have the domain`);
  }
  if (found.targets.length > 0) return { kind: "targets", targets: found.targets };
  if (found.deferral !== undefined) return deferred(found.deferral.status, found.deferral.reason);
  return failed("5.4.4", `${name} has no MX, and ${found.nothing}`);
}

type TargetBase = Omit<Target, "address" | "family">;

/** Why something cannot be used now. */
interface Deferral {
  readonly status: EnhancedStatusCode;
  readonly reason: string;
}

/**
 * What a host's name resolves to. Without targets, `deferral` says what may change, `nothing` what DNS says for
 * certain.
 */
interface HostTargets {
  readonly targets: readonly Target[];
  readonly deferral?: Deferral;
  readonly nothing?: string;
  /** One of the addresses is ours. */
  readonly own?: boolean;
}

async function hostTargets(host: string, base: TargetBase, options: TargetOptions): Promise<HostTargets> {
  const { resolver, family, logger } = options;
  if (isIP(host) !== 0) return { targets: [], nothing: `${host} is an address, not a name` };
  if (canonicalName(host) === undefined) return { targets: [], nothing: "its name is not a host name" };
  const none: Answer<string> = { kind: "none", authenticated: false };
  const signal = querySignal(options);
  const ask = (how: { signal?: AbortSignal; quick?: boolean }) =>
    Promise.all([
      family === "ipv4" ? none : resolver.aaaa(host, how),
      family === "ipv6" ? none : resolver.a(host, how),
    ]);
  let [ipv6, ipv4] = await ask({ ...signal, quick: true });
  // With one address, it does not matter why the other family has none.
  if (ipv6.kind !== "found" && ipv4.kind !== "found") [ipv6, ipv4] = await ask(signal);
  const addresses = interleave(
    addressesOf(ipv6, options.random),
    addressesOf(ipv4, options.random),
    firstFamily(options),
  );
  if (base.via !== "route") {
    if (addresses.some((address) => isOwn(address, base.port, options))) return { targets: [], own: true };
    const allowed = addresses.filter((address) =>
      options.allowPrivateTargets || addressScope(address) === "public"
    );
    const refused = addresses.find((address) => !allowed.includes(address));
    if (refused !== undefined) {
      const reason = `${host} has the address ${refused}, which is ${describeScope(refused)}`;
      logger.warn("mx.private_target", { host, address: refused });
      if (allowed.length === 0) return { targets: [], deferral: { status: "4.4.4", reason } };
      addresses.splice(0, addresses.length, ...allowed);
    }
  }
  if (addresses.length > 0) {
    const found = [ipv6, ipv4].filter((answer) => answer.kind === "found");
    const signed = found.every((answer) => answer.authenticated);
    const expanded = found.find((answer) => answer.expanded !== undefined)?.expanded;
    // The target of an alias in a signed zone need not be signed: TLSA records may be at the alias (RFC 7672 §2.2.2).
    const alias = base.authenticated && !signed && expanded !== undefined
      ? await resolver.cname(host, signal)
      : none;
    if (alias.kind === "failed") {
      return { targets: [], deferral: { status: "4.4.3", reason: `alias of ${host}: ${alias.reason}` } };
    }
    const secured = {
      ...base,
      authenticated: base.authenticated && (signed || alias.authenticated),
      ...(signed && expanded !== undefined && { expanded }),
    };
    const some = addresses.slice(0, MAX_ADDRESSES_PER_HOST);
    return { targets: some.map((address) => target(secured, address)) };
  }
  const failure = [ipv6, ipv4].find((answer) => answer.kind === "failed");
  if (failure?.kind === "failed") {
    return { targets: [], deferral: { status: "4.4.3", reason: `address of ${host}: ${failure.reason}` } };
  }
  if (family === "ipv4" || family === "ipv6") {
    const other = family === "ipv4" ? await resolver.aaaa(host, signal) : await resolver.a(host, signal);
    // Our own setting is in the way, and may be changed.
    if (other.kind === "found" || other.kind === "failed") {
      const reason = `${host} has no ${family} address, and no others are used here (family)`;
      return { targets: [], deferral: { status: "4.4.4", reason } };
    }
  }
  return { targets: [], nothing: `${host} has no address` };
}

function firstFamily({ family, preferFamily, health }: TargetOptions): 4 | 6 {
  if (preferFamily !== undefined) return preferFamily;
  const [first, other] = family === "ipv4-first" ? [4, 6] as const : [6, 4] as const;
  return health?.suspect(first) && !health.suspect(other) ? other : first;
}

function addressesOf(answer: Answer<string>, random: () => number): string[] {
  return answer.kind === "found" ? shuffle(answer.records, random) : [];
}

function target(base: TargetBase, address: string): Target {
  return { ...base, address, family: isIP(address) === 6 ? 6 : 4 };
}

function isOwnName(host: string, options: TargetOptions): boolean {
  return host === canonicalName(options.hostname);
}

function isOwn(address: string, port: number, options: TargetOptions): boolean {
  // A published loopback address means no reachable server, even if one of ours listens there.
  if (!options.allowPrivateTargets && addressScope(address) === "loopback") return false;
  return options.ownListeners.some((own) => own.port === port && sameAddress(own.address, address));
}

function describeScope(address: string): string {
  return `${addressScope(address)} and not in the public Internet (allow_private_targets is off)`;
}

function querySignal(options: TargetOptions): { signal?: AbortSignal } {
  return options.signal === undefined ? {} : { signal: options.signal };
}

function failed(status: EnhancedStatusCode, reason: string): Targets {
  return { kind: "failed", status, reason };
}

function deferred(status: EnhancedStatusCode, reason: string): Targets {
  return { kind: "deferred", status, reason };
}
