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
  let refusal: RemoteReply | undefined;
  for (const command of ["MAIL FROM:<>", "RCPT TO:<postmaster>"]) {
    const reply = await dialogue.say(command);
    // A server that requires a login says so with 5xx, and is healthy.
    if (reply.code >= 500) break;
    if (reply.code < 400) continue;
    refusal = reply;
    break;
  }
  await dialogue.say("RSET");
  return refusal;
}

/** A reply on one line. */
export function shown({ code, lines }: RemoteReply): string {
  return `${code} ${lines.join(" ")}`;
}
