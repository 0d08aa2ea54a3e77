/**
 * The first line of a file in the maildrop: the envelope. What follows is the message. Any account may have written it.
 *
 * @module
 */
import type { DsnOptions, Notify } from "../../smtp/envelope.ts";

/** The envelope of a dropped message. */
export interface DroppedHead {
  /** Without angle brackets; `""` is the null reverse-path. */
  readonly sender: string;
  /** At least one, at most {@linkcode MAX_DROPPED_RECIPIENTS}. */
  readonly recipients: readonly string[];
  /** When a notice is wanted. */
  readonly notify?: Notify;
  /** RET and ENVID. */
  readonly dsn?: DsnOptions;
}

/** Recipients of one file; a message with more has several. */
export const MAX_DROPPED_RECIPIENTS = 1000;
/** Octets of the longest first line, its line feed included. */
export const MAX_DROPPED_HEAD = 1024 * 1024;

const VERSION = 1;
const MAX_ADDRESS = 1000;
const MAX_ENVELOPE_ID = 100;
const NOTIFY = ["NEVER", "SUCCESS", "FAILURE", "DELAY"];
// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u001f\u007f]/;

/** The first line was not written by mailapp. */
export class DroppedHeadError extends Error {
  /** `message` says what is wrong. */
  constructor(message: string) {
    super(message);
    this.name = "DroppedHeadError";
  }
}

/**
 * Writes the first line, with its line feed.
 * @throws {DroppedHeadError} when {@linkcode parseDroppedHead} would refuse it
 */
export function formatDroppedHead(head: DroppedHead): Uint8Array {
  const { sender, recipients, notify, dsn } = head;
  const line = JSON.stringify({ version: VERSION, sender, recipients, notify, dsn });
  const bytes = new TextEncoder().encode(`${line}\n`);
  if (bytes.length > MAX_DROPPED_HEAD) throw new DroppedHeadError("the addresses are too long");
  parseDroppedHead(line);
  return bytes;
}

/**
 * Reads a first line, without its line feed.
 * @throws {DroppedHeadError}
 */
export function parseDroppedHead(line: string): DroppedHead {
  let raw: Readonly<Record<string, unknown>>;
  try {
    raw = JSON.parse(line);
  } catch {
    throw new DroppedHeadError("the first line is not JSON");
  }
  if (raw === null || typeof raw !== "object") throw new DroppedHeadError("the first line is not an object");
  const { version, sender, recipients, notify, dsn } = raw;
  if (version !== VERSION) throw new DroppedHeadError("the first line has an unknown version");
  if (sender !== "" && !isAddress(sender)) throw new DroppedHeadError("the sender is not an address");
  if (
    !Array.isArray(recipients) || recipients.length === 0 || recipients.length > MAX_DROPPED_RECIPIENTS ||
    !recipients.every(isAddress)
  ) {
    throw new DroppedHeadError("the recipients are not addresses");
  }
  if (notify !== undefined && !isNotify(notify)) throw new DroppedHeadError("notify is none of RFC 3461");
  return {
    sender,
    recipients,
    ...(notify !== undefined && { notify }),
    ...(dsn !== undefined && { dsn: readDsn(dsn) }),
  };
}

function isAddress(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= MAX_ADDRESS && !CONTROL.test(value) &&
    !/[<>]/.test(value);
}

function isNotify(value: unknown): value is Notify {
  return Array.isArray(value) && value.length > 0 && value.length <= NOTIFY.length &&
    value.every((when) => NOTIFY.includes(when));
}

function readDsn(value: unknown): DsnOptions {
  const { ret, envelopeId } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (ret !== undefined && ret !== "FULL" && ret !== "HDRS") {
    throw new DroppedHeadError("ret is none of RFC 3461");
  }
  if (envelopeId === undefined) return { ...(ret !== undefined && { ret }) };
  if (typeof envelopeId !== "string" || envelopeId.length > MAX_ENVELOPE_ID || CONTROL.test(envelopeId)) {
    throw new DroppedHeadError("the envelope id is too long");
  }
  return { ...(ret !== undefined && { ret }), envelopeId };
}
