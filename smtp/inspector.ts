/**
 * The seam between the protocol and what looks at messages: it sees each one as it comes, and says at its end, before
 * it is stored, what is to become of it.
 *
 * @module
 */
import type { LogFields } from "../base/log.ts";
import type { HeaderEdit } from "../message/header_edits.ts";
import type { HeaderSection } from "../message/header_section.ts";
import type { Header } from "./delivery.ts";
import type { Envelope } from "./envelope.ts";
import type { Reply } from "./reply.ts";
import type { Session } from "./session.ts";

/** Looks at messages. */
export interface Inspector {
  /**
   * Called at DATA or the first BDAT, before the delivery hears of the message.
   * @throws {SmtpError} with the reply that refuses the message before its data
   */
  begin(envelope: Envelope, session: Session): Promise<Inspection> | Inspection;
}

/** The inspection of one message. Disposed exactly once, without a verdict where the message was dropped. */
export interface Inspection extends Disposable {
  /**
   * Octets, as UTF-8 with CRLF, that the fields of the verdict take at most. A message that is stored as it comes gets
   * so much room on top, of which what is not needed is filled with white space; where more is needed it is copied.
   */
  readonly reserve: number;
  /** The header section, once it is complete. Called once, before the body. */
  header(section: HeaderSection): void;
  /**
   * The body as it streams by, dot-unstuffed, cut anywhere. The chunk is only valid until the returned promise settles
   * (or until the call returns, if it returns nothing).
   */
  body(chunk: Uint8Array): Promise<void> | void;
  /** The verdict; called once, when the message is complete. */
  verdict(): Promise<Verdict>;
}

/** The verdict on a message. */
export interface Verdict {
  /** Fields to put on top, below Return-Path and above Received, first one first. */
  readonly fields: readonly Header[];
  /** Refuses the message. */
  readonly refuse?: Reply;
  /** Whether it goes into the folder for junk. */
  readonly junk?: boolean;
  /** Changes of the header section. A message that was stored as it came is copied for them. */
  readonly edits?: readonly HeaderEdit[];
  /** Fields for the events about the end of the message. */
  readonly log: LogFields;
}
