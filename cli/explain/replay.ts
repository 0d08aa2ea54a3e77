/**
 * `mailapp explain --replay`: the decisions about a message as the log has them, and today's beside each.
 *
 * @module
 */
import { errorText } from "../../base/error_text.ts";
import type { Config } from "../../config/config.ts";
import type { Resolver } from "../../dns/resolver.ts";
import { normalizeDomain } from "../../net/domain_name.ts";
import type { LogSource, TimeRange } from "../../observe/log_files.ts";
import type { LoggedEvent } from "../../observe/log_lines.ts";
import { linesWith, searchLog } from "../../observe/log_search.ts";
import { type Story, traceMessages } from "../../observe/message_trace.ts";
import { readQuery, timeOfQuery } from "../../observe/trace_query.ts";
import type { Targets } from "../../relay/mx.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import type { Io } from "../../server/io.ts";
import { openMailboxes } from "../../server/parts.ts";
import { AddressError, parseMailbox } from "../../smtp/address.ts";
import type { MailboxAddress } from "../../smtp/envelope.ts";
import { moment, printJson } from "../command_line/json.ts";
import { printable, showTime } from "../command_line/terminal.ts";
import { findLog } from "../trace/log_sources.ts";
import { type DnsEvidence, dnsEvidence, type MessageEvidence, messageEvidence } from "./evidence.ts";
import { routeByFile } from "./file_route.ts";
import { explainIncoming } from "./incoming.ts";

/** One decision. */
interface Replayed {
  readonly at: number;
  /** What was decided. */
  readonly decision: string;
  /** On what, by the log. */
  readonly by: readonly string[];
  /** What comes of that with the configuration as it is now; absent where the log has no answers of DNS. */
  readonly again?: string;
  /** Whether that is the decision of the log. */
  readonly same?: boolean;
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
      `${printable(what) || `""`}: this is not an id, Message-ID or address, and holds none`,
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
      by: namedFields(fields, [
        ...["host", "address", "tls", "policy", "status", "reply", "error", "attempts", "answers"],
      ]),
      ...await wayAgain(recipient, { fields, config }),
      today: describeWay(await wayNow(recipient, config)),
    };
  }
  const isIncoming = fields["iprev"] !== undefined || fields["server"] === "serve-in";
  if (event === "command.refused") {
    const command = String(fields["command"] ?? "");
    const path = pathOf(command);
    // Lists and greylisting decide when the message is to begin.
    if (path === undefined) {
      return fields["iprev"] === undefined ? undefined : await incoming({ time, fields, event }, {
        config,
        helo: await helloOf(String(fields["session"] ?? "")),
      });
    }
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
  return await incoming({ time, fields, event }, { config, helo });
}

/** A decision of serve-in's checks. */
async function incoming(
  { time, event, fields }: Pick<LoggedEvent, "time" | "event" | "fields">,
  { config, helo }: { readonly config: Config; readonly helo: string | undefined },
): Promise<Replayed> {
  const [recipient = config.serveIn.domains.map((domain) => `postmaster@${domain}`)[0] ?? ""] =
    Array.isArray(fields["to"]) ? fields["to"].map(String) : [];
  const was: Was = event === "message.accepted"
    ? fields["junk"] === true ? "junk" : "inbox"
    : String(fields["reply"]).includes(" Greylisted")
    ? "greylist"
    : "refuse";
  const sender: Sender = {
    recipient,
    from: String(fields["from"] ?? ""),
    ip: String(fields["peer"] ?? ""),
    helo,
    message: messageEvidence(fields),
  };
  return {
    at: time,
    decision: `serve-in: message ${
      was === "refuse" || was === "greylist"
        ? `refused: ${fields["reply"]}`
        : was === "junk"
        ? "filed as junk"
        : "taken"
    }`,
    by: [
      ...namedFields(fields, ["peer"]),
      ...(helo === undefined ? [] : [`hello: ${helo}`]),
      ...namedFields(fields, [
        ...["from", "to", "octets", "spf", "dkim", "arc", "arc_sealer", "dmarc", "dmarc_asks", "iprev"],
        ...["author", "listed", "filters", "dns", "why", "answers"],
      ]),
    ],
    ...await incomingAgain(sender, { was, fields, config }),
    today: (await decideIncoming(sender, { config })).text,
  };
}

/** The forward-path of RCPT. */
function pathOf(command: string): string | undefined {
  return /^rcpt to:\s*<(?:@[^:<>]*:)?([^<>]*)>/i.exec(command)?.[1];
}

