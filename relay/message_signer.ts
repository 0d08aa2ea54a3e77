/**
 * What signs the messages of a queue.
 *
 * @module
 */
import type { Header } from "../smtp/delivery.ts";

/** Signs one message as its body streams by. */
export interface MessageSigner {
  /** Takes the body as it will be sent: cut anywhere, valid only during the call. */
  push(chunk: Uint8Array): void;
  /** Ends the message; returns the fields that sign it (DKIM), to go above all others. */
  finish(): Promise<readonly Header[]>;
}
