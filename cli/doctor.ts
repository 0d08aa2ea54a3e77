/**
 * `mailapp doctor`: whether the live world is as the configuration needs it, and what to do where it is not.
 *
 * @module
 */
import { dirname } from "@std/path";
import type { Command } from "commander";
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { loadConfig } from "../config/load.ts";
import type { Resolver } from "../dns/resolver.ts";
import { checkCertificate } from "../doctor/checks/certificate.ts";
import { checkClock } from "../doctor/checks/clock.ts";
import { checkDkim } from "../doctor/checks/dkim.ts";
import { checkDmarc } from "../doctor/checks/dmarc.ts";
import { checkDns } from "../doctor/checks/dns.ts";
import { checkListener } from "../doctor/checks/listener.ts";
import { checkMx } from "../doctor/checks/mx.ts";
import { checkOutward } from "../doctor/checks/outward.ts";
import { checkQueue, type WaitingMessage } from "../doctor/checks/queue.ts";
import { checkReverseDns } from "../doctor/checks/reverse_dns.ts";
import { checkSpfRecords } from "../doctor/checks/spf.ts";
import { type Account, checkStorage } from "../doctor/checks/storage.ts";
import { checkTlsa } from "../doctor/checks/tlsa.ts";
import { checkTlsPolicies } from "../doctor/checks/tls_policies.ts";
import { failure, type Finding, untested, warning } from "../doctor/finding.ts";
import { currentTroubles } from "../doctor/trouble_watch.ts";
import { checkAddresses, type World } from "../doctor/world.ts";
import { showEndpoint } from "../net/listen.ts";
import { createDial } from "../net/dial.ts";
import { systemClock } from "../base/clock.ts";
import { CertificateError, type CertificatePair } from "../tls/certificates.ts";
import { type DkimKeys, loadDkimKeys } from "../server/dkim_parts.ts";
import { readCertificate } from "./dns.ts";
import { describeFindings, summarize } from "./doctor_report.ts";
import { CommandError, EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { type OwnAddresses, ownAddresses } from "./own_addresses.ts";
import { openMailboxes } from "../server/parts.ts";
import { findServer } from "./queue_access.ts";
import { openResolver } from "../server/relay_parts.ts";
import { accountOf } from "./install/service_account.ts";
import { configOption, examples, type Registrar } from "./subcommand.ts";
import { causeOfOurs, relayTroubleFile } from "../server/trouble_parts.ts";
import { SERVICE_ACCOUNT } from "./install/units.ts";
import { errorText } from "../base/error_text.ts";

interface Flags {
  readonly config?: string;
  readonly json?: true;
  readonly probe: string;
}

/** Enters the command. */
export function registerDoctor(program: Command, { io, action }: Registrar): void {
  program.command("doctor")
    .description(
      "check DNS, reverse DNS, certificate, open relay, port 25 out, disk and clock; sends no mail",
    )
    .option("--json", "print JSON")
    .option(
      "--probe <domain>",
      "whose mail servers to knock at, to see whether port 25 is open outwards",
      "gmail.com",
    )
    .addOption(configOption())
    .addHelpText("after", `\nExit code: 0 where nothing fails, else ${EXIT.unavailable}.\n`)
    .addHelpText("after", examples("mailapp doctor", "mailapp doctor --json"))
    .action(action((flags: Flags) => doctor(flags, io)));
}

async function doctor(flags: Flags, io: Io): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  const own = ownAddresses(config);
  const plan = announce(config, { own, probe: flags.probe });
  (flags.json ? io.err : io.out)(plan);
  const findings = await examine(config, { own, probe: flags.probe });
  const summary = summarize(findings);
  io.out(flags.json ? `${JSON.stringify({ ...summary, findings }, null, 2)}\n` : describeFindings(findings));
  return summary.failures === 0 ? EXIT.ok : EXIT.unavailable;
}

/** How many directories of Maildirs are tried. */
const MAX_PLACES = 4;
/** How many of its addresses serve-in is tested on. */
const MAX_LISTENERS = 4;
/** Milliseconds for a connection. */
const CONNECT = 15_000;
const FETCH = 15_000;
const MAX_POLICY = 65_536;

const AS_ROOT = "Run doctor as root, or as the servers' account.";

interface Scope {
  readonly own: OwnAddresses;
  readonly probe: string;
}

/** What will be tried over the network. */
function announce(config: Config, { own, probe }: Scope): string {
  const { hostname, serveIn, serveOut } = config;
  const names = [...new Set([hostname, ...serveIn.domains, ...Object.keys(config.dkim)])];
  const listeners = own.bound.slice(0, MAX_LISTENERS).map((address) => showEndpoint(address, serveIn.port));
  const outward = own.smarthost !== undefined
    ? `the smarthost ${own.smarthost.host}, port ${own.smarthost.port}`
    : `the mail servers of ${probe}, port ${serveOut.smtpPort}`;
  return [
    "This asks and knocks, and sends no mail:",
    `  DNS (${dnsServers(config)}): ${[...names, ...own.sending].join(", ")}, and ${probe}`,
    ...(listeners.length === 0 ? [] : [`  our own serve-in, as a stranger would: ${listeners.join(", ")}`]),
    `  ${outward}: whether it answers`,
    "  where a domain promises MTA-STS: its policy, over HTTPS",
    "",
    "",
  ].join("\n");
}

