/**
 * Writes delivery status notifications, for people and for machines (RFC 3464, RFC 6522, RFC 6533).
 * settle.ts decides who is told what, and when.
 *
 * @module
 */
import { isAscii } from "node:buffer";
import { type Clock, systemClock } from "../base/clock.ts";
import { formatDate } from "../base/date.ts";
import { concat } from "../base/concat.ts";
import { maskUnprintable, wrap } from "../message/wrap.ts";
import { isIpv4, isIpv6 } from "../net/ip_address.ts";
import { addressLiteral } from "../smtp/trace.ts";
import type { NewEntry, Queue } from "./queue.ts";
import {
  type Attempt,
  lastAttempt,
  pendingRecipient,
  type QueueEntry,
  type QueueRecipient,
  RETURNED_BY_OPERATOR,
} from "./queue_entry.ts";
import { explainReply } from "./reply_causes.ts";
import { boundaryOf, encodedPart, HEADER_BELOW, multipart, type Part, WHOLE_BELOW } from "./notice_parts.ts";
import { isInternational, messageIdOf, readReturned, type ReturnedContent } from "./returned_content.ts";
import type { ComposeNotice, NoticeKind, NoticeRequest } from "./settle.ts";
import { writeSmaller } from "./smaller_notice.ts";

/** What the writer of notices depends on. */
export interface NoticeOptions {
  /** Opens the message that a notice is about. */
  readonly queue: Pick<Queue, "open">;
  /** This server's name: Reporting-MTA, and the domain of MAILER-DAEMON. */
  readonly hostname: string;
  /** Milliseconds after acceptance until a message is given up. */
  readonly expireAfter: number;
  /** Maps a name of this machine to its local domain. */
  readonly localDomain?: (domain: string) => string | undefined;
  /** Gives the date; default: the system's. */
  readonly clock?: Clock;
}

const MAX_WORDS_QUOTED = 5;
const TEXT_WIDTH = 76;
// Of the 998 octets of a line (RFC 5322 §2.1.1), with room for the address type and characters of several octets.
const MAX_UNFOLDED = 320;

/** The most characters about recipients in the part for people; the part for machines names them all. */
const MAX_TEXT = 64 * 1024;

const encoder = new TextEncoder();

/** Makes the writer of notices. If the message cannot be read any more, the notice goes without it. */
export function noticeComposer(options: NoticeOptions): ComposeNotice {
  const { queue, clock = systemClock } = options;
  return async (request) => {
    if (request.entry.reversePath === "") return await writeSmaller(request, { queue, now: clock.now() });
    const whole = request.kind === "failure" && request.entry.dsn?.ret === "FULL" &&
      // RFC 8689 §5.
      !request.entry.requireTls;
    const returned = await readReturned(queue, { entry: request.entry, whole });
    return writeNotice(request, { ...options, now: clock.now(), ...(returned && { returned }) });
  };
}

