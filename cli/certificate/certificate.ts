/**
 * `mailapp certificate`: a certificate from an authority that speaks ACME.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { AuthorityError } from "../../acme/authority.ts";
import { systemClock } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import type { AcmeConfig, Config } from "../../config/config.ts";
import { parseDuration } from "../../config/duration.ts";
import { ConfigError } from "../../config/errors.ts";
import { loadConfig } from "../../config/load.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { readCertificate } from "../../server/certificate_parts.ts";
import { OpenPathError } from "../../storage/path_owner.ts";
import { isFull, StorageError } from "../../storage/storage_error.ts";
import { CertificateError } from "../../tls/certificates.ts";
import { moment, printJson } from "../command_line/json.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import { printable, showTime } from "../command_line/terminal.ts";
import { AcmeWork, type Issued } from "./acme_work.ts";

interface Flags {
  readonly config?: string;
  readonly json?: true;
  readonly force?: true;
  readonly yes?: true;
  readonly ttl?: number;
}

const HOUR = 3_600_000;

/** Registers the subcommand and its own subcommands. */
export function registerCertificate(program: Command, { io, action }: Registrar): void {
  const certificate = program.command("certificate")
    .description("get and renew a certificate from an authority such as Let's Encrypt ([tls.acme])")
    .addHelpText("after", examples("sudo mailapp certificate obtain", "mailapp certificate show"));
  const enter = (name: string, description: string) =>
    certificate.command(name).description(description).addOption(configOption());
  enter("obtain", "get a certificate; the servers use it within half a minute")
    .addHelpText("after", examples("sudo mailapp certificate obtain"))
    .action(action((flags: Flags) => run({ flags, io, issues: true }, (work) => obtain(work, io))));
  enter("renew", "renew the certificate if that is due; a systemd timer runs this twice a day")
    .option("--force", "renew even if it is not due")
    .addHelpText("after", examples("sudo mailapp certificate renew"))
    .action(action((flags: Flags) => run({ flags, io, issues: true }, (work) => renew(work, { flags, io }))));
  enter("show", "show the certificate, and when it will be renewed")
    .option("--json", "print JSON")
    .addHelpText("after", examples("mailapp certificate show"))
    .action(action(async (flags: Flags) => {
      const config = await loadConfig(flags.config, { env: io.env });
      if (config.tls.acme === undefined) return await showConfigured(config, { flags, io });
      return await run({ flags, io, issues: false }, (work) => show(work, { flags, io }));
    }));
  enter(
    "rollover",
    "change the key: first shows the TLSA record to publish (DANE), then, once DNS has it, gets a certificate",
  )
    .option("--ttl <duration>", "the TTL of the TLSA records; default: as DNS says, at least 1h", readTtl)
    .option("--force", "do not wait for the record")
    .addHelpText("after", examples("sudo mailapp certificate rollover"))
    .action(
      action((flags: Flags) => run({ flags, io, issues: true }, (work) => rollover(work, { flags, io }))),
    );
  enter("revoke", "revoke the certificate, for example after its key was stolen")
    .option("--yes", "do it; without this flag only say what would be done")
    .addHelpText("after", examples("sudo mailapp certificate revoke --yes"))
    .action(
      action((flags: Flags) => run({ flags, io, issues: false }, (work) => revoke(work, { flags, io }))),
    );
}

function readTtl(text: string): number {
  const ttl = parseDuration(text);
  if (ttl === undefined) throw new InvalidArgumentError("It must be a duration, such as 1h or 300s.");
  return ttl;
}

async function run(
  { flags, io, issues }: { readonly flags: Flags; readonly io: Io; readonly issues: boolean },
  work: (work: AcmeWork) => Promise<ExitCode>,
): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  const acme = requireAcme(config);
  try {
    await using acmeWork = new AcmeWork(config, acme);
    await acmeWork.open({ issues });
    return await work(acmeWork);
  } catch (error) {
    throw inUsersWords(error, config);
  }
}

function requireAcme({ tls, file }: Config): AcmeConfig {
  if (tls.acme !== undefined) return tls.acme;
  const problem = "is missing: add it (empty for Let's Encrypt), and remove cert, key and self_signed";
  throw new ConfigError(file, [{ key: "tls.acme", problem }]);
}

function inUsersWords(error: unknown, { dataDir }: Config): unknown {
  const said = (text: string, code: ExitCode) => new CommandError(text, code, { cause: error });
  if (error instanceof AuthorityError) {
    const later = !error.rateLimited
      ? ""
      : error.retryAt === undefined
      ? ". The rate limit of the authority is reached: try again tomorrow"
      : `. The rate limit of the authority is reached: try again after ${showTime(error.retryAt)}`;
    return said(`${printable(error.message)}${later}`, EXIT.unavailable);
  }
  if (error instanceof OpenPathError) return said(error.message, EXIT.noPermission);
  if (error instanceof Deno.errors.PermissionDenied) {
    return said(
      `this account may not access ${dataDir}/tls: run this as root (${errorText(error)})`,
      EXIT.noPermission,
    );
  }
  if (isFull(error)) return said(errorText(error), EXIT.tryAgain);
  if (error instanceof StorageError) return said(errorText(error), EXIT.unavailable);
  return error;
}

async function obtain(work: AcmeWork, io: Io): Promise<ExitCode> {
  const issued = await work.issue({ key: "same" });
  io.out(`A certificate for ${issued.names.join(", ")}, until ${showTime(issued.until)}.\n`);
  warnOfAdded(issued, io);
  io.out(
    `The servers use it within half a minute, once they run with [tls.acme]. mailapp install sets up its renewal.\n`,
  );
  return EXIT.ok;
}

