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
import type { Target } from "../../relay/mx.ts";
import { AddressError, parseMailbox } from "../../smtp/address.ts";
import type { MailboxAddress } from "../../smtp/envelope.ts";
import { replyText } from "../../smtp/reply_reader.ts";
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
import { tryTargets } from "./connect.ts";
import { daneOf, lookUpDaneOf, policyOf } from "./dane.ts";
import { describe } from "./describe.ts";
import { type Explanation, jsonOf, type Local } from "./explanation.ts";
import { routeByFile } from "./file_route.ts";
import { askDatabase } from "./everywhere.ts";
import { replay } from "./replay.ts";
import { describeIncoming, explainIncoming, type IncomingFlags } from "./incoming.ts";
import { printJson } from "../command_line/json.ts";
import { logOption } from "../command_line/log_options.ts";
import { configOption, examples, type Registrar } from "../command_line/subcommand.ts";
import { printable } from "../command_line/terminal.ts";

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
    .option("--connect", "connect to the hosts, and show whether their TLS is good enough; sends no mail")
    .option("--replay <id>", "the decisions about a message in the log, and today's beside each")
    .addOption(logOption())
    .option("--json", "print JSON")
    .addOption(configOption())
    .addHelpText(
      "after",
      examples(
        "mailapp explain alice@example.com",
        "mailapp explain --connect alice@example.com",
        "mailapp explain --from bob@example.net --ip 192.0.2.1 alice@example.com",
        "mailapp explain --replay mi1x0b2k00000a3f7c2q",
      ),
    )
    .action(action((address: string | undefined, flags: Flags) => explainOrReplay(address, { flags, io })));
}

interface Flags extends Partial<IncomingFlags> {
  readonly config?: string;
  readonly json?: true;
  readonly connect?: true;
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

async function explain(
  text: string,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const incoming = incomingOf(flags);
  const config = await loadConfig(flags.config, { env: io.env });
  const written = parseAddress(text, config);
  const isCompleted = written.text === `${text}@${config.serveOut.qualifyDomain}`;
  if (incoming !== undefined) {
    requireDomains(config);
    const shown = isCompleted ? written.text : text;
    const found = await explainIncoming(config, { address: written, text: shown, flags: incoming });
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
  const [first] = targets;
  const dane = await lookUpDaneOf(targets, config);
  const tls = first && policyOf(first, daneOf(first, dane));
  const trials = flags.connect && await tryTargets(targets, config);
  const server = asked === undefined || asked === "forbidden" ? asked : await asked.about(targets);
  const everywhere = await askDatabase(config, domain);
  const serveIn = local === undefined && first?.via !== "local"
    ? undefined
    : await serveInSays(config, address);
  const explanation: Explanation = {
    address: text,
    ...(isCompleted && { completed: written.text }),
    domain,
    ...(local && { local }),
    outcome: found.kind === "targets" ? { kind: "targets" } : found,
    // The password must not be shown.
    targets: targets.map(({ auth: _, ...target }) => target),
    ...(tls && { tls }),
    dane,
    ...(trials && { trials }),
    ...(found.kind === "targets" && found.stsFailure && { stsFailure: found.stsFailure }),
    ...(server && server !== "forbidden" && { server }),
    ...(everywhere && { everywhere }),
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
