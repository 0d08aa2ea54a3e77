/**
 * A queued message, read whole.
 *
 * @module
 */
import type { Queue } from "./queue.ts";

/**
 * The message as it is sent, in pieces that stay valid.
 * @throws what the queue throws when the message cannot be opened or read
 */
export async function* messageContent(
  queue: Pick<Queue, "open">,
  id: string,
): AsyncGenerator<Uint8Array, void, void> {
  await using message = await queue.open(id);
  for await (const chunk of message.chunks()) yield chunk.slice();
}
