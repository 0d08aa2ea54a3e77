/**
 * Whether a server accepts mail now, as far as that shows before the mail data.
 *
 * @module
 */
import type { RemoteReply } from "../smtp/reply_reader.ts";
import type { Dialogue } from "./dialogue.ts";

/**
 * Begins a transaction for postmaster after EHLO, and ends it before its data.
 * @returns the reply of a server that accepts no mail now
 * @throws what the dialogue throws
 */
export async function refusalNow(dialogue: Dialogue): Promise<RemoteReply | undefined> {
  let reply = await dialogue.say("MAIL FROM:<>");
  if (reply.code < 400) reply = await dialogue.say("RCPT TO:<postmaster>");
  await dialogue.say("RSET");
  // A server that requires a login says so with 5xx, and is healthy.
  return reply.code >= 400 && reply.code < 500 ? reply : undefined;
}

/** A reply on one line. */
export function shown({ code, lines }: RemoteReply): string {
  return `${code} ${lines.join(" ")}`;
}
