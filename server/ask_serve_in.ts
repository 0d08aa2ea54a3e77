/**
 * Asks a running serve-in whether it takes a recipient; no message is sent.
 *
 * @module
 */
import { systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import { Dialogue } from "../doctor/dialogue.ts";
import { createDial } from "../net/dial.ts";
import { probeName } from "../smtp/own_probe.ts";
import type { RemoteReply } from "../smtp/reply_reader.ts";
import type { SocketAddress } from "../net/transport.ts";
import type { MailboxAddress } from "../smtp/envelope.ts";

/** In milliseconds, for the connection and for each reply. */
const TIMEOUT = 5_000;

/** Asks at one of the addresses; returns the reply, or why there is none. */
export async function askServeIn(
  at: SocketAddress,
  recipient: MailboxAddress,
): Promise<RemoteReply | string> {
  try {
    const dial = createDial({ clock: systemClock, timeout: TIMEOUT });
    using dialogue = new Dialogue(await dial(at), { clock: systemClock, timeout: TIMEOUT });
    const banner = await dialogue.listen();
    if (banner.code >= 300) return banner;
    const utf8 = /[^\0-\x7f]/.test(recipient.text) ? " SMTPUTF8" : "";
    for (const command of [`EHLO ${probeName("explain")}`, `MAIL FROM:<>${utf8}`]) {
      const reply = await dialogue.say(command);
      if (reply.code >= 300) return reply;
    }
    const reply = await dialogue.say(`RCPT TO:<${recipient.text}>`);
    await dialogue.end();
    return reply;
  } catch (error) {
    return errorText(error);
  }
}