/** Writes one notice. Pure: the same input gives the same bytes. */
export function writeNotice(
  request: NoticeRequest,
  options: {
    /** This server's name. */
    readonly hostname: string;
    /** Milliseconds after acceptance until a message is given up. */
    readonly expireAfter: number;
    /** Maps a name of this machine to its local domain. */
    readonly localDomain?: (domain: string) => string | undefined;
    /** Milliseconds since the epoch. */
    readonly now: number;
    /** What comes back of the message; absent when it could not be read. */
    readonly returned?: ReturnedContent;
  },
): { entry: NewEntry; message: Uint8Array } {
  const { id, entry, kind } = request;
  const { hostname, now, returned } = options;
  const recipients = request.recipients.flatMap((index) => entry.recipients[index] ?? []);
  const facts: Facts = {
    ...options,
    kind,
    entry,
    recipients,
    giveUpAt: now + Math.max(0, options.expireAfter - request.age),
  };
  const boundary = boundaryOf(id);
  const parts = [
    textPart(explain(facts)),
    statusPart(facts),
    ...(returned === undefined ? [] : [returnedPart(returned, entry)]),
  ];
  const replyTo = returned === undefined ? undefined : messageIdOf(returned);
  const header = [
    `Date: ${formatDate(now)}`,
    `From: Mail Delivery System <MAILER-DAEMON@${hostname}>`,
    `To: <${entry.reversePath}>`,
    `Subject: ${subject(facts)}`,
    `Message-ID: <${id}@${hostname}>`,
    ...(replyTo === undefined ? [] : [`In-Reply-To: ${replyTo}`, `References: ${replyTo}`]),
    "Auto-Submitted: auto-replied",
    "MIME-Version: 1.0",
    `Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="${boundary}"`,
    "",
    "This is a MIME-encoded message.",
    "",
  ].join("\r\n");
  const message = concat(
    encoder.encode(header),
    ...multipart(parts, boundary),
  );
  const eightBitHeader = !isAscii(encoder.encode(header));
  const eightBitBody = parts.some(({ body }) => !isAscii(body));
  return {
    message,
    entry: {
      id,
      acceptedAt: now,
      // A notice that cannot be delivered must not lead to another one (RFC 5321 §4.5.5).
      reversePath: "",
      body: eightBitBody ? "8BITMIME" : "7BIT",
      smtputf8: eightBitHeader,
      size: message.length,
      content: { eightBitHeader, eightBitBody },
      recipients: [recipientOf(entry.reversePath, options.localDomain)],
    },
  };
}

/** The sender of a message as the recipient of a notice. */
function recipientOf(address: string, localDomain: NoticeOptions["localDomain"]): QueueRecipient {
  const at = address.lastIndexOf("@");
  const domain = address.slice(at + 1).toLowerCase();
  const local = localDomain?.(domain);
  return local === undefined
    ? pendingRecipient(address, domain)
    : pendingRecipient(`${address.slice(0, at)}@${local}`, local);
}

interface Facts {
  readonly kind: NoticeKind;
  readonly entry: QueueEntry;
  readonly recipients: readonly QueueRecipient[];
  readonly hostname: string;
  readonly giveUpAt: number;
  readonly returned?: ReturnedContent;
}

function subject({ kind, recipients }: Facts): string {
  const [first] = recipients;
  // An address in the subject is short ASCII, or left out, so the subject needs no encoding.
  const whom = recipients.length === 1 && first !== undefined && /^[!-~]{1,60}$/.test(first.address)
    ? first.address
    : `${recipients.length} recipient${recipients.length === 1 ? "" : "s"}`;
  switch (kind) {
    case "failure":
      return `Not delivered: your message to ${whom}`;
    case "delay":
      return `Delayed: your message to ${whom}`;
    case "success":
      return `Relayed: your message to ${whom}`;
  }
}

/** The part for people. */
function explain(facts: Facts): string {
  const { kind, entry, recipients, hostname, giveUpAt, returned } = facts;
  const lines = [...paragraph(`This is the mail server ${hostname}.`), ""];
  const these = recipients.length === 1 ? "this recipient" : "these recipients";
  switch (kind) {
    case "failure":
      lines.push(
        ...paragraph(`Your message could not be delivered to ${these}, and will not be tried again:`),
      );
      break;
    case "delay":
      lines.push(...paragraph(
        `Your message has not been delivered to ${these} yet. You need not do anything: it is being tried until ` +
          `${formatDate(giveUpAt)}, and you will be notified if that fails.`,
      ));
      break;
    case "success":
      lines.push(...paragraph(
        `Your message has been handed on for ${these} to a mail server that does not send notices of delivery. Unless ` +
          "something goes wrong, you will hear no more of it:",
      ));
  }
  let length = 0;
  for (const [index, recipient] of recipients.entries()) {
    const about = ["", ...explainRecipient(recipient, kind)];
    length += about.reduce((sum, line) => sum + line.length + 2, 0);
    if (length > MAX_TEXT && index > 0) {
      const more = recipients.length - index;
      const are = more === 1 ? "recipient is" : "recipients are";
      lines.push("", ...paragraph(`${more} more ${are} named in the report below.`));
      break;
    }
    lines.push(...about);
  }
  lines.push(
    "",
    ...paragraph(`It was accepted here on ${formatDate(entry.acceptedAt)} with the queue id ${entry.id}.`),
  );
  if (returned !== undefined) {
    lines.push(returned.whole ? WHOLE_BELOW : HEADER_BELOW);
  }
  return lines.join("\r\n") + "\r\n";
}

