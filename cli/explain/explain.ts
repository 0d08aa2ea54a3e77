/**
 * `mailapp explain`: how mail to an address would be handled, without sending any.
 *
 * @module
 */
import type { Command } from "commander";
import type { Config } from "../../config/config.ts";
import { loadConfig } from "../../config/load.ts";
import { silentLogger } from "../../base/log.ts";
import { ControlError, type DomainAnswer, type RouteAnswer } from "../../relay/control_protocol.ts";
import type { TlsPolicy } from "../../net/tls_policy.ts";
import type { PolicyMode } from "../../mta_sts/policy.ts";
import type { StsFailure } from "../../relay/sts_rule.ts";
import type { Target, Targets } from "../../relay/mx.ts";
import { AddressError, parseMailbox } from "../../smtp/address.ts";
import type { MailboxAddress } from "../../smtp/envelope.ts";
import { replyText } from "../../smtp/reply_reader.ts";
import { systemClock } from "../../base/clock.ts";
import { isOfThisMachine } from "../../net/interfaces.ts";
import { showEndpoint } from "../../net/listen.ts";
import { machineDomain } from "../../server/machine_names.ts";
import { askServeIn } from "../../server/ask_serve_in.ts";
import { settingsName } from "../../server/settings_name.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { openMailboxes, requireDomains } from "../../server/parts.ts";
import { findServer } from "../../server/queue_access.ts";
import { ownTargets } from "../../server/relay_parts.ts";
import { routeByFile } from "./file_route.ts";
import { replay } from "./replay.ts";
import { describeIncoming, explainIncoming, type IncomingFlags } from "./incoming.ts";
import { moment, printJson } from "../command_line/json.ts";
import { logOption } from "../command_line/log_options.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import { count, printable, showDuration, showTime } from "../command_line/terminal.ts";

/** Registers the subcommand. */
export function registerExplain(program: Command, { io, action }: Registrar): void {
  program.command("explain")
    .description("show how mail to an address would be handled; sends nothing")
    .argument("[address]", "such as alice@example.com; none with --replay")
    .option(
      "--from <address>",
      "show what serve-in would do with mail from this sender (<> for none); with --ip",
    )
    .option("--ip <address>", "the address it would come from")
    .option("--helo <name>", "the client's name in EHLO (default: its name in reverse DNS)")
    .option("--replay <id>", "the decisions about a message in the log, and today's beside each")
    .addOption(logOption())
    .option("--json", "print JSON")
    .addOption(configOption())
    .addHelpText(
      "after",
      examples(
        "mailapp explain alice@example.com",
        "mailapp explain --from bob@example.net --ip 192.0.2.1 alice@example.com",
        "mailapp explain --replay mi1x0b2k00000a3f7c2q",
      ),
    )
    .action(action((address: string | undefined, flags: Flags) => explainOrReplay(address, { flags, io })));
}

interface Flags extends Partial<IncomingFlags> {
  readonly config?: string;
  readonly json?: true;
  readonly replay?: string;
  readonly log: readonly string[];
}

async function explainOrReplay(
  address: string | undefined,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  if (flags.replay !== undefined && address === undefined) {
    const config = await loadConfig(flags.config, { env: io.env });
    return await replay(flags.replay, { config, files: flags.log, json: flags.json === true, io });
  }
  if (flags.replay === undefined && address !== undefined) return await explain(address, { flags, io });
  throw new CommandError("name an address, or a message by --replay", EXIT.usage);
}

/** The sender of incoming mail; `undefined` if no sender is given. */
function incomingOf({ from, ip, helo }: Flags): IncomingFlags | undefined {
  if (from !== undefined && ip !== undefined) return { from, ip, ...(helo !== undefined && { helo }) };
  if (from === undefined && ip === undefined && helo === undefined) return undefined;
  throw new CommandError(
    "--from and --ip must be given together",
    EXIT.usage,
  );
}

/**
 * Reads an address as an operator writes it; a bare name is completed as serve-out does.
 * @throws {CommandError} with exit code 65
 */
