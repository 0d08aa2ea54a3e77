/**
 * `mailapp explain --replay`: the decisions about a message as the log has them, and today's beside each.
 *
 * @module
 */
import { errorText } from "../../base/error_text.ts";
import type { Config } from "../../config/config.ts";
import { normalizeDomain } from "../../net/domain_name.ts";
import type { LogSource, TimeRange } from "../../observe/log_files.ts";
import type { LoggedEvent } from "../../observe/log_lines.ts";
import { linesWith, searchLog } from "../../observe/log_search.ts";
import { type Story, traceMessages } from "../../observe/message_trace.ts";
import { readQuery, timeOfQuery } from "../../observe/trace_query.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { openMailboxes } from "../../server/parts.ts";
import { AddressError, parseMailbox } from "../../smtp/address.ts";
import type { MailboxAddress } from "../../smtp/envelope.ts";
import { moment, printJson } from "../command_line/json.ts";
import { printable, showTime } from "../command_line/terminal.ts";
import { findLog } from "../trace/log_sources.ts";
import { routeByFile } from "./file_route.ts";
import { explainIncoming } from "./incoming.ts";

/** One decision. */
interface Replayed {
  readonly at: number;
  /** What was decided. */
  readonly decision: string;
  /** On what, by the log. */
  readonly by: readonly string[];
  /** What would be decided now. */
  readonly today: string;
}

/** A message is looked for from so long before its id was made, in milliseconds. */
const BEFORE = 3 * 3_600_000;
const MAX_DECISIONS = 50;

/** Prints the decisions about a message. */
export async function replay(
  what: string,
  { config, files, json, io }: {
    readonly config: Config;
    /** Logs that were named. */
    readonly files: readonly string[];
    readonly json: boolean;
    readonly io: Io;
  },
): Promise<ExitCode> {
  const query = readQuery(what);
  if (query === undefined) {
    throw new CommandError(
      `${printable(what)}: this is not an id, Message-ID or address, and holds none`,
      EXIT.usage,
    );
  }
  const log = await findLog(config, files);
  for (const problem of log.problems) io.err(`mailapp: ${printable(problem)}\n`);
  const range = { since: (timeOfQuery(query) ?? BEFORE) - BEFORE, until: Infinity };
  const { stories } = await traceMessages(query, { sources: log.sources, range, limit: 1 });
  const helloOf = (session: string) => findHello(session, { sources: log.sources, range });
  const decisions = await replayStories(stories, { config, helloOf });
  if (json) printJson({ decisions: decisions.map(({ at, ...rest }) => ({ at: moment(at), ...rest })) }, io);
  else io.out(decisions.map(describe).join("\n"));
  if (decisions.length === 0) {
    throw new CommandError(`the log has no decision about ${printable(what)}`, EXIT.unavailable);
  }
  return log.incomplete ? EXIT.noInput : EXIT.ok;
}

/** What the client of a session called itself, which the log has at its end. */
async function findHello(
  session: string,
  { sources, range }: { readonly sources: readonly LogSource[]; readonly range: TimeRange },
): Promise<string | undefined> {
  for await (const { event, fields } of searchLog(sources, { find: linesWith(session), range })) {
    const { hello } = fields;
    if (event === "session.closed" && fields["session"] === session && typeof hello === "string") {
      return hello;
    }
  }
  return undefined;
}

interface Context {
  readonly config: Config;
  /** The name that a client gave in a session. */
  readonly helloOf: (session: string) => Promise<string | undefined>;
}

async function replayStories(stories: readonly Story[], context: Context): Promise<Replayed[]> {
  const found: Replayed[] = [];
  for (const { events } of stories) {
    for (const event of events) {
      if (found.length >= MAX_DECISIONS) return found;
      const one = await replayed(event, context);
      if (one !== undefined) found.push(one);
    }
  }
  return found;
}

