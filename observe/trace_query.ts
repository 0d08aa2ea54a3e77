/**
 * What somebody who looks for a message can name it by.
 *
 * @module
 */
import type { LoggedEvent } from "./log_lines.ts";

/** How a message is looked for. */
export type TraceQuery =
  /** A queue id, the id of a message at serve-in, or a session id. */
  | { readonly kind: "id"; readonly text: string }
  /** Sender, recipient, mailbox or login, in any letter case. */
  | { readonly kind: "address"; readonly text: string }
  /** With angle brackets. */
  | { readonly kind: "message-id"; readonly text: string }
  /** The unique part of a name in a Maildir, and the path as it was given. */
  | { readonly kind: "file"; readonly text: string; readonly path: string };

/** A time in base 36 or 10 of which one can be sure: 2020 to 2100. */
const EARLIEST = Date.UTC(2020, 0);
const LATEST = Date.UTC(2100, 0);
const QUEUE_ID = /\b[0-9a-z]{18,24}\b/;
const RECEIVED_ID = /\b([0-9a-z]{6,8})Q[0-9a-z]+R[0-9a-f]{8}\b/;
const BOUNCE_ADDRESS = /<([^<>\s@]+@[^<>\s@]+)>/;
const MAILDIR_NAME = /^(\d{9,11}\.[^,:/\s]+)/;

/** Reads what was typed or pasted; `undefined` where nothing in it can be looked for. */
export function readQuery(what: string): TraceQuery | undefined {
  const text = what.trim();
  const messageId = /^(?:message-id:\s*)?(<[^<>\s]+>)$/i.exec(text)?.[1];
  if (messageId !== undefined) return { kind: "message-id", text: messageId };
  const name = text.slice(text.lastIndexOf("/") + 1);
  const unique = MAILDIR_NAME.exec(name)?.[1];
  if (unique !== undefined && !/\s/.test(text)) return { kind: "file", text: unique, path: text };
  if (/^[A-Za-z0-9]{4,40}$/.test(text)) return { kind: "id", text };
  if (/^[^\s<>@]+@[^\s<>]+$/.test(text)) return { kind: "address", text };
  // A line of a notice, of a log, or of a Received field.
  const id =
    [...text.matchAll(new RegExp(QUEUE_ID, "g"))].map(([id]) => id).find((id) =>
      timeOfId(id) !== undefined
    ) ??
      RECEIVED_ID.exec(text)?.[0];
  if (id !== undefined) return { kind: "id", text: id };
  const address = BOUNCE_ADDRESS.exec(text)?.[1];
  return address === undefined ? undefined : { kind: "address", text: address };
}

/** When an id was drawn, which stands in it, in milliseconds since the epoch. */
export function timeOfId(id: string): number | undefined {
  const received = RECEIVED_ID.exec(id);
  const time = received !== null
    ? parseInt(received[1] ?? "", 36) * 1000
    : QUEUE_ID.test(id)
    ? parseInt(id.slice(0, 8), 36)
    : NaN;
  return time > EARLIEST && time < LATEST ? time : undefined;
}

/** Whether an id is one of serve-in, whose part is over when it has answered. */
export function isReceivedId(id: string): boolean {
  return RECEIVED_ID.test(id);
}

/** When what is looked for began, where that stands in its name; in milliseconds since the epoch. */
export function timeOfQuery({ kind, text }: TraceQuery): number | undefined {
  if (kind === "id") return timeOfId(text);
  if (kind === "message-id") return timeOfId(/^<([0-9a-z]+)@/.exec(text)?.[1] ?? "");
  if (kind !== "file") return undefined;
  const time = Number(/^\d+/.exec(text)?.[0]) * 1000;
  return time > EARLIEST && time < LATEST ? time : undefined;
}

/** What the lines must have in them, and whether in any letter case. */
export function needleOf({ kind, text }: TraceQuery): { readonly text: string; readonly anyCase: boolean } {
  // As it stands in a line of the log.
  const written = JSON.stringify(text).slice(1, -1);
  const octets = Array.from(new TextEncoder().encode(written), (octet) => String.fromCharCode(octet)).join(
    "",
  );
  if (kind === "message-id") {
    // One that serve-out gave to a message stands in no line; the id within does.
    const id = /^<([0-9a-z]+)@/.exec(text)?.[1];
    if (id !== undefined && timeOfId(id) !== undefined) return { text: id, anyCase: false };
  }
  return { text: octets, anyCase: kind === "address" };
}

/** Whether an event is about what is looked for, once its line has the needle. */
export function isMeant(query: TraceQuery, { fields }: Pick<LoggedEvent, "fields">): boolean {
  const { kind, text } = query;
  switch (kind) {
    case "id":
      return idsIn(fields).includes(text);
    case "address": {
      const wanted = text.toLowerCase();
      return ["from", "to", "recipient", "recipients", "mailbox", "login"].flatMap((name) =>
        textsOf(fields[name])
      )
        .some((address) => address.toLowerCase() === wanted);
    }
    case "message-id":
      return fields["message_id"] === text || idsIn(fields).includes(/^<([0-9a-z]+)@/.exec(text)?.[1] ?? "-");
    case "file":
      return [...textsOf(fields["file"]), ...textsOf(fields["files"])]
        .some((path) => path.slice(path.lastIndexOf("/") + 1).startsWith(text));
  }
}

/** All ids of messages and sessions that an event names, those in the other server's words too. */
export function idsIn(fields: LoggedEvent["fields"]): string[] {
  const ids = ["id", "session", "dsn", "queue_id"].flatMap((name) => textsOf(fields[name]));
  const words = textsOf(fields["reply"]).flatMap((reply) => reply.match(new RegExp(RECEIVED_ID, "g")) ?? []);
  const queued = textsOf(fields["reply"]).flatMap((reply) => reply.match(new RegExp(QUEUE_ID, "g")) ?? []);
  return [...ids, ...words, ...queued.filter((id) => timeOfId(id) !== undefined)];
}

/** The texts that a field holds. */
export function textsOf(value: unknown): string[] {
  return (Array.isArray(value) ? value : [value]).filter((item) => typeof item === "string");
}
