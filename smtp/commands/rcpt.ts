import { AddressError, parsePath, type ReadPath } from "../address.ts";
import type { Recipient } from "../envelope.ts";
import { parseParameters, recipientParameters } from "../parameters.ts";
import * as replies from "../replies.ts";
import { reply } from "../reply.ts";
import type { Session } from "../session.ts";
import { type CommandContext, type Outcome, respond } from "./command_context.ts";

const FORM = "RCPT TO:<address> [parameters]";
const OK = reply(250, "2.1.5", "Recipient OK");
/** For an address that was understood, though it deviates from the syntax. */
const OK_BUT = reply(250, "2.1.5", "Recipient OK, though the syntax is RCPT TO:<address>");

/** RCPT TO (RFC 5321 §4.1.1.3): adds one recipient to the transaction. */
export async function rcpt(session: Session, argument: string, context: CommandContext): Promise<Outcome> {
  const { transaction } = session;
  const keyword = /^TO:/i.exec(argument)?.[0];
  // The hint comes first: who types "RCPT FROM:" learns more from it than from the missing MAIL.
  if (keyword === undefined) return respond(replies.syntax(FORM));
  if (!transaction) return respond(replies.badSequence("Say MAIL FROM:<address> first"));
  if (transaction.message) return respond(replies.badSequence("The message has begun; RSET ends it"));
  const { smtputf8 } = transaction;
  let read: ReadPath;
  try {
    read = parsePath(argument.slice(keyword.length), {
      smtputf8,
      bare: context.policy.completesAddresses ? "any" : "postmaster",
    });
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    if (error.fault === "nonAscii") {
      return respond(reply(553, "5.6.7", "A non-ASCII recipient needs SMTPUTF8 at MAIL"));
    }
    if (error.fault === "tooLong") {
      return respond(reply(501, "5.1.3", `Recipient address too long: ${error.message}`));
    }
    return respond(reply(501, "5.5.4", `Syntax: ${FORM}`, `In this line: ${error.message}`));
  }
  const { path, rest, loose } = read;
  if (path === null) return respond(reply(501, "5.1.3", "The null path <> is not a recipient"));
  const recipient: Recipient = {
    forwardPath: path,
    ...recipientParameters(parseParameters(rest), {
      dsn: context.policy.extensions.includes("DSN"),
      smtputf8,
    }),
  };
  const { maxRecipients } = context.limits;
  if (transaction.recipients.length >= maxRecipients) {
    return respond(
      reply(452, "4.5.3", `Too many recipients; ${maxRecipients} a message, send to the others in another`),
    );
  }
  const decision = await context.delivery.checkRecipient(recipient, {
    envelope: transaction,
    origin: session,
  });
  if (!decision.accepted) {
    // A temporary refusal is no sign of a guessed address.
    if (decision.reply.code >= 500) session.refusedRecipientCount++;
    return respond(decision.reply);
  }
  transaction.recipients.push(recipient);
  return respond(loose ? OK_BUT : OK);
}