async function replayed(
  { event, time, fields }: LoggedEvent,
  { config, helloOf }: Context,
): Promise<Replayed | undefined> {
  if (event.startsWith("attempt.") || event === "queue.expired") {
    const recipient = String(fields["recipient"] ?? "");
    return {
      at: time,
      decision: `serve-out: ${recipient} ${event.slice(event.indexOf(".") + 1)}`,
      by: namedFields(fields, ["host", "address", "tls", "policy", "status", "reply", "error", "attempts"]),
      today: await wayToday(recipient, config),
    };
  }
  const isIncoming = fields["iprev"] !== undefined || fields["server"] === "serve-in";
  if (event === "command.refused") {
    const command = String(fields["command"] ?? "");
    const path = pathOf(command);
    if (path === undefined) return undefined;
    return {
      at: time,
      decision: `recipient refused: ${fields["reply"]}`,
      by: [`command: ${command}`, ...namedFields(fields, ["peer", "from"])],
      today: recipientToday(path, config),
    };
  }
  if ((event !== "message.accepted" && event !== "message.refused") || !isIncoming) return undefined;
  const session = fields["session"];
  const helo = typeof session === "string" ? await helloOf(session) : undefined;
  const [recipient = ""] = Array.isArray(fields["to"]) ? fields["to"].map(String) : [];
  const was = event === "message.refused"
    ? `refused: ${fields["reply"]}`
    : fields["junk"] === true || fields["junk"] === "true"
    ? "filed as junk"
    : "taken";
  return {
    at: time,
    decision: `serve-in: message ${was}`,
    by: [
      ...namedFields(fields, ["peer"]),
      ...(helo === undefined ? [] : [`hello: ${helo}`]),
      ...namedFields(fields, [
        ...["from", "to", "octets", "spf", "dkim", "arc", "arc_sealer", "dmarc", "dmarc_asks", "iprev"],
        ...["listed", "filters", "dns", "why"],
      ]),
    ],
    today: await incomingToday({
      recipient,
      from: String(fields["from"] ?? ""),
      ip: String(fields["peer"] ?? ""),
      helo,
    }, config),
  };
}

/** The forward-path of RCPT. */
function pathOf(command: string): string | undefined {
  return /^rcpt to:\s*<(?:@[^:<>]*:)?([^<>]*)>/i.exec(command)?.[1];
}

function namedFields(fields: LoggedEvent["fields"], names: readonly string[]): string[] {
  return names.flatMap((name) => {
    const value = fields[name];
    return value === undefined ? [] : [`${name}: ${Array.isArray(value) ? value.join(", ") : value}`];
  });
}

function parse(address: string, config: Config): MailboxAddress | undefined {
  try {
    const parsed = parseMailbox(address, { smtputf8: true, bare: "any" });
    const domain = parsed.domain === "" ? config.serveOut.qualifyDomain : parsed.domain;
    return { ...parsed, domain };
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
}

function recipientToday(address: string, config: Config): string {
  const parsed = parse(address, config);
  if (parsed === undefined) return "refused: not an address";
  if (config.serveIn.domains.length === 0) return "serve-in is not configured";
  const resolution = openMailboxes(config).resolve(parsed);
  if (resolution.kind === "local") {
    return `accepted, for ${resolution.mailboxes.map(({ address }) => address).join(", ")}`;
  }
  return resolution.kind === "unknown"
    ? "refused: no such mailbox (550 5.1.1)"
    : "refused: not a domain of ours (550 5.7.1)";
}

async function incomingToday(
  { recipient, from, ip, helo }: {
    readonly recipient: string;
    readonly from: string;
    readonly ip: string;
    readonly helo: string | undefined;
  },
  config: Config,
): Promise<string> {
  const address = parse(recipient, config);
  if (address === undefined || ip === "") return "unknown: the line lacks the needed fields";
  try {
    const { outcome, why, spf, dmarc, recipient: is } = await explainIncoming(config, {
      address,
      text: recipient,
      flags: { from: from === "" ? "<>" : from, ip, ...(helo !== undefined && { helo }) },
    });
    const found = [
      ...(is === "accepted" ? [] : [`recipient ${is.replace("_", " ")}`]),
      ...(spf === undefined ? [] : [`spf: ${spf.result}`]),
      ...(dmarc === undefined ? [] : [`dmarc: ${dmarc.result}`]),
      ...(why === "" ? [] : [why]),
    ];
    return `${outcome}${
      found.length > 0 ? ` (${found.join("; ")})` : ""
    }, without a signature, which only the message has`;
  } catch (error) {
    return `unknown: ${errorText(error)}`;
  }
}

async function wayToday(recipient: string, config: Config): Promise<string> {
  const domain = recipient.slice(recipient.lastIndexOf("@") + 1);
  const found = await routeByFile(
    config,
    domain.startsWith("[") ? domain : normalizeDomain(domain) ?? domain,
  );
  if (found.kind !== "targets") return `${found.kind}: ${found.status} ${found.reason}`;
  const hosts = found.targets.map(({ host, address, port, tls }) =>
    `${host} [${address}] port ${port}, TLS ${tls}`
  );
  return `sent to ${hosts.slice(0, 3).join("; ")}${hosts.length > 3 ? "; …" : ""}`;
}

function describe({ at, decision, by, today }: Replayed): string {
  return [
    `${showTime(at)} ${printable(decision)}`,
    ...by.map((line) => `    ${printable(line)}`),
    `  today: ${printable(today)}`,
    "",
  ].join("\n");
}