function explainRecipient(recipient: QueueRecipient, kind: NoticeKind): string[] {
  const lines = [`<${maskUnprintable(recipient.address)}>`];
  const { attemptCount, originalRecipient } = recipient;
  if (originalRecipient !== undefined && originalRecipient.address !== recipient.address) {
    lines.push(...paragraph(`(sent to ${originalRecipient.address})`, "  "));
  }
  const last = lastAttempt(recipient);
  if (isReturned(recipient)) lines.push(...paragraph("Given up by the operator of this server.", "  "));
  if (recipient.status === "expired") {
    lines.push(
      ...paragraph(`Given up after ${attemptCount} ${attemptCount === 1 ? "attempt" : "attempts"}.`, "  "),
    );
  }
  for (const attempt of latestAttempts(recipient)) {
    lines.push(...paragraph(`${speaker(attempt)}:`, "  "), ...quote(attempt));
  }
  if (last === undefined || kind === "success") return lines;
  const cause = explainReply(last);
  if (cause === undefined) return lines;
  lines.push("", ...paragraph(`What this means: ${cause.meaning}`, "  "));
  // While it is still being tried there is nothing to do yet, whatever there will be.
  if (kind === "failure") lines.push(...paragraph(`What you can do: ${cause.sender}`, "  "));
  return lines;
}

/** The newest word of each host that said something, newest first; a refusal stands for itself. */
function latestAttempts(recipient: QueueRecipient): Attempt[] {
  const { attempts, status } = recipient;
  const newest = attempts.filter(({ error }) => error !== RETURNED_BY_OPERATOR).toReversed();
  if (status === "relayed" || (status === "failed" && !isReturned(recipient))) return newest.slice(0, 1);
  const seen = new Set<string>();
  return newest.filter(({ host, address, reply, error }) => {
    const key = JSON.stringify([host, address, reply, error]);
    return !seen.has(key) && seen.add(key).size <= MAX_WORDS_QUOTED;
  });
}

/** Whether an operator gave up on it, and no server refused it for good. */
function isReturned({ attempts }: QueueRecipient): boolean {
  return attempts.at(-1)?.error === RETURNED_BY_OPERATOR;
}

function speaker({ at, host, address, reply }: Attempt): string {
  const whom = address === undefined || address === host ? host : `${host} (${address})`;
  return `${formatDate(at)}, ${whom}${reply === undefined ? "" : " said"}`;
}

function quote({ reply, error, status }: Attempt): string[] {
  const said = (reply ?? "").split("\n").filter((line) => line !== "").flatMap((line) =>
    paragraph(line, "    ")
  );
  const own = error === undefined ? [] : paragraph(error, "    ");
  const words = [...said, ...own];
  return words.length > 0 ? words : [`    ${status}`];
}