async function examine(config: Config, scope: Scope): Promise<Finding[]> {
  const resolver = openResolver(config);
  const certificate = await lookAtCertificate(config);
  const machine = await checkMachine(config, scope.own);
  const dns = await checkDns({
    resolver,
    names: config.serveIn.domains.length > 0 ? config.serveIn.domains : [config.hostname],
    foreign: scope.probe,
    servers: dnsServers(config),
  });
  const [world, listeners, outward] = await Promise.all([
    dns.down ? [] : checkWorld(config, { own: scope.own, resolver, certificate }),
    checkListeners(config, { own: scope.own, hasCertificate: certificate.pair !== undefined }),
    dns.down ? [] : checkWayOut(config, { ...scope, resolver }),
  ]);
  return [...machine, ...certificate.findings, ...dns.findings, ...world, ...listeners, ...outward];
}

async function checkMachine(
  config: Config,
  { bound, listening, sending, smarthost }: OwnAddresses,
): Promise<Finding[]> {
  const { dataDir, file, serveIn, serveOut } = config;
  const now = systemClock.now();
  const findings = config.warnings.map((what) =>
    warning("config.odd", file ?? "the defaults", {
      what,
      next: "config.example.toml says what each key does.",
    })
  );
  const minFreeSpace = Math.max(serveIn.minFreeSpace, serveOut.minFreeSpace);
  const places = [{ name: "data_dir", path: dataDir, minFreeSpace }];
  if (serveIn.domains.length > 0) {
    try {
      // Not their root, which may be a directory of the system's, such as /var/mail.
      const parents = new Set(openMailboxes(config).all().map(({ path }) => dirname(path)));
      for (const path of [...parents].slice(0, MAX_PLACES)) {
        places.push({ name: "a directory of Maildirs", path, minFreeSpace: serveIn.minFreeSpace });
      }
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      findings.push(...configFindings(error));
    }
    if (listening.length === 0) {
      findings.push(failure("address.unreachable", bound.join(", ") || "serve-in", {
        what: "serve-in listens on no address that the Internet can reach",
        next: `Set [serve-in] listen, to "auto" or to addresses; ip address shows those of this machine.`,
      }));
    }
  }
  if (sending.length === 0 && smarthost === undefined) {
    findings.push(untested("address.sending", "serve-out", {
      what: "from which address it sends is not known: this machine has no default route",
      next: "Set [serve-out] source_ipv4 or source_ipv6.",
    }));
  }
  return [
    ...findings,
    ...await checkStorage(places, { servers: Deno.uid() === 0 ? await serviceAccount() : undefined }),
    ...await checkClock({ now, files: [dataDir, ...(file === undefined ? [] : [file])] }),
    ...await lookAtQueue(config),
  ];
}

async function serviceAccount(): Promise<Account | undefined> {
  const ids = await accountOf("");
  return ids && { name: SERVICE_ACCOUNT, ...ids };
}

async function lookAtQueue(config: Config): Promise<Finding[]> {
  try {
    const server = await findServer(config);
    const now = systemClock.now();
    return await checkQueue({
      running: server !== undefined,
      messages: waiting(server?.list({})),
      now,
      lateAfter: config.serveOut.delayNoticeAfterMs,
      troubles: await currentTroubles(relayTroubleFile(config), now),
    });
  } catch (error) {
    const what = errorText(error);
    if (!(error instanceof CommandError)) {
      return [failure("queue.silent", "serve-out", { what, next: "Look into serve-out's log." })];
    }
    return [untested("queue", "serve-out", { what })];
  }
}

type QueueViews = ReturnType<NonNullable<Awaited<ReturnType<typeof findServer>>>["list"]>;

async function* waiting(views: QueueViews | undefined): AsyncGenerator<WaitingMessage> {
  if (views === undefined) return;
  for await (const { entry: { acceptedAt, recipients } } of views) {
    const pending = recipients.find(({ status }) => status === "pending");
    if (pending === undefined) continue;
    const { status = "", reply, error } = pending.attempts.at(-1) ?? {};
    const reason = reply ?? error;
    const advice = reply === undefined ? undefined : causeOfOurs({ status, reply })?.operator;
    yield { acceptedAt, ...(reason !== undefined && { reason }), ...(advice !== undefined && { advice }) };
  }
}

