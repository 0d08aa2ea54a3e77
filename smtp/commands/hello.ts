import { parseHelloName } from "../address.ts";
import * as replies from "../replies.ts";
import { reply } from "../reply.ts";
import type { Session } from "../session.ts";
import { type CommandContext, type Outcome, resetTransaction, respond } from "./command_context.ts";

/** EHLO (RFC 5321 §4.1.1.1): begins the session and says which extensions there are. */
export async function ehlo(session: Session, argument: string, context: CommandContext): Promise<Outcome> {
  const domain = parseHelloName(argument);
  if (domain === undefined) return respond(replies.syntax("EHLO hostname"));
  await resetTransaction(session);
  session.hello = { verb: "EHLO", domain };
  return respond(reply(250, undefined, greeting(session, context), ...extensions(session, context)));
}

/** HELO (RFC 5321 §4.1.1.1): begins the session without extensions. */
export async function helo(session: Session, argument: string, context: CommandContext): Promise<Outcome> {
  const domain = parseHelloName(argument);
  if (domain === undefined) return respond(replies.syntax("HELO hostname"));
  await resetTransaction(session);
  session.hello = { verb: "HELO", domain };
  return respond(reply(250, undefined, greeting(session, context)));
}

function greeting(session: Session, { hostname }: CommandContext): string {
  return `${hostname} greets ${session.hello?.domain ?? ""} [${session.remote.address}]`;
}

/** What is really there, one keyword a line. */
function extensions(session: Session, context: CommandContext): string[] {
  const { delivery, limits, tlsAvailable, authenticator } = context;
  return [
    "PIPELINING",
    `SIZE ${limits.maxMessageSize}`,
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "CHUNKING",
    ...(tlsAvailable && session.tls === undefined ? ["STARTTLS"] : []),
    ...(authenticator !== undefined && session.tls !== undefined
      ? [`AUTH ${authenticator.mechanisms.join(" ")}`]
      : []),
    ...delivery.extensions,
    `LIMITS RCPTMAX=${limits.maxRecipients}`,
    "HELP",
  ];
}
