/**
 * `mailapp doctor`: checks DNS, network and machine against the configuration, and says what to fix.
 *
 * @module
 */
import { createPublicKey } from "node:crypto";
import type { Command } from "commander";
import { join } from "@std/path";
import { readRenewalState } from "../acme/account_file.ts";
import { CertificateFiles, usableFrom } from "../acme/certificate_files.ts";
import { systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import { silentLogger } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { loadConfig } from "../config/load.ts";
import { CHECKS } from "../doctor/checks.ts";
import type { IncomingChecks } from "../doctor/checks/incoming.ts";
import { MAX_LISTENERS } from "../doctor/checks/listener.ts";
import type { SubmissionCheck } from "../doctor/checks/submission.ts";
import type { QueueState, WaitingMessage } from "../doctor/checks/queue.ts";
import { Examination } from "../doctor/examination.ts";
import { type Finding, summarize } from "../doctor/finding.ts";
import { findingsFile, saveFindings } from "../doctor/saved_findings.ts";
import type {
  AuthorityState,
  CertificateState,
  ConfigProblem,
  OwnAddresses,
  Setup,
  WayOut,
} from "../doctor/setup.ts";
import type { MachineName } from "../doctor/world.ts";
import { currentProblems } from "../doctor/problem_watch.ts";
import { publicKeyHash } from "../doctor/zone.ts";
import { fetchPolicy } from "../mta_sts/fetch.ts";
import { createDial } from "../net/dial.ts";
import { addressesBehind, type ListenAddress } from "../net/interfaces.ts";
import { showEndpoint } from "../net/listen.ts";
import { maildropDirectory } from "../relay/maildrop/directory.ts";
import { serveSubmitAddresses, serveSubmitEndpoints } from "../server/addresses.ts";
import { machineDomain, rootMailWarnings } from "../server/machine_names.ts";
import { openConfinedResolver } from "../server/confined_resolver.ts";
import { asksDns, findDnsServers } from "../server/dns_parts.ts";
import { loadDkimKeys } from "../server/dkim_parts.ts";
import { routeProbes } from "../server/route_probes.ts";
import { becomeOwner } from "../server/become_account.ts";
import { CommandError, EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { ownAddresses } from "../server/own_addresses.ts";
import { ownPolicy } from "../server/policy_parts.ts";
import { findServer } from "../server/queue_access.ts";
import { dnsSettingProblems, openResolver } from "../server/relay_parts.ts";
import { acmeCertificateState, readCertificate } from "../server/certificate_parts.ts";
import { allServers, SERVERS } from "../server/servers.ts";
import { settingsName } from "../server/settings_name.ts";
import { keptDirectories, vitalFiles, vitalPlaces } from "../server/storage_parts.ts";
import { guardedPaths } from "../server/rights.ts";
import { causeOfOurs, relayProblemFile } from "../server/problem_parts.ts";
import { CertificateError } from "../tls/certificates.ts";
import { storageTester } from "./command_line/service_account.ts";
import { printJson } from "./command_line/json.ts";
import { configOption, examples, type Registrar } from "./command_line/subcommand.ts";
import { describeFindings } from "./command_line/findings_text.ts";
import { printable } from "./command_line/terminal.ts";
import { stateOf } from "./status/state.ts";

interface Flags {
  readonly config?: string;
  readonly json?: true;
  readonly probe: string;
  readonly login?: string;
  readonly all?: true;
}

/** Registers the subcommand. */
export function registerDoctor(program: Command, { io, action }: Registrar): void {
  program.command("doctor")
    .description(
      "check DNS, reverse DNS, certificate, open relay, port 25 out, disk and clock; sends no mail",
    )
    .option("--json", "print JSON")
    .option("--all", "also show passed checks, one by one")
    .option(
      "--login <login>",
      "log in to serve-submit, with the password in the first line of standard input",
    )
    .option("--probe <domain>", "domain to test DNS and outgoing port 25 against", "gmail.com")
    .addOption(configOption())
    .addHelpText(
      "after",
      `\nExit code: 0 if nothing fails, else ${EXIT.unavailable}.\n` +
        examples("mailapp doctor", "mailapp doctor --json"),
    )
    .action(action((flags: Flags) => doctor(flags, io)));
}

async function doctor(flags: Flags, io: Io): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  const password = flags.login === undefined ? undefined : await readSecret(Deno.stdin.readable);
  const login = flags.login !== undefined && password !== undefined && { login: flags.login, password };
  const setup = await setupOf(config, { probe: flags.probe, ...(login && { login }) });
  (flags.json ? io.err : io.out)(announce(setup));
  const findings = await new Examination(setup).run(CHECKS);
  const summary = summarize(findings);
  await keepFindings(config, findings);
  if (flags.json) printJson({ ...summary, findings }, io);
  else io.out(describeFindings(findings, { all: flags.all ?? false }));
  return summary.failures === 0 ? EXIT.ok : EXIT.unavailable;
}

/** Leaves them for `status` and the dashboard, where this account may write. */
async function keepFindings({ dataDir }: Config, findings: readonly Finding[]): Promise<void> {
  try {
    // Never as root in a directory of another account; nothing comes after this but output.
    await becomeOwner(dataDir);
    await saveFindings(findingsFile(dataDir), { at: systemClock.now(), findings });
  } catch {
    // As for an account that may only look.
  }
}

/** Announces the network checks. */
function announce(
  { hostname, domains, dkim = [], own, serveInPort, submission, wayOut, dnsServers, probe, routes }: Setup,
): string {
  const names = [...new Set([hostname, ...domains, ...dkim.map(({ domain }) => domain)])];
  const listeners = own.bound.slice(0, MAX_LISTENERS).map((address) => showEndpoint(address, serveInPort));
  const outward = own.smarthost !== undefined
    ? `the smarthost ${own.smarthost.host}, port ${wayOut.port}`
    : `the mail servers of ${probe}, port ${wayOut.port}`;
  return [
    "Network checks; no mail is sent:",
    `  DNS (${dnsServers}): ${[...names, ...own.sending].join(", ")}, and ${probe}`,
    ...(listeners.length === 0
      ? []
      : [`  our own serve-in, as an outside client would: ${listeners.join(", ")}`]),
    ...(submission === undefined ? [] : [
      `  our own serve-submit, as a mail program would: ${
        submission.endpoints.map(({ address, port }) => showEndpoint(address, port)).join(", ")
      }${submission.login === undefined ? "" : `, with the login of ${submission.login.login}`}`,
    ]),
    `  ${outward}: whether they answer`,
    ...routes.map(({ name, host, login }) =>
      `  the route of ${name}, ${host}: whether its TLS is good enough${login ? ", and the login" : ""}`
    ),
    "  where a domain announces MTA-STS: its policy, over HTTPS",
    "",
    "",
  ].join("\n");
}

/** Milliseconds for a connection. */
const CONNECT = 15_000;
const FETCH = 15_000;

/** The configuration in doctor's terms. */
async function setupOf(
  config: Config,
  { probe, login }: Pick<Setup, "probe"> & Pick<SubmissionCheck, "login">,
): Promise<Setup> {
  const { hostname, dataDir, file, serveIn, serveOut, tls, dns } = config;
  const resolver = openResolver(config);
  const own = ownAddresses(config);
  const policy = ownPolicy(config);
  const problems: ConfigProblem[] = [];
  const keys = await orProblems(() => loadDkimKeys(config), problems);
  const servers = (await allServers()).filter((server) => server.isConfigured(config));
  const places = await orProblems(
    () => Promise.resolve(servers.flatMap((server) => server.mailPlaces(config))),
    problems,
  );
  return {
    hostname,
    domains: serveIn.domains,
    machineNames: machineNames(config),
    ...(file !== undefined && { configFile: file }),
    configWarnings: [...config.warnings, ...rootMailWarnings(config)],
    configProblems: problems,
    dataDir,
    maildrop: maildropDirectory(dataDir),
    guarded: guardedPaths(config),
    storage: {
      places: [...vitalPlaces(config, servers), ...places ?? []],
      files: vitalFiles(config, servers),
      kept: keptDirectories(config),
      tester: await storageTester(config),
    },
    own,
    certificate: await certificateState(config),
    selfSigned: tls.selfSigned,
    ...(tls.acme && { authority: await authorityState(config), ...await nextKey(config) }),
    ...(keys && { dkim: keys }),
    dnssec: dns.dnssec,
    closedNetwork: serveOut.allowPrivateTargets,
    resolver,
    ...(serveIn.domains.length > 0 && asksDns(config) && { incoming: await incomingChecks(config) }),
    dnsServers: dns.servers.map(({ address, port }) => showEndpoint(address, port)).join(", ") ||
      "/etc/resolv.conf",
    dnsProblems: await dnsSettingProblems(config),
    probe,
    serveInPort: serveIn.port,
    dial: createDial({ clock: systemClock, timeout: CONNECT }),
    ...(config.serveSubmit && { submission: submissionCheck(config, login) }),
    routes: routeProbes(config, { resolver, probe }),
    wayOut: wayOut(config, own),
    queue: () => queueState(config),
    ...(policy && { policy: { ...policy, served: config.servePolicy !== undefined } }),
    fetchPolicy: (domain) =>
      fetchPolicy(domain, { resolver, timeout: FETCH, allowPrivate: serveOut.allowPrivateTargets }),
    clock: systemClock,
  };
}

/** The full names of this machine that stand for a domain of its own. */
function machineNames(config: Config): MachineName[] {
  const systemHostname = Deno.hostname();
  const homeOf = machineDomain(config, systemHostname);
  return [...new Set([config.hostname, systemHostname.toLowerCase()])].flatMap((name) => {
    const home = name.includes(".") ? homeOf(name) : undefined;
    return home === undefined ? [] : [{ name, home }];
  });
}

function submissionCheck(config: Config, login: SubmissionCheck["login"]): SubmissionCheck {
  let addresses: readonly ListenAddress[] = [];
  try {
    addresses = serveSubmitAddresses(config);
  } catch (error) {
    // serve-in waits for an address, which `address` reports.
    if (!(error instanceof CommandError)) throw error;
  }
  const endpoints = serveSubmitEndpoints(config, { addresses }).flatMap(({ address, port, tls }) =>
    tls === "off" ? [] : addressesBehind(address).slice(0, 1).map((address) => ({ address, port, tls }))
  );
  return {
    endpoints,
    hostname: config.hostname,
    ...(login && { login }),
    dial: createDial({ clock: systemClock, timeout: CONNECT }),
    clock: systemClock,
  };
}

/** Octets of standard input that are read. */
const MAX_SECRET = 8192;

/** The first line of an input. */
async function readSecret(input: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (
    const piece of input.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
  ) {
    text += piece;
    if (text.includes("\n") || text.length > MAX_SECRET) break;
  }
  const [line = ""] = text.split(/\r?\n/, 1);
  if (line === "") {
    throw new CommandError("the first line of standard input has no password", EXIT.data);
  }
  return line;
}

async function incomingChecks(config: Config): Promise<IncomingChecks> {
  const servers = await findDnsServers(config);
  return {
    resolver: openConfinedResolver(config, { servers, logger: silentLogger }),
    lists: config.serveIn.checks.dnsLists,
  };
}

/** The result of `work`; `undefined` if the configuration is invalid for it, with the reasons added to the problems. */
async function orProblems<T>(work: () => Promise<T>, problems: ConfigProblem[]): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(
      ...error.message.split("\n").map((what) => ({
        what,
        ...(/permission denied/i.test(what) && { forbidden: true as const }),
      })),
    );
    return undefined;
  }
}