export function parseAddress(text: string, { serveOut }: Config): MailboxAddress {
  try {
    const address = parseMailbox(text, { smtputf8: true, bare: "any" });
    if (address.domain !== "") return address;
    const domain = serveOut.qualifyDomain;
    return { ...address, domain, text: `${address.text}@${domain}` };
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    throw new CommandError(`${printable(text)}: ${error.message}`, EXIT.data, { cause: error });
  }
}

/** The same local-part in another domain. */
function atDomain({ localPart, text }: MailboxAddress, domain: string): MailboxAddress {
  return { localPart, domain, text: `${text.slice(0, text.lastIndexOf("@"))}@${domain}` };
}

/** What serve-in does with it; absent if the domain is not local. */
type Local =
  | { readonly accepted: true; readonly maildirs: readonly string[] }
  | { readonly accepted: false };

interface Explanation {
  readonly address: string;
  readonly domain: string;
  readonly local?: Local;
  readonly outcome: Exclude<Targets, { kind: "targets" }> | { readonly kind: "targets" };
  readonly targets: readonly Omit<Target, "auth">[];
  readonly tls?: TlsPolicy;
  /** Why an announced MTA-STS policy does not apply. */
  readonly stsFailure?: StsFailure;
  /** What the running serve-out says of its queue. */
  readonly server?: DomainAnswer;
  /** Whether the running serve-out uses settings other than those of the file; then the rest is by its own. */
  readonly outdated?: boolean;
  /** Addresses of `source_ipv4` and `source_ipv6` that no interface has. */
  readonly missingSources?: readonly string[];
  /** What the running serve-in says to the recipient. */
  readonly serveIn?: { readonly reply: string } | { readonly error: string };
}

async function explain(
  text: string,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const incoming = incomingOf(flags);
  const config = await loadConfig(flags.config, { env: io.env });
  const written = parseAddress(text, config);
  if (incoming !== undefined) {
    requireDomains(config);
    const found = await explainIncoming(config, { address: written, text, flags: incoming });
    if (flags.json) printJson(found, io);
    else io.out(describeIncoming(found));
    return EXIT.ok;
  }
  const home = machineDomain(config, Deno.hostname())(written.domain);
  const address = home === undefined ? written : atDomain(written, home);
  const local = explainLocal(config, address);
  const { domain } = address;
  const asked = await askServer(config, domain);
  const { found, outdated } = asked === undefined || asked === "forbidden" || asked.route === undefined
    ? { found: await routeByFile(config, domain), outdated: undefined }
    : { found: asked.route.found, outdated: asked.route.settings !== settingsName(config) };
  const targets = found.kind === "targets" ? found.targets : [];
  const tls = targets[0]?.tls;
  const server = asked === undefined || asked === "forbidden" ? asked : await asked.about(targets);
  const serveIn = local === undefined && targets[0]?.via !== "local"
    ? undefined
    : await serveInSays(config, address);
  const explanation: Explanation = {
    address: text,
    domain,
    ...(local && { local }),
    outcome: found.kind === "targets" ? { kind: "targets" } : found,
    // The password must not be shown.
    targets: targets.map(({ auth: _, ...target }) => target),
    ...(tls && { tls }),
    ...(found.kind === "targets" && found.stsFailure && { stsFailure: found.stsFailure }),
    ...(server && server !== "forbidden" && { server }),
    ...(outdated !== undefined && { outdated }),
    ...missingSources(config, targets),
    ...(serveIn && { serveIn }),
  };
  if (flags.json) printJson(jsonOf(explanation), io);
  else io.out(describe(explanation, server));
  return EXIT.ok;
}

/** Sources that mail to these targets is sent from, and cannot be. */
function missingSources(
  { serveOut: { sourceIpv4, sourceIpv6 } }: Config,
  targets: readonly Target[],
): Pick<Explanation, "missingSources"> {
  const missing = ([[4, sourceIpv4], [6, sourceIpv6]] as const).flatMap(([family, source]) =>
    source !== undefined && targets.some((target) => target.family === family) && !isOfThisMachine(source)
      ? [source]
      : []
  );
  return missing.length === 0 ? {} : { missingSources: missing };
}

