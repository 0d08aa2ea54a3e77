import { AddressError, isAscii, parsePath, type ReadPath } from "../address.ts";
import { mailParameters, parseParameters } from "../parameters.ts";
import * as replies from "../replies.ts";
import { reply } from "../reply.ts";
import type { Session } from "../session.ts";
import { type CommandContext, type Outcome, respond } from "./command_context.ts";

const FORM = "MAIL FROM:<address> [parameters]";
const OK = reply(250, "2.1.0", "Sender OK");
/** For an address that was understood, though it deviates from the syntax. */
const OK_BUT = reply(250, "2.1.0", "Sender OK, though the syntax is MAIL FROM:<address>");

/** MAIL FROM (RFC 5321 §4.1.1.2): begins a transaction. */
export async function mail(session: Session, argument: string, context: CommandContext): Promise<Outcome> {
  const keyword = /^FROM:/i.exec(argument)?.[0];
  // The hint comes first: who types "MAIL TO:" learns more from it than from the missing EHLO.
  if (keyword === undefined) return respond(replies.syntax(FORM));
  if (!session.hello) return respond(replies.badSequence("Say EHLO (or HELO) first"));
  if (context.authenticator !== undefined && session.login === undefined) {
    return respond(
      reply(530, "5.7.0", session.tls ? "Log in first (AUTH)" : "STARTTLS and a login come first"),
    );
  }
  if (session.transaction) return respond(replies.badSequence("A transaction is open; RSET ends it"));
  const text = argument.slice(keyword.length);
  let read: ReadPath;
  try {
    // SMTPUTF8 comes after the address that needs it, so the whole line is read before the address is judged.
    read = parsePath(text, {
      smtputf8: true,
      bare: context.policy.completesAddresses ? "any" : "none",
    });
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    if (error.fault === "tooLong") {
      return respond(reply(501, "5.1.7", `Sender address too long: ${error.message}`));
    }
    return respond(reply(501, "5.5.4", `Syntax: ${FORM}`, `In this line: ${error.message}`));
  }
  const { path, rest, loose } = read;
  const parameters = mailParameters(parseParameters(rest), {
    dsn: context.policy.extensions.includes("DSN"),
    auth: context.authenticator !== undefined,
    requireTls: context.policy.requireTls === "taken" || session.tls !== undefined,
  });
  if (!parameters.smtputf8 && path !== null && !isAscii(path.text)) {
    return respond(reply(550, "5.6.7", "A non-ASCII sender needs SMTPUTF8"));
  }
  // A size larger than any disk need not be compared exactly.
  if (parameters.size !== undefined && parameters.size > context.limits.maxMessageSize) {
    return respond(replies.tooBig(context.limits.maxMessageSize));
  }
  const held = await context.delivery.checkSender?.({ reversePath: path, ...parameters }, {
    origin: session,
  });
  session.transaction = { reversePath: path, recipients: [], ...parameters, held: held || undefined };
  return respond(loose ? OK_BUT : OK);
}