async function lookAtCertificate(
  config: Config,
): Promise<{ pair?: CertificatePair; unknown?: true; findings: readonly Finding[] }> {
  const { hostname, serveIn, tls: { selfSigned } } = config;
  if (serveIn.domains.length === 0) return { findings: [] };
  const common = { hostname, now: systemClock.now(), selfSigned };
  try {
    const pair = await readCertificate(config);
    return { ...(pair && { pair }), findings: checkCertificate({ ...common, pair }) };
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    if (error.cause instanceof Deno.errors.PermissionDenied) {
      const finding = untested("certificate", hostname, { what: error.message, next: AS_ROOT });
      return { unknown: true, findings: [finding] };
    }
    if (selfSigned && error.cause instanceof Deno.errors.NotFound) {
      return {
        findings: [untested("certificate", hostname, { what: "serve-in makes one at its first start" })],
      };
    }
    return { unknown: true, findings: checkCertificate({ ...common, error: error.message }) };
  }
}

async function checkWorld(
  config: Config,
  { own, resolver, certificate }: {
    readonly own: OwnAddresses;
    readonly resolver: Resolver;
    readonly certificate: { readonly pair?: CertificatePair; readonly unknown?: true };
  },
): Promise<Finding[]> {
  const keys = await loadKeys(config);
  const given: World = {
    hostname: config.hostname,
    domains: config.serveIn.domains,
    listening: own.listening,
    sending: own.sending,
    ...(own.smarthost && { smarthost: own.smarthost.host }),
    closedNetwork: config.serveOut.allowPrivateTargets,
    dkim: keys instanceof ConfigError ? [] : keys.keys,
    ...(certificate.pair && { certificate: certificate.pair.leaf }),
    dnssec: config.dns.dnssec,
    resolver,
  };
  const { findings, world } = await checkAddresses(given);
  const checks = await Promise.all([
    checkMx(world),
    checkSpfRecords(world),
    keys instanceof ConfigError ? configFindings(keys) : checkDkim(world),
    checkDmarc(world),
    checkReverseDns(world),
    certificate.unknown ? [] : checkTlsa(world),
    checkTlsPolicies(world, fetchText),
  ]);
  return [...findings, ...checks.flat()];
}

async function loadKeys(config: Config): Promise<DkimKeys | ConfigError> {
  try {
    return await loadDkimKeys(config);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
}

function configFindings(error: ConfigError): Finding[] {
  return error.message.split("\n").map((what) =>
    /permission denied/i.test(what)
      ? untested("config", "configuration", { what, next: AS_ROOT })
      : failure("config.wrong", "configuration", {
        what,
        next: "mailapp check-config says the same once it is mended.",
      })
  );
}

/** A policy must be where its name says, without detours (RFC 8461 §3.3). */
async function fetchText(url: string): Promise<string> {
  const response = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(FETCH) });
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_POLICY) throw new Error("it is too long");
    chunks.push(chunk);
  }
  if (!response.ok) throw new Error(`HTTP status ${response.status}`);
  return await new Blob(chunks as BlobPart[]).text();
}

async function checkListeners(
  { serveIn, hostname }: Config,
  { own, hasCertificate }: { readonly own: OwnAddresses; readonly hasCertificate: boolean },
): Promise<Finding[]> {
  const [domain] = serveIn.domains;
  if (domain === undefined) return [];
  if (serveIn.port === 0) {
    return [untested("smtp", "serve-in", { what: "[serve-in] port = 0: which port it has is not known" })];
  }
  const dial = createDial({ clock: systemClock, timeout: CONNECT });
  const findings = await Promise.all(
    own.bound.slice(0, MAX_LISTENERS).map((address) =>
      checkListener({
        endpoint: { address, port: serveIn.port },
        hostname,
        hasCertificate,
        domain,
        dial,
        clock: systemClock,
      })
    ),
  );
  return [
    ...findings.flat(),
    untested("smtp.outside", hostname, {
      what: "whether the Internet reaches serve-in cannot be tested from here",
      next: `From another machine: nc -C ${hostname} ${serveIn.port}; it must greet with 220.`,
    }),
  ];
}

async function checkWayOut(
  { serveOut: { smtpPort, family, sourceIpv4, sourceIpv6, timeouts } }: Config,
  { own, probe, resolver }: Scope & { readonly resolver: Resolver },
): Promise<Finding[]> {
  const families = ([4, 6] as const).filter((number) =>
    own.smarthost !== undefined
      ? family !== (number === 4 ? "ipv6" : "ipv4")
      : own.sending.some((address) => address.includes(":") === (number === 6))
  );
  return await checkOutward({
    target: own.smarthost !== undefined ? { host: own.smarthost.host } : { domain: probe },
    port: own.smarthost?.port ?? smtpPort,
    families,
    resolver,
    dial: createDial({
      clock: systemClock,
      timeout: Math.min(timeouts.connectMs, CONNECT),
      ...(sourceIpv4 !== undefined && { sourceIpv4 }),
      ...(sourceIpv6 !== undefined && { sourceIpv6 }),
    }),
    clock: systemClock,
  });
}

function dnsServers({ dns }: Config): string {
  return dns.servers.map(({ address, port }) => showEndpoint(address, port)).join(", ") || "/etc/resolv.conf";
}
