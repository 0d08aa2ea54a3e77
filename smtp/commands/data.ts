import { counter, counters, histogram } from "../../base/counters.ts";
import type { LogFields } from "../../base/log.ts";
import type { Header, PendingMessage, TopForecast } from "../delivery.ts";
import type { Envelope } from "../envelope.ts";
import { IncomingMessage } from "../incoming_message.ts";
import { InspectedData } from "../inspected_data.ts";
import type { Verdict } from "../inspector.ts";
import * as replies from "../replies.ts";
import { describeError, type Reply, reply, SmtpError } from "../reply.ts";
import type { Session, Transaction } from "../session.ts";
import { received, returnPath } from "../trace.ts";
import {
  type CommandContext,
  envelopeFields,
  type Outcome,
  resetTransaction,
  respond,
} from "./command_context.ts";

const acceptedMessages = counter("mailapp_messages_accepted_total", "Messages that were answered 250");
const acceptedOctets = counter(
  "mailapp_messages_accepted_bytes_total",
  "Octets of mail data in these messages",
);
const refusedMessages = counters("mailapp_messages_refused_total", {
  help: "Messages that were refused after their data, by enhanced status code",
  labels: ["code"],
});
const acceptance = histogram(
  "mailapp_message_acceptance_seconds",
  "From the end of the mail data to the reply 250: checks, and the way to the disk",
);

/** DATA (RFC 5321 §4.1.1.4): the message follows. */
export async function data(session: Session, argument: string, context: CommandContext): Promise<Outcome> {
  if (argument !== "") return respond(replies.noArgument("DATA"));
  const refusal = cannotBegin(session);
  if (refusal) return respond(refusal);
  const transaction = session.transaction as Transaction;
  if (transaction.message) {
    return respond(replies.badSequence("The message has begun with BDAT; go on with BDAT"));
  }
  await beginMessage(session, transaction, { by: "DATA", context });
  return {
    reply: reply(354, undefined, "Send the message; end with a line that holds only a dot"),
    then: { receive: "data" },
  };
}

/** BDAT (RFC 3030 §2): one chunk of the message follows at once, without waiting for a reply. */
export async function bdat(session: Session, argument: string, context: CommandContext): Promise<Outcome> {
  const [, digits, last] = /^(\d{1,19})( +LAST)?$/i.exec(argument) ?? [];
  if (digits === undefined) {
    // How much follows is unknown, so what comes after this line cannot be told from commands.
    return { reply: replies.syntax("BDAT octets [LAST]"), then: "close" };
  }
  const octets = Number(digits);
  const chunk = { receive: "chunk", octets, last: last !== undefined } as const;
  const refusal = cannotBegin(session);
  if (refusal) return { reply: refusal, then: chunk };
  const transaction = session.transaction as Transaction;
  try {
    if (!transaction.message) await beginMessage(session, transaction, { by: "BDAT", context });
  } catch (error) {
    // Whatever the error, the chunk follows, and must not be read as commands.
    const { reply, cause, log } = replies.failureOf(error);
    logRefusal(context, cause);
    await resetTransaction(session);
    return { reply, then: chunk, log };
  }
  return { reply: replies.ok, then: chunk };
}

function cannotBegin({ transaction }: Session): Reply | undefined {
  if (!transaction) return replies.badSequence("Say MAIL FROM:<address> and RCPT TO:<address> first");
  // §3.3 names 503 and 554; a client that pipelined RCPT has just been told why.
  if (transaction.recipients.length === 0) {
    return reply(503, "5.5.1", "No valid recipient; say RCPT TO:<address> first");
  }
  return undefined;
}

async function beginMessage(
  session: Session,
  transaction: Transaction,
  { by, context }: { by: "DATA" | "BDAT"; context: CommandContext },
): Promise<void> {
  const { delivery, policy, limits, inspecting } = context;
  const envelope = envelopeOf(transaction);
  const inspected = inspecting &&
    new InspectedData(await inspecting.inspector.begin(envelope, session), inspecting.headers);
  try {
    const forecast: TopForecast = {
      fields: () => transaction.trace ??= traceFields(session, transaction, { context, id: pending.id }),
      reserve: () => inspected === undefined ? 0 : inspected.reserve,
    };
    const pending: PendingMessage = await delivery.begin(envelope, { origin: session, forecast });
    transaction.message = new IncomingMessage(pending, { by, policy, limits, inspected });
  } catch (error) {
    inspected?.[Symbol.dispose]();
    throw error;
  }
}