async function certificateState(config: Config): Promise<CertificateState> {
  try {
    const pair = await readCertificate(config);
    return { kind: "known", ...(pair && { pair }) };
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    const { cause, message: reason } = error;
    if (cause instanceof Deno.errors.PermissionDenied) return { kind: "forbidden", reason };
    if (config.tls.selfSigned && cause instanceof Deno.errors.NotFound) return { kind: "to-be-made" };
    return { kind: "unusable", reason };
  }
}

async function authorityState(config: Config): Promise<AuthorityState> {
  const state = await readRenewalState(join(config.dataDir, "acme")).catch(() => undefined);
  return {
    issued: await acmeCertificateState(config) === "issued",
    ...(state?.error !== undefined && { error: printable(state.error) }),
  };
}

/** The key of a change of keys that is under way; nothing where this account cannot see it. */
async function nextKey({ dataDir }: Config): Promise<Pick<Setup, "nextKey">> {
  const files = new CertificateFiles(join(dataDir, "tls"));
  const next = await files.nextKey().catch(() => undefined);
  if (next === undefined) return {};
  const seen = await files.nextKeySeen();
  const tlsa = `3 1 1 ${publicKeyHash(createPublicKey(next.key))}`;
  return { nextKey: { tlsa, ...(seen && { usableFrom: usableFrom(seen) }) } };
}