function namedFields(fields: LoggedEvent["fields"], names: readonly string[]): string[] {
  return names.flatMap((name) => {
    const value = fields[name];
    if (value === undefined) return [];
    if (name === "answers" && Array.isArray(value)) return value.map((line) => `DNS: ${line}`);
    return [`${name}: ${Array.isArray(value) ? value.join(", ") : value}`];
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

type Was = "refuse" | "greylist" | "junk" | "inbox";

/** Who sent a message. */
interface Sender {
  readonly recipient: string;
  readonly from: string;
  readonly ip: string;
  readonly helo: string | undefined;
  readonly message: MessageEvidence;
}

/** What the checks make of a message. */
async function decideIncoming(
  { recipient, from, ip, helo, message }: Sender,
  { config, then }: {
    readonly config: Config;
    readonly then?: { readonly resolver: Resolver; readonly isKnown: boolean };
  },
): Promise<{ readonly text: string; readonly outcome?: Was }> {
  const address = parse(recipient, config);
  if (address === undefined || ip === "") return { text: "unknown: the line lacks the needed fields" };
  try {
    const { outcome, why, spf, dmarc, recipient: is } = await explainIncoming(config, {
      address,
      text: recipient,
      flags: { from: from === "" ? "<>" : from, ip, ...(helo !== undefined && { helo }) },
      message,
      ...(then && { then }),
    });
    const found = [
      ...(is === "accepted" ? [] : [`recipient ${is.replace("_", " ")}`]),
      ...(spf === undefined ? [] : [`spf: ${spf.result}`]),
      ...(dmarc === undefined ? [] : [`dmarc: ${dmarc.result}`]),
      ...(why === undefined ? [] : [why]),
    ];
    return { outcome, text: `${outcome}${found.length > 0 ? ` (${found.join("; ")})` : ""}` };
  } catch (error) {
    return { text: `unknown: ${errorText(error)}` };
  }
}

/** What the checks make of what the log has. */
async function incomingAgain(
  sender: Sender,
  { was, fields, config }: {
    readonly was: Was;
    readonly fields: LoggedEvent["fields"];
    readonly config: Config;
  },
): Promise<Pick<Replayed, "again" | "same">> {
  const lists = config.serveIn.checks.dnsLists.map(({ zone }) => zone);
  const dns = dnsEvidence(fields, { lists });
  if (dns === undefined) return {};
  const then = { resolver: dns.resolver, isKnown: was !== "greylist" };
  const { outcome, text } = await decideIncoming(sender, { config, then });
  const filtered = Array.isArray(fields["filters"]) ? ", without the filters" : "";
  return { again: `${text}${filtered}${dns.isWhole ? "" : CUT}`, same: outcome === was };
}

const CUT = "; some answers were too long for the log";

/** Where mail for a recipient is sent. */
async function wayNow(recipient: string, config: Config, then?: DnsEvidence): Promise<Targets> {
  const domain = recipient.slice(recipient.lastIndexOf("@") + 1);
  return await routeByFile(
    config,
    domain.startsWith("[") ? domain : normalizeDomain(domain) ?? domain,
    then,
  );
}

function describeWay(found: Targets): string {
  if (found.kind !== "targets") return `${found.kind}: ${found.status} ${found.reason}`;
  const hosts = found.targets.map(({ host, address, port, tls }) =>
    `${host} [${address}] port ${port}, TLS ${tls}`
  );
  return `sent to ${hosts.slice(0, 3).join("; ")}${hosts.length > 3 ? "; …" : ""}`;
}

/** Where it was sent by what the log has. */
async function wayAgain(
  recipient: string,
  { fields, config }: { readonly fields: LoggedEvent["fields"]; readonly config: Config },
): Promise<Pick<Replayed, "again" | "same">> {
  const dns = dnsEvidence(fields);
  if (dns === undefined) return {};
  const found = await wayNow(recipient, config, dns);
  const same = found.kind === "targets"
    ? found.targets.some(({ host, address }) => host === fields["host"] && address === fields["address"])
    : found.reason === fields["error"];
  return { again: `${describeWay(found)}${dns.isWhole ? "" : CUT}`, same };
}

function describe({ at, decision, by, again, same, today }: Replayed): string {
  return [
    `${showTime(at)} ${printable(decision)}`,
    ...by.map((line) => `    ${printable(line)}`),
    ...(again === undefined
      ? []
      : [`  decided again by that: ${same ? "the same: " : "otherwise now: "}${printable(again)}`]),
    `  today: ${printable(today)}`,
    "",
  ].join("\n");
}
