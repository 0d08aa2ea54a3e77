/**
 * `mailapp dns`: what to publish in DNS for this configuration. Sends no queries, changes nothing.
 *
 * @module
 */
import { createPublicKey, type KeyObject, type X509Certificate } from "node:crypto";
import { join } from "@std/path";
import type { Command } from "commander";
import { CertificateFiles } from "../acme/certificate_files.ts";
import { errorText } from "../base/error_text.ts";
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { loadConfig } from "../config/load.ts";
import { presentData, reverseRecords, zoneFile, zoneTable } from "../doctor/zone_file.ts";
import { type PolicyPlan, zoneSections } from "../doctor/zone.ts";
import { systemClock } from "../base/clock.ts";
import { CertificateError } from "../tls/certificates.ts";
import { loadDkimKeys } from "../server/dkim_parts.ts";
import { describeWide, dkimKeyPaths } from "../server/rights.ts";
import { EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { ownPolicy } from "../server/policy_parts.ts";
import { acmeCertificateState, readCertificate } from "../server/certificate_parts.ts";
import { ownAddresses, policyAddresses } from "../server/own_addresses.ts";
import { requireConfigFile } from "../server/config_file.ts";
import { printJson } from "./command_line/json.ts";
import { configOption, examples, type Registrar } from "./command_line/subcommand.ts";

interface Flags {
  readonly config?: string;
  readonly table?: true;
  readonly json?: true;
  readonly policy?: true;
}

/** Registers the subcommand. */
export function registerDns(program: Command, { io, action }: Registrar): void {
  program.command("dns")
    .description("print the records to publish in DNS, as a zone file; sends no queries")
    .option("--table", "print them for a web form: type, name and value of each")
    .option("--json", "print JSON")
    .option("--policy", "print the MTA-STS policy instead, the file that a web server serves ([mta_sts])")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp dns", "mailapp dns --table"))
    .action(action((flags: Flags) => dns(flags, io)));
}

async function dns(flags: Flags, io: Io): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  requireConfigFile(config, "dns");
  if (flags.policy) return printPolicy(config, io);
  const { hostname, serveIn: { domains } } = config;
  const dkim = await loadDkimKeys(config);
  if (domains.length === 0 && dkim.length === 0) {
    const problem = 'names no domain, so there is nothing to publish; such as ["example.com"]';
    throw new ConfigError(config.file, [{ key: "serve-in.domains", problem }]);
  }
  for (const warning of await describeWide(dkimKeyPaths(config))) io.err(`warning: ${warning}\n`);
  // A key of a parent domain will do: DMARC accepts it as aligned.
  const isSigned = (domain: string) => dkim.some((key) => `.${domain}`.endsWith(`.${key.domain}`));
  const unsigned = domains.filter((domain) => !isSigned(domain));
  for (const domain of unsigned) {
    io.err(`warning: mail of ${domain} is not signed: mailapp dkim new ${domain}, then run this again\n`);
  }
  const { listening, sending, smarthost } = ownAddresses(config);
  const addresses = [...new Set([...listening, ...sending])].sort((a, b) =>
    Number(a.includes(":")) - Number(b.includes(":"))
  );
  const certificate = config.dns.dnssec ? await currentCertificate(config, io) : undefined;
  const nextKey = certificate && await nextPublicKey(config, io);
  const sections = zoneSections({
    hostname,
    domains,
    addresses,
    sending,
    dkim,
    ...(certificate && { certificate }),
    ...(nextKey && { nextKey }),
    ...policyPlan(config),
    ...(smarthost && { smarthost: smarthost.host }),
    ...(config.serveSubmit && { submission: config.serveSubmit }),
  });
  const reverse = reverseRecords(addresses, hostname);
  if (flags.json) {
    const records = sections.flatMap(({ records }) =>
      records.map((record) => ({ ...record, presentation: presentData(record).replaceAll(/\s+/g, " ") }))
    );
    const notes = sections.flatMap(({ notes }) => notes);
    printJson({ records, reverse, notes }, io);
  } else if (flags.table) {
    io.out(zoneTable(sections, { reverse }));
  } else {
    const date = new Date(systemClock.now()).toISOString();
    io.out(zoneFile(sections, { hostname, domains, date, reverse }));
  }
  return EXIT.ok;
}

/** The policy as a file, with the line ends that it has on the wire. */
function printPolicy(config: Config, io: Io): ExitCode {
  const policy = ownPolicy(config);
  if (policy === undefined) {
    const problem = "is not there, so no policy is promised: it may be empty, or say mode, max_age and mx";
    throw new ConfigError(config.file, [{ key: "mta_sts", problem }]);
  }
  io.out(policy.text);
  return EXIT.ok;
}

function policyPlan(config: Config): { policy: PolicyPlan } | undefined {
  const { serveIn, servePolicy, hostname } = config;
  const policy = ownPolicy(config);
  if (policy === undefined) return undefined;
  const { record } = policy;
  if (servePolicy === undefined) return { policy: { record } };
  const shared = JSON.stringify(servePolicy.listen) === JSON.stringify(serveIn.listen);
  return { policy: { record, host: shared ? { name: hostname } : { addresses: policyAddresses(config) } } };
}

/** The next key of `mailapp certificate rollover`, if it has begun. */
async function nextPublicKey({ dataDir, tls: { acme } }: Config, io: Io): Promise<KeyObject | undefined> {
  if (acme === undefined) return undefined;
  try {
    const next = await new CertificateFiles(join(dataDir, "tls")).nextKey();
    return next && createPublicKey(next.key);
  } catch (error) {
    io.err(`warning: no TLSA record of the next key: ${errorText(error)}\n`);
    return undefined;
  }
}

async function currentCertificate(config: Config, io: Io): Promise<X509Certificate | undefined> {
  try {
    if (config.tls.acme !== undefined && await acmeCertificateState(config) === "stand-in") {
      io.err("warning: no TLSA record: the key comes with mailapp certificate obtain\n");
      return undefined;
    }
    return (await readCertificate(config))?.leaf;
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    io.err(`warning: no TLSA record: ${error.message}\n`);
    return undefined;
  }
}
