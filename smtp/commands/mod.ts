/**
 * The command table: one function per command.
 *
 * @module
 */
import { auth } from "./auth.ts";
import type { CommandHandler } from "./command_context.ts";
import { bdat, data } from "./data.ts";
import { ehlo, helo } from "./hello.ts";
import { mail } from "./mail.ts";
import { rcpt } from "./rcpt.ts";
import { help, noop, notImplemented, quit, rset } from "./simple.ts";
import { starttls } from "./starttls.ts";

/** Handlers by verb in upper case. */
export const commands: ReadonlyMap<string, CommandHandler> = new Map<string, CommandHandler>([
  ["EHLO", ehlo],
  ["HELO", helo],
  ["MAIL", mail],
  ["RCPT", rcpt],
  ["DATA", data],
  ["BDAT", bdat],
  ["RSET", rset],
  ["NOOP", noop],
  ["QUIT", quit],
  ["HELP", help],
  ["STARTTLS", starttls],
  ["AUTH", auth],
  ["VRFY", notImplemented],
  ["EXPN", notImplemented],
]);
