/**
 * Replies used in more than one place. The texts are for people who type: they say what is wrong and what to do.
 *
 * @module
 */
import { MAX_FIELDS } from "../message/header_field.ts";
import type { LogFields } from "../base/log.ts";
import { type Reply, reply, SmtpError } from "./reply.ts";

/** 503: a command that needs another one first (RFC 5321 §4.1.4). */
export function badSequence(what: string): Reply {
  return reply(503, "5.5.1", what);
}

/** 503 to a line of mail data after a refused DATA. */
export const noDataYet: Reply = reply(
  503,
  "5.5.1",
  "No mail data is expected yet, as DATA was refused: do what its reply says, then say DATA again",
);

/** 501: the argument does not follow the command's syntax. */
export function syntax(form: string): Reply {
  return reply(501, "5.5.4", `Syntax: ${form}`);
}

/** 501 to an argument where none belongs. */
export function noArgument(verb: string): Reply {
  return reply(501, "5.5.4", `${verb} takes no argument`);
}

/** 500 to what is not a command. */
export const unknownCommand: Reply = reply(500, "5.5.2", "Command not recognized; HELP lists the commands");

/** 502 to what RFC 5321 has and this server does not. */
export const notImplemented: Reply = reply(502, "5.5.1", "Command not implemented; HELP lists the commands");

/** 250 with nothing to tell. */
export const ok: Reply = reply(250, "2.0.0", "OK");

/** 552 to a message over the limit. */
export function tooBig(limit: number): Reply {
  return reply(552, "5.3.4", `Message too big; the limit is ${limit} octets`);
}

/** 452 where there is no room for a message, or too little would be left. */
export const noRoom: Reply = reply(452, "4.3.1", "Not enough space for this message; try again later");

/** 451 to a failure of ours that has no reply of its own. */
export const localError: Reply = reply(451, "4.3.0", "Local error; try again later");

/** 421 to a connection that a shutdown ends. */
export function shuttingDown(hostname: string): Reply {
  return reply(421, "4.3.2", `${hostname} is shutting down; try again later`);
}

/** What a client is told of an error, and, where there is more to it than that, the cause for the log. */
export function failureOf(
  error: unknown,
): { readonly reply: Reply; readonly cause?: unknown; readonly log?: LogFields | undefined } {
  return error instanceof SmtpError ? error : { reply: localError, cause: error ?? String(error) };
}

/** A header section of more fields than anybody needs. */
export const tooManyFields = reply(552, "5.3.4", `The header section has more than ${MAX_FIELDS} fields`);
