/**
 * What the handlers of commands share.
 *
 * @module
 */
import type { Clock } from "../../base/clock.ts";
import type { MemoryBudget } from "../../base/memory_budget.ts";
import type { Authenticator } from "../authenticator.ts";
import type { Delivery } from "../delivery.ts";
import type { Inspector } from "../inspector.ts";
import type { Line } from "../line_reader.ts";
import type { MessageLimits } from "../incoming_message.ts";
import type { LogFields, Logger } from "../../base/log.ts";
import type { Reply } from "../reply.ts";
import type { ServerPolicy } from "../server_policy.ts";
import type { Session, Transaction } from "../session.ts";

/** Limits on one dialogue. */
export interface CommandLimits extends MessageLimits {
  /** Accepted recipients of one message; the next one gets 452 (RFC 5321 §4.5.3.1.10). */
  readonly maxRecipients: number;
}

/** What a handler needs besides the session. */
export interface CommandContext {
  /** This server's name. */
  readonly hostname: string;
  readonly delivery: Delivery;
  readonly policy: ServerPolicy;
  /** Looks at messages, with the memory for the header sections of all of them; absent: nothing does. */
  readonly inspecting?: { readonly inspector: Inspector; readonly headers: MemoryBudget } | undefined;
  readonly limits: CommandLimits;
  readonly clock: Clock;
  /** Adds the session's id to each event. */
  readonly logger: Logger;
  /** Whether STARTTLS can be done. */
  readonly tlsAvailable: boolean;
  /** Checks logins, without which no mail is taken; absent where no login is possible. */
  readonly authenticator?: Authenticator | undefined;
}

/** What the connection does after the reply. */
export type NextStep =
  | "continue"
  | "close"
  | "start-tls"
  /** The next line is not a command, but goes there. */
  | { readonly ask: (line: Line) => Outcome | Promise<Outcome> }
  | { readonly receive: "data" }
  | { readonly receive: "chunk"; readonly octets: number; readonly last: boolean };

/** What a command decided: what to say, and what the connection does next. A chunk is answered once it is there. */
export interface Outcome {
  readonly reply: Reply;
  readonly then: NextStep;
  /** What a refusal was decided by, for the log. */
  readonly log?: LogFields | undefined;
}

/** One command. A thrown SmtpError is the reply. */
export type CommandHandler = (
  session: Session,
  argument: string,
  context: CommandContext,
) => Outcome | Promise<Outcome>;

/** The usual outcome: a reply, and on with the dialogue. */
export function respond(reply: Reply): Outcome {
  return { reply, then: "continue" };
}

/** The envelope so far, as the log has it. */
export function envelopeFields({ reversePath, recipients }: Transaction): { from: string; to: string[] } {
  return { from: reversePath?.text ?? "", to: recipients.map(({ forwardPath }) => forwardPath.text) };
}

/** Ends the transaction, dropping what was not committed. */
export function resetTransaction(session: Session): PromiseLike<void> | void {
  const { transaction } = session;
  session.transaction = undefined;
  if (transaction?.held !== undefined) return endTransaction(transaction, transaction.held);
  return transaction?.message?.[Symbol.asyncDispose]();
}

async function endTransaction({ message }: Transaction, held: AsyncDisposable): Promise<void> {
  try {
    await message?.[Symbol.asyncDispose]();
  } finally {
    await held[Symbol.asyncDispose]();
  }
}
