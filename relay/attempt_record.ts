/**
 * Makes the {@linkcode Attempt} for the queue from the end of a try at a host.
 *
 * @module
 */
import type { DialogueFault, Stage } from "../smtp/send_result.ts";
import type { EnhancedStatusCode } from "../smtp/reply.ts";
import { type RemoteReply, replyText } from "../smtp/reply_reader.ts";
import type { Target } from "./mx.ts";
import type { Attempt, TlsDemand, TlsLevel } from "./queue_entry.ts";

/** How a try ended: with a reply, or with a local error. */
export interface AttemptEnd {
  /** The status of the outcome. */
  readonly status: EnhancedStatusCode;
  /** What the server said. */
  readonly reply?: RemoteReply;
  /** What was read of an unusable reply, in place of `reply`. */
  readonly said?: string;
  /** What happened, where there was no reply. */
  readonly error?: string;
  /** How the connection was protected, if there was one. */
  readonly tls?: TlsLevel;
  /** What asked for that. */
  readonly policy?: TlsDemand;
  /** Whether the dot was sent, and no reply came. */
  readonly dotSentNoReply?: boolean;
}

/** The record of a try that began at this time. */
export function attemptRecord(target: Target, at: number, { reply, said = "", ...end }: AttemptEnd): Attempt {
  const { host, address } = target;
  const words = reply === undefined ? said : replyText(reply);
  return { at, host, address, ...end, ...(words !== "" && { reply: words }) };
}

/** The status of a reply that is not final: a server that refuses for good today may take the message tomorrow. */
export function temporaryStatus({ enhanced }: RemoteReply): EnhancedStatusCode {
  return enhanced === undefined ? "4.0.0" : `4${enhanced.slice(1)}` as EnhancedStatusCode;
}

/** The status where there was no reply (RFC 3463 §3.5, §3.6). */
export function faultStatus(fault: DialogueFault): EnhancedStatusCode {
  if (fault === "malformed") return "4.5.0";
  return fault === "local" ? "4.3.0" : "4.4.2";
}

/** The error, with its place in the dialogue. */
export function errorAt(stage: Stage, error: string): string {
  return `${error} (${PLACES[stage]})`;
}

const PLACES: Readonly<Record<Stage, string>> = {
  greeting: "waiting for the greeting",
  hello: "after EHLO",
  starttls: "after STARTTLS",
  auth: "after AUTH",
  mail: "after MAIL",
  rcpt: "after RCPT",
  data: "in the mail data",
  dot: "after the final dot",
  rset: "after RSET",
  quit: "after QUIT",
};
