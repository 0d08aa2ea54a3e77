/**
 * Builds the parts that several commands need from the configuration. Errors name the keys of
 * the configuration.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/errors.ts";
import { checkMailboxes, Mailboxes, type MailboxesOptions } from "../maildir/mailboxes.ts";
import { CommandError, EXIT } from "./exit_codes.ts";
import { isFull } from "../storage/storage_error.ts";
import { errorText } from "../base/error_text.ts";

/**
 * The local mailboxes.
 * @throws {ConfigError} with everything that is wrong with it
 */
export function openMailboxes(config: Config): Mailboxes {
  const options: MailboxesOptions = { ...config.mailboxes, domains: config.serveIn.domains };
  const problems = checkMailboxes(options);
  if (problems.length === 0) return new Mailboxes(options);
  throw new ConfigError(
    config.file,
    problems.map(({ key, value, problem }) => ({
      key,
      problem,
      ...(value !== "" && { value: JSON.stringify(value) }),
    })),
  );
}

/**
 * Stops a serve-in that would take no mail.
 * @throws {ConfigError}
 */
export function requireDomains({ file, serveIn }: Config): void {
  if (serveIn.domains.length > 0) return;
  const problem = 'must name at least one domain that serve-in takes mail for, such as ["example.com"]';
  throw new ConfigError(file, [{ key: "serve-in.domains", problem }]);
}

/**
 * Stops a serve-submit that could not take passwords, as that needs TLS, or not hand on mail.
 * @throws {ConfigError}
 */
export function requireSubmission(config: Config): void {
  const { file, serveSubmit, serveOut, tls: { certificate, selfSigned } } = config;
  const problem = (key: string, problem: string) => new ConfigError(file, [{ key, problem }]);
  if (serveSubmit === undefined) {
    throw problem(
      "serve-submit",
      "the table must be there, though it may be empty, where serve-submit is to run",
    );
  }
  requireDomains(config);
  if (certificate === undefined && !selfSigned) {
    throw problem("tls", "must have cert and key, or self_signed = true: passwords are taken over TLS only");
  }
  if (serveOut.port === 0) {
    throw problem("serve-out.port", "must be a port: serve-submit hands all mail to it");
  }
}

/** Warnings about TLS that is off without a certificate; for the log and check-config. */
export function missingCertificateWarnings({ serveIn }: Config): string[] {
  return [
    "there is no certificate ([tls] cert and key, or self_signed): STARTTLS is not offered, and mail arrives in plaintext",
    ...(serveIn.tlsPort === false
      ? []
      : [`[serve-in] tls_port = ${serveIn.tlsPort} is off without a certificate`]),
  ];
}

/** The directory where serve-in puts large messages until they are complete. */
export function incomingDirectory({ dataDir }: Config): string {
  return join(dataDir, "incoming");
}

/** The directory of serve-submit's state. */
export function submitDirectory({ dataDir }: Pick<Config, "dataDir">): string {
  return join(dataDir, "submit");
}

/** The mode of the data directory. Its contents are closed to others, except for the maildrop. */
export const DATA_MODE = 0o751;

/**
 * Creates the data directory if missing, which this account and its group may list and others may traverse to
 * the maildrop, and the given directories in it, for this account only.
 * @throws {CommandError} when it cannot be created, or is not writable
 */
export async function prepareDataDir(
  { dataDir }: Config,
  directories: readonly string[] = [],
): Promise<void> {
  try {
    await Deno.mkdir(dataDir, { recursive: true, mode: DATA_MODE });
    for (const name of directories) await Deno.mkdir(join(dataDir, name), { recursive: true, mode: 0o700 });
    const probe = await Deno.makeTempFile({ dir: dataDir, prefix: ".probe-" });
    await Deno.remove(probe);
  } catch (error) {
    // A full disk does not prevent a start: mail that leaves frees space.
    if (isFull(error)) return;
    const reason = errorText(error);
    const denied = error instanceof Deno.errors.PermissionDenied;
    throw new CommandError(
      `data_dir = ${
        JSON.stringify(dataDir)
      }: ${reason}. The account that runs mailapp must be able to write there`,
      denied ? EXIT.noPermission : EXIT.config,
      { cause: error },
    );
  }
}
