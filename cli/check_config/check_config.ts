/**
 * `mailapp check-config`: whether the servers would start, and what they would do. Binds nothing, writes nothing.
 *
 * @module
 */
import type { Command } from "commander";
import { silentLogger } from "../../base/log.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError } from "../../config/errors.ts";
import { DEFAULT_CONFIG_FILE, loadConfig } from "../../config/load.ts";
import { formatSize } from "../../config/size.ts";
import type { DkimKey } from "../../dkim/keys.ts";
import { DkimSigner } from "../../dkim/sign.ts";
import { checkStorage, type StorageCheck, type StorageTester } from "../../doctor/checks/storage.ts";
import { Maildir } from "../../maildir/maildir.ts";
import type { Mailboxes } from "../../maildir/mailboxes.ts";
import { UniqueNames } from "../../maildir/unique_name.ts";
import { isOfThisMachine } from "../../net/interfaces.ts";
import { addressScope } from "../../net/ip_address.ts";
import { showEndpoint } from "../../net/listen.ts";
import { systemClock } from "../../base/clock.ts";
import { acmeCertificateState } from "../../server/certificate_parts.ts";
import { CertificateError, loadCertificate } from "../../tls/certificates.ts";
import { rootMailWarnings } from "../../server/machine_names.ts";
import { awaitedAddress } from "../../server/addresses.ts";
import { loadDkimKeys } from "../../server/dkim_parts.ts";
import { dialogueThreads, intakeThreads } from "../../server/dialogues/count.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { errorOutput } from "../../server/journal.ts";
import { missingCertificateWarnings, openMailboxes } from "../../server/parts.ts";
import { serveIn as serveInServer } from "../../server/serve_in.ts";
import { rightsWarnings } from "../../server/rights.ts";
import type { Server } from "../../server/server.ts";
import type { ServerName } from "../../server/server_start.ts";
import { SERVER_NAMES, SERVERS } from "../../server/servers.ts";
import { keptDirectories, vitalFiles, vitalPlaces } from "../../server/storage_parts.ts";
import { dnsSettingProblems, readRoutes } from "../../server/relay_parts.ts";
import { collisionsWithServeOut } from "./collisions.ts";
import { reportServePolicy } from "./policy.ts";
import { reportServeSubmit } from "./submission.ts";
import { storageTester } from "../command_line/service_account.ts";
import { configOption, examples, parseServerName, type Registrar } from "../command_line/subcommand.ts";
import { errorText } from "../../base/error_text.ts";

/** Registers the subcommand. */
export function registerCheckConfig(program: Command, { io, action }: Registrar): void {
  program.command("check-config")
    .description("check the configuration, and show what each server would do; binds nothing")
    .option(
      "--start <server>",
      "only check whether this server would start (its unit runs this); silent if so",
      parseServerName,
    )
    .addOption(configOption())
    .addHelpText("after", examples("mailapp check-config --config ./config.toml"))
    .action(action((options: Flags) => checkConfig(options, io)));
}

/** How many lines of one kind are shown. */
const MAX_SHOWN = 50;

interface Flags {
  readonly config?: string;
  readonly start?: ServerName;
}

async function checkConfig({ config: file, start }: Flags, io: Io): Promise<ExitCode> {
  const config = await loadConfig(file, { env: io.env });
  const report = new Report(config);
  const servers = await Promise.all(
    (start === undefined ? SERVER_NAMES : [start]).map((name) => SERVERS[name].load()),
  );
  report.say(config.file ?? `There is no ${DEFAULT_CONFIG_FILE}; the defaults apply.`);
  const tester = await storageTester(config);
  for (const { name } of servers) {
    if (name === "serve-in") await reportServeIn(config, { report, tester });
    if (name === "serve-out") await reportServeOut(config, report);
    if (name === "serve-submit") await reportServeSubmit(config, report);
    if (name === "serve-policy") await reportServePolicy(config, report);
  }
  // A start does not wait for a look at each file.
  const kept = start === undefined ? keptDirectories(config) : [];
  await reportStorage(config, { report, tester, servers, kept });
  report.warnings.push(...await rightsWarnings(config));
  if (start === undefined) {
    io.out(report.text());
    return report.errors.length + report.obstacles.length === 0 ? EXIT.ok : EXIT.config;
  }
  const err = errorOutput(io);
  for (const obstacle of report.obstacles) err(`error: ${obstacle}\n`);
  return report.obstacles.length === 0 ? EXIT.ok : EXIT.config;
}

