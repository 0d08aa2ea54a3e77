/**
 * How a dialogue and its transactions ended, as the client reports it.
 *
 * @module
 */
import type { RemoteReply } from "./reply_reader.ts";

/** Where in the dialogue something happened; `dot` is the end of the mail data. */
export type Stage =
  | "greeting"
  | "hello"
  | "starttls"
  | "auth"
  | "mail"
  | "rcpt"
  | "data"
  | "dot"
  | "rset"
  | "quit";

/** Why there was no reply. */
export type DialogueFault =
  /** Too late. */
  | "timeout"
  /** The connection ended or broke. */
  | "closed"
  /** What came was not a reply, or not one to this command. */
  | "malformed"
  /** On this side: the message could not be read, or `beforeDot` failed. */
  | "local";

/** What happened to one recipient. */
export type RecipientResult =
  /** The server has it (2xx to the dot). */
  | { readonly kind: "relayed"; readonly reply: RemoteReply }
  /** The server refused, 4xx or 5xx. */
  | { readonly kind: "refused"; readonly stage: Stage; readonly reply: RemoteReply }
  /** No answer. `afterDot`: the server may have it all the same (RFC 1047). */
  | {
    readonly kind: "lost";
    readonly stage: Stage;
    readonly fault: DialogueFault;
    readonly error: string;
    readonly afterDot: boolean;
    /** The outcome of a reply that makes no sense or did not come to its end; lines with their codes, joined by LF. */
    readonly said?: string;
  };

/** What happened to one transaction. */
export interface SendResult {
  /** One per recipient, in the order of the message's. */
  readonly recipients: readonly RecipientResult[];
  /** Whether another message can be sent over this connection. */
  readonly usable: boolean;
  /** The dialogue broke while replies to a group of commands were due (RFC 2920); the server may not bear groups. */
  readonly groupLost: boolean;
}

/** There was no reply, or none that makes sense. The connection is closed. */
export class DialogueError extends Error {
  /** Where. */
  readonly stage: Stage;
  /** Why. */
  readonly fault: DialogueFault;
  /** What was read of a reply all the same; `""` for nothing. */
  readonly said: string;

  /** `message` says what went wrong. */
  constructor(
    message: string,
    options: { stage: Stage; fault: DialogueFault; said?: string; cause?: unknown },
  ) {
    super(message, { cause: options.cause });
    this.name = "DialogueError";
    this.stage = options.stage;
    this.fault = options.fault;
    this.said = options.said ?? "";
  }
}