async function renew(
  work: AcmeWork,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const state = await work.state();
  const { notBefore = 0 } = state.last ?? {};
  if (!flags.force && systemClock.now() < notBefore) {
    io.err(`The rate limit of the authority is reached; renew tries again after ${showTime(notBefore)}.\n`);
    return EXIT.tryAgain;
  }
  if (!flags.force && state.certificate !== undefined && state.missingNames.length === 0) {
    const due = state.renewAt ?? 0;
    if (systemClock.now() < due) {
      io.out(
        `The certificate expires ${showTime(state.certificate.until)}; it will be renewed from ${
          showTime(due)
        } on.\n`,
      );
      return EXIT.ok;
    }
  }
  return await obtain(work, io);
}

/** Shows the certificate of `[tls] cert` or `self_signed`, which something else renews. */
async function showConfigured(
  config: Config,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  try {
    const pair = await readCertificate(config);
    if (flags.json) {
      printJson({
        names: pair?.names ?? [],
        ...(pair && { issuer: pair.leaf.issuer, endsAt: moment(pair.leaf.validToDate.getTime()) }),
        missingNames: [],
        rolloverBegun: false,
      }, io);
    } else if (pair === undefined) {
      io.out("There is no certificate: set [tls] cert and key, self_signed = true, or [tls.acme].\n");
    } else {
      io.out(`names    ${pair.names.join(", ")}\n`);
      io.out(`issuer   ${printable(pair.leaf.issuer.replaceAll("\n", ", "))}\n`);
      io.out(`until    ${showTime(pair.leaf.validToDate.getTime())}\n`);
      io.out(
        `renewal  ${config.tls.selfSigned ? "by serve-in" : "not by mailapp: there is no [tls.acme]"}\n`,
      );
      for (const warning of pair.warnings) io.err(`warning: ${warning}\n`);
    }
    return pair === undefined ? EXIT.data : EXIT.ok;
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    throw new CommandError(error.message, EXIT.data, { cause: error });
  }
}

async function show(
  work: AcmeWork,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const { certificate, renewAt, suggested, missingNames, last, nextKey } = await work.state();
  if (flags.json) {
    printJson({
      names: certificate?.names ?? [],
      ...(certificate && { issuer: certificate.issuer, endsAt: moment(certificate.until) }),
      ...(renewAt !== undefined && { renewAt: moment(renewAt), suggestedByAuthority: suggested }),
      missingNames,
      ...(last && { lastRenewal: { at: moment(last.at), ...(last.error && { error: last.error }) } }),
      rolloverBegun: nextKey !== undefined,
    }, io);
    return certificate === undefined ? EXIT.data : EXIT.ok;
  }
  if (certificate === undefined) {
    io.out("There is no certificate yet: mailapp certificate obtain gets one.\n");
    return EXIT.data;
  }
  io.out(`names    ${certificate.names.join(", ")}\n`);
  io.out(`issuer   ${printable(certificate.issuer)}\n`);
  io.out(`until    ${showTime(certificate.until)}\n`);
  if (renewAt !== undefined) {
    io.out(`renewal  ${showTime(renewAt)}${suggested ? ", as the authority suggests" : ""}\n`);
  }
  if (missingNames.length > 0) io.out(`lacks    ${missingNames.join(", ")}: renew adds them\n`);
  if (last?.error !== undefined) io.out(`failed   ${showTime(last.at)}: ${printable(last.error)}\n`);
  if (nextKey !== undefined) io.out(`next key ${nextKey.tlsa}\n`);
  return EXIT.ok;
}

async function rollover(
  work: AcmeWork,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const next = (await work.state()).nextKey ?? await work.makeNextKey();
  const { records, ttl } = await work.publishedTlsa();
  if (records.length === 0 && !flags.force) {
    io.out(
      "This server has no TLSA records, so the new key need not be published before it is used.\n",
    );
  } else if (!flags.force) {
    const known = records.includes(next.tlsa);
    if (!known) {
      await work.nextKeyNotSeen();
      io.out(
        `Publish this record beside the current one, and run this again once it has been published:\n`,
      );
      for (const name of work.tlsaNames) io.out(`${name} IN TLSA ${next.tlsa}\n`);
      return EXIT.tryAgain;
    }
    const readyAt = await work.nextKeyUsableFrom({
      ttl: flags.ttl ?? Math.max(ttl, HOUR),
      exact: flags.ttl !== undefined,
    });
    if (systemClock.now() < readyAt) {
      io.out(
        `The record is published. Resolvers may still have the old answer: run this again from ${
          showTime(readyAt)
        } on.\n`,
      );
      return EXIT.tryAgain;
    }
  }
  const issued = await work.issue({ key: "next" });
  io.out(
    `A certificate with the new key, until ${showTime(issued.until)}. Remove the old TLSA record now.\n`,
  );
  warnOfAdded(issued, io);
  return EXIT.ok;
}

function warnOfAdded({ added }: Issued, io: Io): void {
  if (added.length === 0) return;
  const names = printable(added.slice(0, 10).join(", "));
  io.err(`warning: the authority added names that were not asked for: ${names}\n`);
}

async function revoke(
  work: AcmeWork,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const { certificate } = await work.state();
  if (certificate === undefined) throw new CommandError("there is no certificate to revoke", EXIT.data);
  const what = `the certificate for ${certificate.names.join(", ")}, until ${showTime(certificate.until)}`;
  if (!flags.yes) {
    io.out(`--yes would revoke ${what}. The servers keep using it until another one is obtained.\n`);
    return EXIT.ok;
  }
  await work.revoke();
  io.out(`Revoked: ${what}. Next: mailapp certificate rollover --force, which gets one with a new key.\n`);
  return EXIT.ok;
}