/** The part for machines (RFC 3464 §2). */
function statusPart(facts: Facts): Part {
  const { entry, recipients, hostname } = facts;
  const global = recipients.some(({ address, originalRecipient }) =>
    !isAscii(encoder.encode(address + (originalRecipient?.address ?? "")))
  );
  const groups = [
    [
      `Reporting-MTA: dns; ${hostname}`,
      ...(entry.dsn?.envelopeId === undefined ? [] : [`Original-Envelope-Id: ${entry.dsn.envelopeId}`]),
      `Arrival-Date: ${formatDate(entry.acceptedAt)}`,
    ],
    ...recipients.map((recipient) => recipientFields(recipient, facts)),
  ];
  const text = groups.map((fields) => fields.map((field) => `${fold(field, global)}\r\n`).join("")).join(
    "\r\n",
  );
  // RFC 6533 §4.1; the plain type where it suffices (§4.4), since more programs read it.
  const type = global ? "message/global-delivery-status" : "message/delivery-status";
  return encodedPart(type, encoder.encode(text));
}

function recipientFields(recipient: QueueRecipient, { kind, giveUpAt }: Facts): string[] {
  const { address, originalRecipient } = recipient;
  const last = lastAttempt(recipient);
  const fields: string[] = [];
  if (originalRecipient !== undefined) {
    fields.push(`Original-Recipient: ${originalRecipient.type}; ${originalRecipient.address}`);
  }
  const type = !isAscii(encoder.encode(address)) ? "utf-8" : "rfc822";
  fields.push(
    `Final-Recipient: ${type}; ${address}`,
    `Action: ${kind === "failure" ? "failed" : kind === "delay" ? "delayed" : "relayed"}`,
    `Status: ${statusOf(recipient, kind)}`,
  );
  if (last !== undefined) {
    const { host, reply, error, at } = last;
    if (last.address !== undefined) fields.push(`Remote-MTA: dns; ${mtaName(host)}`);
    if (reply !== undefined) fields.push(`Diagnostic-Code: smtp; ${reply.replaceAll("\n", " ")}`);
    else if (error !== undefined) fields.push(`Diagnostic-Code: x-mailapp; ${error}`);
    fields.push(`Last-Attempt-Date: ${formatDate(at)}`);
  }
  if (kind === "delay") fields.push(`Will-Retry-Until: ${formatDate(giveUpAt)}`);
  return fields;
}

/** The status code (RFC 3463), of the class that goes with what is reported. */
function statusOf(recipient: QueueRecipient, kind: NoticeKind): string {
  if (recipient.status === "expired") return "4.4.7";
  const last = /^[245](\.\d{1,3}\.\d{1,3})$/.exec(lastAttempt(recipient)?.status ?? "")?.[1] ?? ".0.0";
  if (kind === "success") return "2.0.0";
  return kind === "failure" ? `5${last}` : `4${last}`;
}

/** The name of a host; an address is in brackets (RFC 3464 §2.1.1, RFC 5321 §4.1.3). */
function mtaName(host: string): string {
  return isIpv4(host) || isIpv6(host) ? addressLiteral(host) : host;
}

/** What comes back of the message: whole as RET=FULL asks, else its header section. */
function returnedPart({ bytes, whole }: ReturnedContent, entry: QueueEntry): Part {
  const global = isInternational(entry);
  if (!whole) return encodedPart(global ? "message/global-headers" : "text/rfc822-headers", bytes);
  if (global) return encodedPart("message/global", bytes);
  return { fields: ["Content-Type: message/rfc822", "Content-Transfer-Encoding: 7bit"], body: bytes };
}

function textPart(text: string): Part {
  return encodedPart("text/plain; charset=utf-8", encoder.encode(text));
}

/** Text that may quote others, wrapped. */
function paragraph(text: string, indent = ""): string[] {
  return wrap(maskUnprintable(text), { width: TEXT_WIDTH, indent, longest: TEXT_WIDTH - indent.length });
}

/** A field in lines of at most 76 characters where that is possible without cutting an address. */
function fold(field: string, utf8: boolean): string {
  const text = utf8 ? field : field.replace(/[^\0-\x7f]/gu, "?");
  return wrap(maskUnprintable(text), { width: TEXT_WIDTH, longest: MAX_UNFOLDED }).join("\r\n ");
}
