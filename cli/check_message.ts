/**
 * `mailapp check-message`: what serve-in's checks say of a message in a file, as if it came now.
 *
 * @module
 */
import { isIP } from "node:net";
import type { Command } from "commander";
import { systemClock } from "../base/clock.ts";
import { type LogFields, silentLogger } from "../base/log.ts";
import { MemoryBudget } from "../base/memory_budget.ts";
import { DnsLists } from "../checks/dns_lists.ts";
import { MailInspector } from "../checks/inspector.ts";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { HeaderCollector } from "../message/header_collector.ts";
import { fieldValue, type HeaderSection } from "../message/header_section.ts";
import { isOfThisMachine } from "../net/interfaces.ts";
import { isOwnDomain } from "../server/check_parts.ts";
import { CommandError, EXIT, type ExitCode } from "../server/exit_codes.ts";
import type { Io } from "../server/io.ts";
import { openResolver } from "../server/relay_parts.ts";
import { AddressError, parseMailbox } from "../smtp/address.ts";
import type { ReversePath } from "../smtp/envelope.ts";
import { InspectedData } from "../smtp/inspected_data.ts";
import type { Verdict } from "../smtp/inspector.ts";
import { type Reply, SmtpError } from "../smtp/reply.ts";
import type { Session } from "../smtp/session.ts";
import { printJson } from "./command_line/json.ts";
import { namedFileError } from "./command_line/named_file.ts";
import { configOption, examples, type Registrar } from "./command_line/subcommand.ts";
import { printable } from "./command_line/terminal.ts";

interface Flags {
  readonly config?: string;
  readonly json?: true;
  readonly ip?: string;
  readonly helo?: string;
  readonly from?: string;
}

/** Registers the subcommand. */
export function registerCheckMessage(program: Command, { io, action }: Registrar): void {
  program.command("check-message")
    .description("run serve-in's checks on a message in a file")
    .argument("<file>", "such as one in a Maildir")
    .option("--ip <address>", "the address it came from (default: as its Received field of this server says)")
    .option("--helo <name>", "the client's name in EHLO (default: likewise)")
    .option("--from <address>", "the reverse-path, <> for none (default: its Return-Path)")
    .option("--json", "print JSON")
    .addOption(configOption())
    .addHelpText(
      "after",
      "\nDNS lists and DMARC are applied as configured; greylisting and filters are not.\n" +
        examples("mailapp check-message --ip 192.0.2.1 --from bob@example.net message.eml"),
    )
    .action(action((file: string, flags: Flags) => checkMessage(file, { flags, io })));
}

/** Octets of a header section that are searched for the message's origin. */
const MAX_SEARCHED = 1024 * 1024;
/** The limit of serve-in. */
const MAX_HEADER = 32 * 1024 * 1024;

/** The origin of a message. */
interface Origin {
  readonly ip: string;
  readonly helo: string;
  readonly reversePath: ReversePath;
}

async function checkMessage(
  path: string,
  { flags, io }: { readonly flags: Flags; readonly io: Io },
): Promise<ExitCode> {
  const config = await loadConfig(flags.config, { env: io.env });
  const origin = originOf(await readHeader(path), { flags, config });
  const verdict = await inspect(path, { origin, config });
  const outcome: keyof typeof OUTCOMES = verdict.refuse !== undefined
    ? "refuse"
    : verdict.junk
    ? "junk"
    : "inbox";
  const result = {
    ip: origin.ip,
    helo: origin.helo,
    from: origin.reversePath?.text ?? "",
    outcome,
    ...(verdict.refuse !== undefined && { reply: replyText(verdict.refuse) }),
    ...verdict.log,
  };
  if (flags.json) printJson({ ...result, ...signatures(verdict.log) }, io);
  else io.out(describe(result));
  return EXIT.ok;
}

/** What was found of the signatures as data; the log has texts, such as `pass example.org`. */
function signatures({ dkim }: LogFields = {}): { readonly dkim?: readonly Record<string, string>[] } {
  if (!Array.isArray(dkim)) return {};
  return {
    dkim: dkim.map((text) => {
      const [result = "", domain] = String(text).split(" ", 2);
      return { result, ...(domain !== undefined && { domain }) };
    }),
  };
}

