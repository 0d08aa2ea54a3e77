import { parseHelloName, printableHelloName } from "../address.ts";
import * as replies from "../replies.ts";
import { reply } from "../reply.ts";
import type { Hello, Session } from "../session.ts";
import { addressLiteral } from "../trace.ts";
import { type CommandContext, type Outcome, resetTransaction, respond } from "./command_context.ts";

/** EHLO (RFC 5321 §4.1.1.1): begins the session and says which extensions there are. */
export async function ehlo(session: Session, argument: string, context: CommandContext): Promise<Outcome> {
  if (argument === "") return respond(replies.syntax("EHLO hostname"));
  await resetTransaction(session);
  const hello = session.hello = helloOf("EHLO", argument, session);
  return respond(reply(250, undefined, greeting(hello, session, context), ...extensions(session, context)));
}

/** HELO (RFC 5321 §4.1.1.1): begins the session without extensions. */
export async function helo(session: Session, argument: string, context: CommandContext): Promise<Outcome> {
  if (argument === "") return respond(replies.syntax("HELO hostname"));
  await resetTransaction(session);
  const hello = session.hello = helloOf("HELO", argument, session);
  return respond(reply(250, undefined, greeting(hello, session, context)));
}

/** The name is rarely used and often wrong, and §4.1.4 forbids refusing mail for it: any name is accepted. */
function helloOf(verb: Hello["verb"], name: string, { remote }: Session): Hello {
  const domain = parseHelloName(name);
  return domain === undefined
    ? { verb, domain: addressLiteral(remote.address), odd: printableHelloName(name) }
    : { verb, domain };
}

function greeting({ domain, odd }: Hello, { remote }: Session, { hostname }: CommandContext): string {
  return `${hostname} greets ${odd ?? domain} [${remote.address}]`;
}

/** The extensions that this session has, one keyword a line. */
function extensions(session: Session, context: CommandContext): string[] {
  const { policy, limits, tlsAvailable, authenticator } = context;
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
    ...(session.tls !== undefined ? ["REQUIRETLS"] : []),
    ...policy.extensions,
    `LIMITS RCPTMAX=${limits.maxRecipients}`,
    "HELP",
  ];
}