/** The findings, reported at the end. */
class Report {
  /** Problems that keep a server from starting. */
  readonly obstacles: string[] = [];
  /** Errors that do not keep a server from starting. */
  readonly errors: string[] = [];
  readonly warnings: string[];
  readonly #lines: string[] = [];

  constructor({ warnings }: Config) {
    this.warnings = [...warnings];
  }

  say(...lines: string[]): void {
    this.#lines.push(...lines);
  }

  /** Adds the findings of the storage check; failures become `errors`. Low space does not prevent a start. */
  async findings(check: StorageCheck, errors: string[]): Promise<void> {
    for (const { id, outcome, what, next } of await checkStorage(check)) {
      if (outcome === "ok") continue;
      const text = next === undefined ? what : `${what}. ${next}`;
      const into = outcome !== "failure" ? this.warnings : id === "storage.full" ? this.errors : errors;
      into.push(text);
    }
  }

  /** Adds these lines, up to the bound. */
  list(lines: readonly string[]): void {
    this.say(...lines.slice(0, MAX_SHOWN));
    if (lines.length > MAX_SHOWN) this.say(`    … and ${lines.length - MAX_SHOWN} more`);
  }

  text(): string {
    const { warnings } = this;
    const errors = [...this.obstacles, ...this.errors];
    const found = [
      ...warnings.map((warning) => `warning: ${warning}`),
      ...errors.map((error) => `error: ${error}`),
    ];
    const count = (number: number, word: string) => `${number} ${word}${number === 1 ? "" : "s"}`;
    const verdict = errors.length > 0
      ? `not ok: ${count(errors.length, "error")}, ${count(warnings.length, "warning")}`
      : `ok${warnings.length > 0 ? `, ${count(warnings.length, "warning")}` : ""}`;
    return [...this.#lines, "", ...found, ...(found.length > 0 ? [""] : []), verdict, ""].join("\n");
  }
}

async function reportServeIn(
  config: Config,
  { report, tester }: { readonly report: Report; readonly tester: StorageTester },
): Promise<void> {
  const { serveIn, hostname } = config;
  if (serveIn.domains.length === 0) {
    const remedy = config.file === undefined ? "; mailapp init writes a first configuration" : "";
    report.say("", `serve-in is not configured: [serve-in] domains is empty${remedy}`);
    return;
  }
  report.say("", `serve-in, as ${hostname}`);
  const hasCertificate = await reportCertificate(config, report);
  try {
    const endpoints = serveInServer.endpoints(config, {
      hasCertificate,
      addresses: serveInServer.addresses(config),
    });
    const modes = { off: "without TLS", starttls: "with STARTTLS", implicit: "TLS from the start" };
    report.say(
      ...endpoints.map(({ address, port, tls }) =>
        `  listens on ${showEndpoint(address, port)}, ${modes[tls]}`
      ),
    );
    const { errors, warnings } = collisionsWithServeOut({ server: "serve-in", endpoints }, config);
    report.errors.push(...errors);
    report.warnings.push(...warnings, ...absentAddresses(serveIn.listen));
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    if (awaitedAddress(error) === undefined) report.errors.push(error.message);
    else report.warnings.push(`serve-in waits for its first address: ${error.message}`);
  }
  report.say(
    `  takes messages up to ${formatSize(serveIn.maxMessageSize)}, for ${serveIn.domains.join(", ")}`,
  );
  const threads = dialogueThreads(config);
  if (threads > 1) report.say(`  holds dialogues in ${threads} threads`);
  let mailboxes: Mailboxes;
  try {
    mailboxes = openMailboxes(config);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    report.obstacles.push(...error.message.split("\n"));
    return;
  }
  const all = mailboxes.all();
  report.list(all.map(({ address, path }) => `    ${address} → ${path}`));
  report.list(
    Object.entries(config.mailboxes.aliases).map(([name, targets]) => `    ${name} → ${targets.join(", ")}`),
  );
  if (all.length === 0) report.warnings.push("[mailboxes] users is empty: all mail is refused");
  const names = new UniqueNames({ hostname, now: () => systemClock.now() });
  const uid = tester.account?.uid;
  for (const { root, path } of all.slice(0, MAX_SHOWN)) {
    try {
      await new Maildir(path, { root, names, ...(uid !== undefined && { uid }) }).check();
    } catch (error) {
      report.warnings.push(`mailbox: ${errorText(error)}, as seen by uid ${Deno.uid()}`);
    }
  }
}

/** Addresses of a list that the machine does not have. */
function absentAddresses(listen: Config["serveIn"]["listen"]): string[] {
  const absent = typeof listen === "string"
    ? []
    : listen.filter((address) => !isOfThisMachine(address) && addressScope(address) !== "unspecified");
  return absent.map((address) => `serve-in.listen: no interface has ${address} now; serve-in waits for it`);
}

/** Reports whether there is a certificate, or will be. */
async function reportCertificate(config: Config, report: Report): Promise<boolean> {
  const { certificate, selfSigned } = config.tls;
  if (certificate === undefined) {
    if (!selfSigned) report.warnings.push(...missingCertificateWarnings(config));
    else report.say("  has a self-signed certificate, kept in data_dir");
    return selfSigned;
  }
  if (config.tls.acme !== undefined && await acmeCertificateState(config) === "none") {
    report.say("  has a self-signed certificate until mailapp certificate obtain gets one");
    return true;
  }
  const { certFile: cert, keyFile: key } = certificate;
  try {
    const { leaf, names, warnings } = await loadCertificate({
      cert,
      key,
      hostname: config.hostname,
      clock: systemClock,
    });
    report.say(
      `  has a certificate for ${names.join(", ")}, until ${leaf.validToDate.toISOString().slice(0, 10)}`,
    );
    report.warnings.push(...warnings);
    return true;
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    report.obstacles.push(`[tls] ${error.message}`);
    return false;
  }
}

async function reportServeOut(config: Config, report: Report): Promise<void> {
  const { hostname, serveOut } = config;
  report.say("", `serve-out, as ${hostname}`);
  report.say(...serveOut.listen.map((address) => `  listens on ${showEndpoint(address, serveOut.port)}`));
  const threads = intakeThreads(config);
  if (threads > 1) report.say(`  takes mail in ${threads} threads`);
  report.list(
    Object.entries(serveOut.routes).map(([name, { host, port, tls }]) =>
      `    ${name === "*" ? "everything" : name} → ${showEndpoint(host, port)}, TLS ${tls}`
    ),
  );
  const { sourceIpv4, sourceIpv6 } = serveOut;
  for (const [key, source] of [["source_ipv4", sourceIpv4], ["source_ipv6", sourceIpv6]] as const) {
    if (source === undefined) continue;
    report.say(`  sends from ${source}`);
    if (isOfThisMachine(source)) continue;
    report.warnings.push(
      `serve-out.${key} = "${source}": no interface has this address, so nothing can be sent`,
    );
  }
  report.warnings.push(...rootMailWarnings(config), ...await dnsSettingProblems(config));
  await reportDkim(config, report);
  try {
    (await SERVERS["serve-out"].load()).check(config);
    readRoutes(config);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    report.obstacles.push(...error.message.split("\n"));
  }
}

async function reportDkim(config: Config, report: Report): Promise<void> {
  try {
    const keys = await loadDkimKeys(config);
    report.list(
      keys.map(({ domain, selector, algorithm }) => `    signs for ${domain} with ${selector}, ${algorithm}`),
    );
    report.warnings.push(...unsigned(config, keys));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    report.obstacles.push(...error.message.split("\n"));
  }
}

/** Our own domains whose mail leaves unsigned, though that of others is signed: one may have been renamed. */
function unsigned({ serveIn, serveOut }: Config, keys: readonly DkimKey[]): string[] {
  if (keys.length === 0) return [];
  const signer = new DkimSigner({ keys, logger: silentLogger });
  const own = new Set([...serveIn.domains, serveOut.qualifyDomain]);
  return [...own].filter((domain) => signer.keysFor(domain).length === 0).map((domain) =>
    `mail from ${domain} is not signed: [dkim] has no key for it; mailapp dkim makes keys`
  );
}

interface StorageReport {
  readonly report: Report;
  readonly tester: StorageTester;
  readonly servers: readonly Server[];
  /** Directories in which the servers make everything themselves. */
  readonly kept: readonly string[];
}

/** Whether the servers may write and read where the configuration says. */
async function reportStorage(
  config: Config,
  { report, tester, servers, kept }: StorageReport,
): Promise<void> {
  const configured = servers.filter((server) => server.isConfigured(config));
  const vital = { places: vitalPlaces(config, configured), files: vitalFiles(config, configured), tester };
  await report.findings(vital, report.obstacles);
  let places;
  try {
    places = configured.flatMap((server) => server.mailPlaces(config));
  } catch (error) {
    // It has been reported.
    if (error instanceof ConfigError) return;
    throw error;
  }
  await report.findings({ places, files: [], kept, tester }, report.errors);
}