/** The trace fields that go on top of the message (§4.4), with the time of the call. */
function traceFields(
  session: Session,
  transaction: Transaction,
  { context: { policy, hostname, clock }, id }: { readonly context: CommandContext; readonly id: string },
): readonly Header[] {
  const namesClient = policy.namesClient && policy.localAccount?.(session)?.isShown !== false;
  return [
    ...(policy.addsReturnPath ? [returnPath(transaction)] : []),
    received(session, transaction, { hostname, id, now: clock.now(), namesClient }),
  ];
}

/**
 * With the fields of the verdict: below Return-Path, which comes first (§4.4), and above the fields that they describe.
 */
function withVerdict(trace: readonly Header[], { fields }: Verdict): readonly Header[] {
  const [first, ...others] = trace;
  return first?.name === "Return-Path" ? [first, ...fields, ...others] : [...fields, ...trace];
}

function envelopeOf(
  { reversePath, recipients, body, smtputf8, size, dsn, requireTls }: Transaction,
): Envelope {
  return {
    reversePath,
    recipients: [...recipients],
    body,
    smtputf8,
    ...(size === undefined ? {} : { size }),
    ...(dsn === undefined ? {} : { dsn }),
    ...(requireTls && { requireTls }),
  };
}

function logRefusal({ logger }: CommandContext, cause: unknown): void {
  if (cause !== undefined) logger.error("message.failed", { error: describeError(cause) });
}

/** After the end of the data: stores the message and says what happened to it. The transaction is over then. */
export async function completeMessage(session: Session, context: CommandContext): Promise<Reply> {
  const { transaction } = session;
  const message = transaction?.message;
  if (!transaction || !message) return replies.localError;
  const since = context.clock.monotonic();
  const account = context.policy.localAccount?.(session);
  let fields: LogFields = {
    id: message.id,
    ...(session.login !== undefined && { login: session.login }),
    ...(account !== undefined && { uid: account.uid }),
    ...envelopeFields(transaction),
    octets: message.octets,
    ...(message.messageId !== undefined && { message_id: message.messageId }),
  };
  try {
    if (message.failure) throw new SmtpError(message.failure.reply, { cause: message.failure.cause });
    const verdict = await message.verdict();
    if (verdict !== undefined) fields = { ...fields, ...verdict.log };
    if (verdict?.refuse !== undefined) throw new SmtpError(verdict.refuse);
    const trace = transaction.trace ?? traceFields(session, transaction, { context, id: message.id });
    const handedOn = await message.commit(
      verdict === undefined ? trace : withVerdict(trace, verdict),
      verdict,
    );
    session.messageCount++;
    acceptedMessages.add();
    acceptedOctets.add(message.octets);
    acceptance.observe((context.clock.monotonic() - since) / 1000);
    context.logger.info("message.accepted", handedOn ? { ...fields, ...handedOn.log } : fields);
    return handedOn ? handedOn.reply : reply(250, "2.0.0", `${message.id} accepted`);
  } catch (error) {
    const { reply: refusal, cause } = replies.failureOf(error);
    refusedMessages.with(refusal.enhanced ?? String(refusal.code)).add();
    context.logger[cause === undefined ? "info" : "error"]("message.refused", {
      ...fields,
      reply: `${refusal.code} ${refusal.enhanced ?? ""} ${refusal.lines[0] ?? ""}`,
      ...(cause === undefined ? {} : { error: describeError(cause) }),
    });
    return refusal;
  } finally {
    try {
      await resetTransaction(session);
    } catch (error) {
      // What happened to the message is decided; the client must hear it.
      context.logger.error("message.cleanup_failed", { id: message.id, error: describeError(error) });
    }
  }
}
