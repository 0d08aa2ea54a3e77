/**
 * Describes the events of a message in plain words.
 *
 * @module
 */
import { eventOf } from "../../observe/events.ts";
import type { LoggedEvent } from "../../observe/log_lines.ts";
import { textsOf } from "../../observe/trace_query.ts";
import { explainReply } from "../../relay/reply_causes.ts";
import { count, printable, showDuration, showTime } from "../command_line/terminal.ts";

type Fields = LoggedEvent["fields"];
type Words = (fields: Fields, event: LoggedEvent) => string;

const text = (value: unknown) =>
  textsOf(value).join(", ") || (typeof value === "number" ? String(value) : "");
/** 0 for what is not a number of the size that times and counts have. */
const number = (value: unknown) => typeof value === "number" && Math.abs(value) < 1e15 ? value : 0;
const path = (value: unknown) => value === "" ? "<>" : text(value);

function host({ host, address, tls }: Fields): string {
  const where = text(host) === "" ? text(address) : text(host);
  const ip = text(address) === "" || address === host ? "" : ` [${text(address)}]`;
  return `${where}${ip}${text(tls) === "" ? "" : tls === "none" ? ", without TLS" : `, TLS ${text(tls)}`}`;
}

function said({ reply, error, status }: Fields): string {
  const words = [text(reply).replaceAll("\n", " / "), text(error)].filter((part) => part !== "").join(" – ");
  return words === "" ? text(status) : words;
}

/** The meaning of the other server's reply, if known. */
function meaning({ reply, error, status }: Fields): string {
  const cause = explainReply({
    status: text(status),
    ...(text(reply) !== "" && { reply: text(reply) }),
    ...(text(error) !== "" && { error: text(error) }),
  });
  if (cause === undefined) return "";
  return `\n${cause.meaning}${cause.operator === undefined ? "" : ` ${cause.operator}`}`;
}

function checks(fields: Fields): string {
  const found = ["spf", "dkim", "arc", "dmarc", "iprev", "listed", "filters"].flatMap((name) =>
    text(fields[name]) === "" ? [] : [`${name}: ${text(fields[name])}`]
  );
  const why = text(fields["why"]) === "" ? "" : `; ${text(fields["why"])}`;
  const junk = fields["junk"] === true ? "; filed as junk" : "";
  return found.length === 0 ? "" : `\nchecks: ${found.join(", ")}${junk}${why}`;
}

const message = (fields: Fields) =>
  `from ${path(fields["from"])} to ${text(fields["to"])}, ${text(fields["octets"])} octets` +
  (text(fields["message_id"]) === "" ? "" : `, Message-ID ${text(fields["message_id"])}`);

const WORDS = new Map<string, Words>(Object.entries({
  "session.opened": ({ peer, local }) => `${text(peer)} connects to ${text(local)}`,
  "session.closed": (fields) =>
    `the session with ${text(fields["peer"])}${
      text(fields["hello"]) === "" ? "" : ` (${text(fields["hello"])})`
    } ends: ${text(fields["reason"])}, ${count(number(fields["messages"]), "message")}` +
    (text(fields["tls"]) === "" ? ", without TLS" : `, ${text(fields["tls"])}`),
  "login.accepted": ({ login, mechanism }) => `${text(login)} logs in by ${text(mechanism)}`,
  "command.refused": ({ command, reply }) => `refused: ${text(command)}: ${text(reply)}`,
  "connection.refused": ({ peer, reply }) => `${text(peer)} is refused: ${text(reply)}`,
  "message.accepted": (fields) => `accepted ${message(fields)}${checks(fields)}`,
  "message.refused": (fields) => `refused: ${said(fields)}; ${message(fields)}${checks(fields)}`,
  "message.repaired": ({ repairs }) => `repaired: ${text(repairs)}`,
  "message.left": ({ left }) => `not repaired, although others may refuse it: ${text(left)}`,
  "message.delivered": ({ mailbox, file }) => `stored for ${text(mailbox)}: ${text(file)}`,
  "message.withdrawn": ({ error }) => `removed from the mailboxes again: ${text(error)}`,
  "junk.not_filed": ({ mailbox, error }) => `junk, but in the inbox of ${text(mailbox)}: ${text(error)}`,
  "dkim.signed": ({ domain }) => `signed for ${text(domain)}`,
  "dkim.unsigned": ({ reason }) => `not signed: ${text(reason)}`,
  "attempt.relayed": (fields) => `${text(fields["recipient"])}: accepted by ${host(fields)}: ${said(fields)}`,
  "attempt.failed": (fields) =>
    `${text(fields["recipient"])}: rejected by ${host(fields)}: ${said(fields)}${meaning(fields)}`,
  "attempt.deferred": (fields, { time }) =>
    `${text(fields["recipient"])}: deferred by ${host(fields)}: ${said(fields)}${meaning(fields)}` +
    (fields["dot_sent_no_reply"] === true ? "\nthe whole message was sent: it may have arrived" : "") +
    `\nattempt ${text(fields["attempts"])}; tried again at ${showTime(time + number(fields["again_ms"]))}, ` +
    `${showDuration(number(fields["again_ms"]))} later`,
  "queue.expired": (fields) =>
    `${text(fields["recipient"])}: given up after ${text(fields["attempts"])} attempts; the last one, ` +
    `${host(fields)}: ${said(fields)}`,
  "queue.done": () => "done; it leaves the queue",
  "dsn.queued": ({ kind, to, recipients, dsn }) =>
    `${text(to)} is notified of ${kind === "success" ? "success" : `the ${text(kind)}`} for ${
      text(recipients)
    }, by message ${text(dsn)}`,
  "dsn.unwanted": ({ recipient }) => `${text(recipient)}: the sender asked for no notice`,
  "dsn.held": ({ recipient }) => `${text(recipient)}: there is no sender to notify; it is held`,
}));

/** The events that have their own words. */
export const EVENT_NAMES: readonly string[] = [...WORDS.keys()];

/** An event in words; the first line says what, further ones explain. Control characters are escaped. */
export function wordsOf(event: LoggedEvent): string {
  const words = WORDS.get(event.event);
  const said = words === undefined ? unknownEvent(event) : words(event.fields, event);
  return said.split("\n").map(printable).join("\n");
}

function unknownEvent({ event, fields }: LoggedEvent): string {
  const { server: _, session: _session, id: _id, peer: _peer, ...rest } = fields;
  const pairs = Object.entries(rest).map(([name, value]) =>
    `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`
  );
  const means = eventOf(event)?.[3].replaceAll("`", "");
  return [[event, ...pairs].join(" "), ...(means === undefined ? [] : [`(${means})`])].join("\n");
}
