/**
 * Replies of the server that relays, as they are passed on to the client.
 *
 * @module
 */
import type { RemoteReply } from "../smtp/reply_reader.ts";
import { type Reply, reply } from "../smtp/reply.ts";

/**
 * The same reply to say to someone else. A 421 becomes 451: it ends the connection to the server that relays, not the
 * client's.
 */
export function passedOn({ code, enhanced, lines }: RemoteReply): Reply {
  const text = lines.map((line) => line.replace(/^[245]\.\d{1,3}\.\d{1,3}(?: |$)/, ""));
  if (code === 421) return reply(451, "4.3.2", ...text);
  return reply(code, enhanced, ...text);
}

/** The queue's id of a message, in the reply that accepts it; `undefined` where it does not say. */
export function queueIdOf({ lines }: Reply): string | undefined {
  return /^([\w-]{1,64}) accepted/.exec(lines[0] ?? "")?.[1];
}
