/**
 * Which certificate a first configuration has, and whether senders are promised that it verifies.
 *
 * @module
 */
import { resolve } from "@std/path";
import { systemClock } from "../../base/clock.ts";
import { parseLocalPartOrAddress } from "../../config/names.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { CertificateError, loadCertificate } from "../../tls/certificates.ts";
import type { FirstAnswers } from "./first_config.ts";
import { findCertificates, type FoundCertificate } from "./found_certificates.ts";
import { parseYesOrNo, type Questions } from "./questions.ts";

/** The flags that answer the questions. */
export interface TlsFlags {
  readonly cert?: string;
  readonly key?: string;
  readonly selfSigned?: true;
  readonly acme?: boolean;
  readonly acmeEmail?: string;
  readonly mtaSts?: boolean;
}

interface Context {
  readonly flags: TlsFlags;
  readonly question: Questions;
  readonly io: Io;
}

/** The answers; without any of them the certificate is self-signed. */
export async function chooseTls(
  names: { readonly hostname: string; readonly domain: string },
  context: Context,
): Promise<Pick<FirstAnswers, "certificate" | "acme" | "mtaSts">> {
  const { flags, question } = context;
  requireConsistent(flags);
  const certificate = flags.acme ? undefined : await chooseCertificate(names.hostname, context);
  const acme = certificate === undefined && !flags.selfSigned ? chooseAcme(names.domain, context) : undefined;
  if (certificate === undefined && acme === undefined) return {};
  const mtaSts = flags.mtaSts ??
    isYes(question, {
      text:
        "Promise verified TLS to those who send here (MTA-STS), for which others must reach port 443 here",
      flag: "--mta-sts",
    });
  return { ...(certificate && { certificate }), ...(acme && { acme }), ...(mtaSts && { mtaSts }) };
}

function requireConsistent({ cert, selfSigned, acme, acmeEmail, mtaSts }: TlsFlags): void {
  if (acme && (cert !== undefined || selfSigned)) {
    throw new CommandError("--acme excludes --cert, --key and --self-signed", EXIT.usage);
  }
  if (acmeEmail !== undefined && !acme) throw new CommandError("--acme-email needs --acme", EXIT.usage);
  if (mtaSts && cert === undefined && !acme) {
    throw new CommandError(
      "--mta-sts needs a certificate that others can verify: --acme, or --cert and --key",
      EXIT.usage,
    );
  }
}

function chooseAcme(domain: string, { flags, question }: Context): FirstAnswers["acme"] {
  const wanted = flags.acme ??
    isYes(question, {
      text: "Get a certificate from Let's Encrypt, for which others must reach port 80 here",
      flag: "--acme",
    });
  if (!wanted) return undefined;
  const email = flags.acmeEmail ?? question.one("Whom may Let's Encrypt write to", {
    flag: "--acme-email",
    preset: `postmaster@${domain}`,
    parse: (answer) => answer.includes("@") ? parseLocalPartOrAddress(answer) : undefined,
    wanted: "a mail address",
  });
  return { email };
}

function isYes(
  question: Questions,
  { text, flag }: { readonly text: string; readonly flag: string },
): boolean {
  return question.one(text, { flag, preset: "no", parse: parseYesOrNo, wanted: "yes or no" }) === "yes";
}

async function chooseCertificate(
  hostname: string,
  { flags, question, io }: Context,
): Promise<{ cert: string; key: string } | undefined> {
  if (flags.cert !== undefined && flags.key !== undefined) {
    return await checkPair({ cert: resolve(flags.cert), key: resolve(flags.key) }, { hostname, io });
  }
  if (flags.selfSigned) return undefined;
  const found = await findCertificates(hostname, { clock: systemClock });
  if (found.length === 0) return undefined;
  io.out(`Certificates found for ${hostname}:\n`);
  for (const [index, certificate] of found.entries()) io.out(`  ${index + 1}  ${describe(certificate)}\n`);
  const wanted = `a number from 0 to ${found.length}`;
  const choice = question.until(
    "Which one (0: another one)",
    { flag: "--self-signed", preset: "1", wanted },
    (answer) => {
      const number = /^\d+$/.test(answer) ? Number(answer) : NaN;
      return number <= found.length ? number : undefined;
    },
  );
  return found[choice - 1];
}

async function checkPair<Pair extends { cert: string; key: string }>(
  pair: Pair,
  { hostname, io }: { readonly hostname: string; readonly io: Io },
): Promise<Pair> {
  try {
    const { warnings } = await loadCertificate({ ...pair, hostname, clock: systemClock });
    for (const warning of warnings) io.err(`warning: ${warning}\n`);
    return pair;
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    throw new CommandError(`${error.message}. Nothing was written`, EXIT.usage, { cause: error });
  }
}

function describe({ keeper, cert, validUntil }: FoundCertificate): string {
  return `${cert} (${keeper}'s, until ${new Date(validUntil).toISOString().slice(0, 10)})`;
}
