/**
 * The part of check-config about serve-submit.
 *
 * @module
 */
import { AccountsError } from "../../accounts/account.ts";
import { readAccounts } from "../../accounts/account_file.ts";
import { errorText } from "../../base/error_text.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError } from "../../config/errors.ts";
import { formatSize } from "../../config/size.ts";
import { excludeEachOther, showEndpoint } from "../../net/listen.ts";
import { collisionsWithServeOut } from "./collisions.ts";
import { accountsPath } from "../../server/accounts_path.ts";
import { awaitedAddress, serveOutAddress } from "../../server/addresses.ts";
import { CommandError } from "../../server/exit_codes.ts";
import type { Endpoint } from "../../server/listeners.ts";
import { serveIn } from "../../server/serve_in.ts";
import { serveSubmit } from "../../server/serve_submit.ts";

/** Collects the findings. */
export interface SubmissionReport {
  say(...lines: string[]): void;
  /** Problems that keep a server from starting. */
  readonly obstacles: string[];
  /** Errors that do not keep a server from starting. */
  readonly errors: string[];
  readonly warnings: string[];
}

/** Reports what serve-submit would do; nothing if it is not configured. */
export async function reportServeSubmit(config: Config, report: SubmissionReport): Promise<void> {
  const { hostname, serveSubmit: submission, serveOut } = config;
  if (submission === undefined) return;
  report.say("", `serve-submit, as ${hostname}`);
  try {
    serveSubmit.check(config);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    report.obstacles.push(...error.message.split("\n"));
  }
  try {
    const endpoints = endpointsOf(serveSubmit, config);
    report.say(
      ...endpoints.map(({ address, port, tls }) =>
        `  listens on ${showEndpoint(address, port)}, ${
          tls === "implicit" ? "TLS from the start" : "with STARTTLS"
        }`
      ),
    );
    const { errors, warnings } = collisionsWithServeOut({ server: "serve-submit", endpoints }, config);
    report.errors.push(...collisions(endpoints, config), ...errors);
    report.warnings.push(...warnings);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    if (awaitedAddress(error) === undefined) report.errors.push(error.message);
    else report.warnings.push(`serve-submit waits for its first address: ${error.message}`);
  }
  if (submission.dovecotSocket === undefined) {
    const path = accountsPath(config);
    try {
      await readAccounts(path);
    } catch (error) {
      const isDamaged = error instanceof AccountsError;
      if (!isDamaged) report.warnings.push(`${path}: not read: ${errorText(error)}`);
      else {report.obstacles.push(
          `${path}: ${error.message}. Restore it from a backup, or remove it and add the accounts again`,
        );}
    }
  }
  const { address, port } = serveOutAddress(config);
  report.say(
    submission.dovecotSocket === undefined
      ? `  checks passwords by ${accountsPath(config)}`
      : `  has passwords checked by Dovecot at ${submission.dovecotSocket}`,
    `  takes messages up to ${formatSize(submission.maxMessageSize)}, and hands them to serve-out on ${
      showEndpoint(address, port)
    }`,
    ...Object.entries(submission.sendAs).map(([login, addresses]) =>
      `    ${login} may also send as ${addresses.join(", ")}`
    ),
  );
  if (submission.maxMessageSize > serveOut.maxMessageSize) {
    report.warnings.push(
      `serve-submit.max_message_size is more than serve-out takes, ${
        formatSize(serveOut.maxMessageSize)
      }, which counts then`,
    );
  }
}

function endpointsOf(server: typeof serveIn, config: Config): readonly Endpoint[] {
  const { certificate, selfSigned } = config.tls;
  const hasCertificate = certificate !== undefined || selfSigned;
  return server.endpoints(config, { hasCertificate, addresses: server.addresses(config) });
}

/** Ports that serve-in wants as well. */
function collisions(mine: readonly Endpoint[], config: Config): string[] {
  if (!serveIn.isConfigured(config)) return [];
  let others: readonly Endpoint[];
  try {
    others = endpointsOf(serveIn, config);
  } catch (error) {
    // It has been reported.
    if (error instanceof CommandError) return [];
    throw error;
  }
  const both = others.filter(({ address, port }) =>
    port !== 0 && mine.some((one) => one.port === port && excludeEachOther(one.address, address))
  );
  const [first] = both;
  if (first === undefined) return [];
  const where = showEndpoint(first.address, first.port);
  return [
    first.tls === "implicit"
      ? `serve-in and serve-submit both want ${where}. Mail programs need it, and mail servers never use it: ` +
        "set tls_port = false in [serve-in]"
      : `serve-in and serve-submit both want ${where}: give [serve-submit] another port`,
  ];
}