function wayOut({ serveOut }: Config, { smarthost, sending }: OwnAddresses): WayOut {
  const { smtpPort, family, sourceIpv4, sourceIpv6, timeouts } = serveOut;
  return {
    port: smarthost?.port ?? smtpPort,
    families: ([4, 6] as const).filter((number) =>
      smarthost !== undefined
        ? family !== (number === 4 ? "ipv6" : "ipv4")
        : sending.some((address) => address.includes(":") === (number === 6))
    ),
    dial: createDial({
      clock: systemClock,
      timeout: Math.min(timeouts.connectMs, CONNECT),
      ...(sourceIpv4 !== undefined && { sourceIpv4 }),
      ...(sourceIpv6 !== undefined && { sourceIpv6 }),
    }),
  };
}

async function queueState(config: Config): Promise<QueueState | { readonly forbidden: string }> {
  try {
    const server = await findServer(config);
    const settings = await server?.settings();
    const { refusal } = server === undefined ? {} : await stateOf(await SERVERS["serve-out"].load(), config);
    return {
      running: server !== undefined,
      ...(refusal !== undefined && { refusal }),
      ...(settings !== undefined && { outdated: settings !== settingsName(config) }),
      messages: waiting(server?.list({})),
      lateAfter: config.serveOut.delayNoticeAfterMs,
      problems: await currentProblems(relayProblemFile(config), systemClock.now()),
    };
  } catch (error) {
    if (error instanceof CommandError) return { forbidden: errorText(error) };
    throw error;
  }
}

type QueueViews = ReturnType<NonNullable<Awaited<ReturnType<typeof findServer>>>["list"]>;

async function* waiting(views: QueueViews | undefined): AsyncGenerator<WaitingMessage> {
  if (views === undefined) return;
  for await (const { entry: { recipients, reversePath }, age } of views) {
    if (reversePath === "" && recipients.some(({ status }) => status === "held")) yield { age, held: true };
    const pending = recipients.find(({ status }) => status === "pending");
    if (pending === undefined) continue;
    const { status = "", reply, error } = pending.attempts.at(-1) ?? {};
    const reason = reply ?? error;
    const advice = reply === undefined ? undefined : causeOfOurs({ status, reply })?.operator;
    yield { age, ...(reason !== undefined && { reason }), ...(advice !== undefined && { advice }) };
  }
}
