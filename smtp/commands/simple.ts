import * as replies from "../replies.ts";
import { reply } from "../reply.ts";
import type { Session } from "../session.ts";
import { type CommandContext, type Outcome, resetTransaction, respond } from "./command_context.ts";

/** RSET (RFC 5321 §4.1.1.5): ends the transaction, keeps the session. */
export async function rset(session: Session, argument: string): Promise<Outcome> {
  if (argument !== "") return respond(replies.noArgument("RSET"));
  await resetTransaction(session);
  return respond(replies.ok);
}

/** NOOP (RFC 5321 §4.1.1.9): does nothing; its argument is ignored. */
export function noop(): Outcome {
  return respond(replies.ok);
}

/** QUIT (RFC 5321 §4.1.1.10): replies, then closes. */
export function quit(_session: Session, argument: string, { hostname }: CommandContext): Outcome {
  if (argument !== "") return respond(replies.noArgument("QUIT"));
  return { reply: reply(221, "2.0.0", `${hostname} says goodbye`), then: "close" };
}

/** HELP (RFC 5321 §4.1.1.8): how a message is sent by hand. */
export function help({ tls }: Session, _argument: string, { tlsAvailable }: CommandContext): Outcome {
  const startTls = tlsAvailable && tls === undefined ? " STARTTLS" : "";
  return respond(reply(
    214,
    "2.0.0",
    `Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT HELP${startTls}`,
    "One message: EHLO your.host.name, MAIL FROM:<you@example.org>, RCPT TO:<somebody@here>, DATA,",
    "then the message, an empty line between its header and its body, and a line with a dot. Then QUIT.",
  ));
}

/** VRFY and EXPN (RFC 5321 §3.5): not implemented, since they would let strangers list mailboxes. */
export function notImplemented(): Outcome {
  return respond(replies.notImplemented);
}