/** Runs all checks over the file. */
async function inspect(
  path: string,
  { origin, config }: { readonly origin: Origin; readonly config: Config },
): Promise<Pick<Verdict, "refuse" | "junk"> & { readonly log?: LogFields }> {
  const { ip, helo, reversePath } = origin;
  const { checks } = config.serveIn;
  const resolver = openResolver(config);
  using lists = new DnsLists({
    lists: checks.dnsLists,
    resolver,
    clock: systemClock,
    logger: silentLogger,
  });
  await lists.start();
  const options = {
    hostname: config.hostname,
    checks: { ...checks, greylist: "off" as const },
    isOwnDomain: (domain: string) =>
      isOwnDomain(domain, { hostname: config.hostname, domains: config.serveIn.domains }),
    resolver,
    clock: systemClock,
    lists,
    logger: silentLogger,
  };
  const session: Session = {
    id: "check",
    remote: { address: ip, port: 0 },
    // Programs of this machine come to the address that they come from.
    local: { address: isOfThisMachine(ip) ? ip : "0.0.0.0", port: 0 },
    hello: { verb: "EHLO", domain: helo },
    errorCount: 0,
    refusedRecipientCount: 0,
    messageCount: 0,
  };
  try {
    const inspection = await new MailInspector(options).begin({
      reversePath,
      recipients: [],
      body: "8BITMIME",
      smtputf8: true,
    }, session);
    using data = new InspectedData(inspection, new MemoryBudget(MAX_HEADER));
    for await (const piece of readPieces(path)) await data.push(piece);
    return data.refusal === undefined ? await data.verdict() : { refuse: data.refusal };
  } catch (error) {
    if (!(error instanceof SmtpError)) throw error;
    return { refuse: error.reply };
  }
}

/**
 * The message as on the wire, with CRLF: a Maildir has LF at line ends.
 * @throws {CommandError} with exit code 66
 */
async function* readPieces(path: string): AsyncGenerator<Uint8Array> {
  let before = 0;
  try {
    using file = await Deno.open(path);
    for await (const chunk of file.readable) {
      const piece = new Uint8Array(2 * chunk.length);
      let length = 0;
      for (const byte of chunk) {
        if (byte === LF && before !== CR) piece[length++] = CR;
        piece[length++] = byte;
        before = byte;
      }
      yield piece.subarray(0, length);
    }
  } catch (error) {
    if (error instanceof TypeError) throw error;
    throw namedFileError(path, error);
  }
}

const CR = 13;
const LF = 10;

async function readHeader(path: string): Promise<HeaderSection> {
  const collector = new HeaderCollector();
  for await (const piece of readPieces(path)) {
    if (collector.push(piece) !== undefined || collector.octets > MAX_SEARCHED) break;
  }
  return collector.section;
}

/**
 * The origin of the message, by the options, else by the fields that this server added.
 * @throws {CommandError} with exit code 64 where neither says so
 */
function originOf(
  section: HeaderSection,
  { flags, config }: { readonly flags: Flags; readonly config: Config },
): Origin {
  const [received] = section.named("received");
  const seen = received === undefined ? undefined : parseReceived(fieldValue(received), config.hostname);
  const ip = flags.ip ?? seen?.ip;
  if (ip === undefined || isIP(ip) === 0) {
    const what = ip === undefined
      ? `the message has no Received field of ${config.hostname}; name the client's address by --ip`
      : `--ip ${printable(ip)}: not an IP address`;
    throw new CommandError(what, EXIT.usage);
  }
  const [returnPath] = section.named("return-path");
  const from = flags.from ?? (returnPath === undefined ? "<>" : fieldValue(returnPath).trim());
  return { ip, helo: flags.helo ?? seen?.helo ?? "unknown", reversePath: parseFrom(from) };
}

/** The client's name and address in a Received field that this server wrote. */
function parseReceived(value: string, hostname: string): { helo: string; ip: string } | undefined {
  const [from, helo, address = "", by, host] = value.trim().split(/[ \t\r\n]+/);
  const ip = /^\(\[(?:IPv6:)?([0-9a-f.:]+)\]\)?$/i.exec(address)?.[1];
  return from === "from" && by === "by" && host === hostname && helo !== undefined && ip !== undefined
    ? { helo, ip }
    : undefined;
}

function parseFrom(text: string): ReversePath {
  const address = text.startsWith("<") && text.endsWith(">") ? text.slice(1, -1) : text;
  if (address === "") return null;
  try {
    return parseMailbox(address, { smtputf8: true, bare: "any" });
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    throw new CommandError(`the sender ${printable(text)}: ${error.message}`, EXIT.data, { cause: error });
  }
}

function replyText({ code, enhanced, lines }: Reply): string {
  return [code, enhanced, lines.join(" ")].filter((part) => part !== undefined && part !== "").join(" ");
}

const OUTCOMES = { refuse: "refused", junk: "filed as junk", inbox: "taken" } as const;

function describe(result: LogFields & { readonly outcome: keyof typeof OUTCOMES }): string {
  const { ip, helo, from, outcome, reply, ...found } = result;
  const lines = [
    `from ${from === "" ? "<>" : from}, by ${helo} [${ip}]`,
    ...Object.entries(found).map(([name, value]) =>
      `  ${name}: ${Array.isArray(value) ? value.join(", ") : value}`
    ),
    `  ${OUTCOMES[outcome]}${reply === undefined ? "" : `: ${reply}`}`,
  ];
  return lines.map((line) => `${printable(line)}\n`).join("");
}
