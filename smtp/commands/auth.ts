import { Buffer } from "node:buffer";
import { counters } from "../../base/counters.ts";
import type { SaslExchange, SaslStep } from "../authenticator.ts";
import type { Line } from "../line_reader.ts";
import * as replies from "../replies.ts";
import { type Reply, reply } from "../reply.ts";
import type { Session } from "../session.ts";
import { type CommandContext, type Outcome, respond } from "./command_context.ts";

const logins = counters("mailapp_logins_total", {
  help: "Logins, by SASL mechanism and result",
  labels: ["mechanism", "result"],
});

const RESULTS: Partial<Record<string, string>> = { temporary: "unavailable", paused: "put_off" };

const FORM = "AUTH mechanism [initial-response]";
const MECHANISM = /^([A-Za-z0-9_-]{1,20})(?: ([A-Za-z0-9+/=]+))?$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const NOT_BASE64 = reply(501, "5.5.2", "That is not base64");

/** AUTH (RFC 4954): begins an exchange of a SASL mechanism; where no login is possible it says where it is. */
export function auth(
  session: Session,
  argument: string,
  context: CommandContext,
): Outcome | Promise<Outcome> {
  const { authenticator, policy } = context;
  if (authenticator === undefined) {
    return respond(reply(502, "5.5.1", ...policy.submissionAdvice));
  }
  if (session.tls === undefined) {
    return respond(reply(538, "5.7.11", "Encryption required: use STARTTLS, or the port with TLS"));
  }
  if (session.hello?.verb !== "EHLO") return respond(replies.badSequence("Say EHLO first"));
  if (session.login !== undefined) return respond(replies.badSequence("Already logged in"));
  if (session.transaction) return respond(replies.badSequence("A transaction is open; RSET ends it"));
  const [, name, initial] = MECHANISM.exec(argument) ?? [];
  if (name === undefined) return respond(replies.syntax(FORM));
  const mechanism = name.toUpperCase();
  const exchange = authenticator.start(mechanism, { address: session.remote.address, session: session.id });
  if (exchange === undefined) {
    const known = authenticator.mechanisms.join(" ");
    return respond(reply(504, "5.5.4", `Unknown mechanism; supported are: ${known}`));
  }
  // "=" is an initial response of no octets (§4).
  const response = initial === undefined ? undefined : initial === "=" ? new Uint8Array(0) : decode(initial);
  if (response === undefined && initial !== undefined) return respond(NOT_BASE64);
  return advance({ session, context, mechanism, exchange }, response);
}

/** One AUTH command, from its beginning to its reply. */
interface Login {
  readonly session: Session;
  readonly context: CommandContext;
  readonly mechanism: string;
  readonly exchange: SaslExchange;
}

async function advance(login: Login, response: Uint8Array | undefined): Promise<Outcome> {
  const step = await login.exchange.next(response);
  if (step.kind !== "challenge") return respond(conclude(login, step));
  const challenge = Buffer.from(step.data).toString("base64");
  return { reply: reply(334, undefined, challenge), then: { ask: (line) => answered(login, line) } };
}

/** What the client sent as its answer to a challenge. */
function answered(login: Login, line: Line): Outcome | Promise<Outcome> {
  if (line.kind === "too-long") {
    return respond(reply(500, "5.5.6", "The line of this exchange is too long"));
  }
  if (line.kind !== "line") return respond(NOT_BASE64);
  if (line.text === "*") return respond(reply(501, "5.7.0", "Login cancelled"));
  const response = decode(line.text);
  return response === undefined ? respond(NOT_BASE64) : advance(login, response);
}

function decode(text: string): Uint8Array | undefined {
  return BASE64.test(text) ? Buffer.from(text, "base64") : undefined;
}

/** The reply, and the login in session and log. */
function conclude(
  { session, context, mechanism }: Login,
  step: Exclude<SaslStep, { kind: "challenge" }>,
): Reply {
  const { logger } = context;
  if (step.kind === "success") {
    session.login = step.login;
    logins.with(mechanism, "accepted").add();
    logger.info("login.accepted", { login: step.login, mechanism });
    return reply(235, "2.7.0", "Logged in");
  }
  const { reason, why } = step;
  const fields = { ...(step.login !== undefined && { login: step.login }), mechanism };
  logins.with(mechanism, RESULTS[reason] ?? "refused").add();
  if (reason === "temporary") {
    logger.error("login.unavailable", { ...fields, error: why });
    return reply(454, "4.7.0", "Logins cannot be checked now; try again later");
  }
  if (reason === "paused") {
    // A client that goes on regardless is disconnected by the limit on errors.
    session.errorCount++;
    logger.info("login.put_off", { ...fields, reason: why });
    return reply(454, "4.7.0", "Too many failed logins; try again later");
  }
  logger.info("login.refused", { ...fields, reason: why });
  return reason === "malformed"
    ? reply(501, "5.5.2", `Malformed ${mechanism} response`)
    : reply(535, "5.7.8", "Login or password is wrong");
}