function jsonOf(
  { targets, tls, stsFailure, server, ...explanation }: Explanation,
): unknown {
  const sts = targets[0]?.sts;
  return {
    ...explanation,
    targets: targets.map(({ tls, sts, policyDomain: _, ...target }) => ({
      ...target,
      tlsPolicy: tls,
      ...(sts && { mtaStsAllowed: sts.allowed }),
    })),
    ...(tls && { tlsPolicy: tls }),
    ...(sts && {
      mtaSts: { domain: sts.domain, mode: sts.mode, id: sts.id, expiresAt: moment(sts.until) },
    }),
    ...(stsFailure && { mtaStsFailure: { kind: stsFailure.failure, reason: stsFailure.why } }),
    ...(server && { queue: queueOf(server) }),
  };
}

function queueOf({ status: { nextAt, ...status }, hosts }: DomainAnswer): unknown {
  return {
    ...status,
    ...(nextAt !== undefined && nextAt > 0 && { nextAttemptAt: moment(nextAt) }),
    hosts: hosts.map(({ forMs, ...host }) => ({ ...host, pauseMs: Math.round(forMs) })),
  };
}

interface RunningServer {
  /** Where it would send the domain's mail; absent if its version does not say. */
  readonly route?: RouteAnswer;
  /** What it knows of these targets. */
  about(targets: readonly Target[]): Promise<DomainAnswer | undefined>;
}

/** The running serve-out; `forbidden` where this account may not ask it. */
async function askServer(config: Config, domain: string): Promise<RunningServer | "forbidden" | undefined> {
  try {
    const server = await findServer(config);
    if (server === undefined) return undefined;
    const route = await orUndefined(server.route(domain));
    return { ...(route && { route }), about: (targets) => orUndefined(server.domain(domain, targets)) };
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === EXIT.noPermission) return "forbidden";
    throw error;
  }
}

/** A server's answer; `undefined` if it is shutting down, or does not know the request. */
async function orUndefined<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ControlError) return undefined;
    throw error;
  }
}

/** What the running serve-in says to the recipient, if it can be asked. */
async function serveInSays(config: Config, recipient: MailboxAddress): Promise<Explanation["serveIn"]> {
  const [at] = ownTargets(config, { logger: silentLogger }).local?.listeners ?? [];
  if (at === undefined || at.port === 0) return undefined;
  const answer = await askServeIn(at, recipient);
  return typeof answer === "string"
    ? { error: `${showEndpoint(at.address, at.port)}: ${answer}` }
    : { reply: replyText(answer) };
}

function explainLocal(config: Config, address: MailboxAddress): Local | undefined {
  if (config.serveIn.domains.length === 0) return undefined;
  const resolution = openMailboxes(config).resolve(address);
  switch (resolution.kind) {
    case "local":
      return { accepted: true, maildirs: resolution.mailboxes.map(({ path }) => path) };
    case "unknown":
      return { accepted: false };
    case "not-local":
      return undefined;
  }
}

const POLICIES: Readonly<Record<TlsPolicy, string>> = {
  prefer: "TLS with any certificate; plaintext only if the host has no TLS",
  require: "TLS with any certificate; otherwise not sent",
  verify: "TLS with a valid certificate for the host's name; otherwise not sent",
  dane: "TLS with the certificate that DNSSEC names; otherwise not sent",
};

const VIA: Readonly<Record<Target["via"], string>> = {
  mx: "the MX hosts",
  implicit: "the domain's own address, since it has no MX",
  literal: "the address itself",
  route: "the host of [serve-out.routes]",
  local: "serve-in of this machine",
};

