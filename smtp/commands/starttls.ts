import * as replies from "../replies.ts";
import { reply } from "../reply.ts";
import type { Session } from "../session.ts";
import { type CommandContext, type Outcome, respond } from "./command_context.ts";

/** STARTTLS (RFC 3207): the handshake follows, and then the dialogue starts again. */
export function starttls(session: Session, argument: string, { tlsAvailable }: CommandContext): Outcome {
  if (!tlsAvailable) return respond(replies.notImplemented);
  if (argument !== "") return respond(replies.noArgument("STARTTLS"));
  if (session.tls) return respond(replies.badSequence("TLS is on already"));
  if (!session.hello) return respond(replies.badSequence("Say EHLO first"));
  if (session.transaction) return respond(replies.badSequence("A transaction is open; RSET ends it"));
  return { reply: reply(220, "2.0.0", "Begin TLS"), then: "start-tls" };
}