function describe(
  { address, domain, local, outcome, targets, tls, stsFailure, outdated, missingSources, serveIn }:
    Explanation,
  server: DomainAnswer | "forbidden" | undefined,
): string {
  const lines = [printable(address)];
  if (local?.accepted === false) {
    lines.push(`  ${domain} is local, but has no such mailbox: serve-in refuses it (550 5.1.1)`);
  } else if (local !== undefined) {
    lines.push(...local.maildirs.map((path) => `  local: serve-in stores it in ${path}`));
  }
  lines.push(...describeServeIn(serveIn, local));
  if (outdated) {
    lines.push(
      "  serve-out still uses an earlier configuration than the file, shown here: systemctl reload mailapp-out",
    );
  }
  const [first] = targets;
  if (outcome.kind === "failed") {
    lines.push(`  fails permanently: ${outcome.status} ${printable(outcome.reason)}`);
  } else if (outcome.kind === "deferred") {
    lines.push(`  is deferred: ${outcome.status} ${printable(outcome.reason)}`);
  } else if (first !== undefined) {
    lines.push(`  serve-out sends it to ${VIA[first.via]}, in this order:`);
    for (const { host, address, port, sts } of targets) {
      const forbidden = sts?.mode === "enforce" && !sts.allowed ? ": not in the MTA-STS policy" : "";
      lines.push(
        `    ${host === address ? host : `${printable(host)} [${address}]`} port ${port}${forbidden}`,
      );
    }
  }
  for (const source of missingSources ?? []) {
    const version = source.includes(":") ? 6 : 4;
    lines.push(
      `  cannot be sent over IPv${version}: no interface of this machine has ${source} (source_ipv${version})`,
    );
  }
  if (tls !== undefined) lines.push(`  TLS policy ${tls}: ${POLICIES[tls]}`);
  lines.push(...describePolicySource(first, stsFailure));
  const refused = local?.accepted === false ||
    (serveIn !== undefined && "reply" in serveIn && /^5/.test(serveIn.reply));
  lines.push(...describeQueue(domain, { server, sendable: outcome.kind === "targets" && !refused }));
  return lines.map((line) => `${line}\n`).join("");
}

const MODES: Readonly<Record<PolicyMode, string>> = {
  enforce: "in mode enforce",
  testing: "in mode testing: violations are reported, and mail is sent anyway",
  none: "in mode none: it requires nothing",
};

/** Where the TLS policy comes from, and until when it applies. */
function describePolicySource(
  first: Explanation["targets"][number] | undefined,
  stsFailure: StsFailure | undefined,
): string[] {
  if (first?.configured) return ["  set in [serve-out.tls_policy]"];
  if (stsFailure !== undefined) {
    return [
      `  the domain announces an MTA-STS policy that cannot be fetched, so none applies: ${
        printable(stsFailure.why)
      }`,
    ];
  }
  if (first?.sts === undefined) return [];
  const { domain, id, mode, until } = first.sts;
  return [`  MTA-STS policy of ${printable(domain)}, id ${id}, until ${showTime(until)}, ${MODES[mode]}`];
}

/** What the running serve-in says, if it differs from the file. */
function describeServeIn(serveIn: Explanation["serveIn"], local: Local | undefined): string[] {
  if (serveIn === undefined) return [];
  if ("error" in serveIn) return [`  serve-in does not answer: ${printable(serveIn.error)}`];
  const { reply } = serveIn;
  const accepts = reply.startsWith("2");
  if (accepts === (local?.accepted ?? false)) return [];
  const remedy = reply.startsWith("4") ? "" : "; if the file has changed: systemctl reload mailapp-in";
  return [`  serve-in ${accepts ? "accepts" : "refuses"} it now: ${printable(reply)}${remedy}`];
}

function describeQueue(
  domain: string,
  { server, sendable }: {
    readonly server: DomainAnswer | "forbidden" | undefined;
    readonly sendable: boolean;
  },
): string[] {
  if (server === undefined) return ["  serve-out is not running"];
  if (server === "forbidden") {
    return ["  showing the queue requires root or the account of serve-out"];
  }
  const { status: { waiting, ready, active, resting, nextAt }, hosts } = server;
  const lines: string[] = [];
  if (waiting + ready + active === 0) {
    lines.push(`  nothing waits for ${domain}${sendable ? ": a message is sent at once" : ""}`);
  } else {
    const next = nextAt === undefined ? "" : `, next try in ${showDuration(nextAt - systemClock.now())}`;
    lines.push(
      `  for ${domain}: ${count(active, "connection")} active, ${ready} due, ${waiting} waiting${next}`,
    );
  }
  if (resting) lines.push("  all of them wait for a host that is at its limit or paused");
  for (const { host, address, forMs, failure } of hosts) {
    const why = printable(failure.reply ?? failure.error ?? failure.status);
    lines.push(`  ${printable(host)} [${address}] is paused for ${showDuration(forMs)}: ${why}`);
  }
  return lines;
}
