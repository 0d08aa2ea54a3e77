/**
 * Clients that send until the server dies, and remember what they were told.
 *
 * @module
 */
import assert from "node:assert/strict";
import { anyMoment } from "../support/chance.ts";
import { Dialogue } from "../support/dialogue.ts";
import { type CheckedMessage, checkedMessage, submit } from "./checked_message.ts";
import type { Serving } from "./setting.ts";

const CLIENTS = 8;

/** What clients saw. */
export interface Seen {
  /** All that was sent, by id. */
  readonly sent: ReadonlyMap<string, CheckedMessage>;
  /** The ids of what was answered 250, with the users that it is for. */
  readonly accepted: ReadonlyMap<string, readonly string[]>;
}

/**
 * Loads a server, and kills it at a moment that is any, but not before the fifth message. Messages are small, some
 * are large, some are for alice and bob, all for alice.
 * @param options `prefix`: of the messages' ids; `random`: chooses the moment
 */
export async function killUnderLoad(
  { server, port }: Serving,
  { prefix, random }: { readonly prefix: string; readonly random: () => number },
): Promise<Seen> {
  const seen = { sent: new Map<string, CheckedMessage>(), accepted: new Map<string, readonly string[]>() };
  const clients = Array.from(
    { length: CLIENTS },
    (_, client) => sendUntilItDies(port, `${prefix}c${client}`, seen),
  );
  await server.event("message.accepted", { after: 4 + Math.floor(random() * 20) });
  await anyMoment(random, 30);
  server.signal("SIGKILL");
  await server.ended();
  await Promise.all(clients);
  return seen;
}

async function sendUntilItDies(
  port: number,
  prefix: string,
  seen: { readonly sent: Map<string, CheckedMessage>; readonly accepted: Map<string, readonly string[]> },
): Promise<void> {
  try {
    using dialogue = await Dialogue.connect(port);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    for (let number = 0;; number++) {
      const message = checkedMessage(
        `${prefix}n${number}`,
        number % 5 === 2 ? 300_000 : 500 + 997 * (number % 13),
      );
      const users = number % 3 === 1 ? ["alice", "bob"] : ["alice"];
      seen.sent.set(message.id, message);
      const reply = await submit(dialogue, message, { to: users.map((user) => `${user}@example.com`) });
      if (reply === "") return;
      assert.match(reply, /^250 2\.0\.0 /);
      seen.accepted.set(message.id, users);
    }
  } catch (error) {
    const gone = [Deno.errors.ConnectionReset, Deno.errors.ConnectionRefused, Deno.errors.BrokenPipe];
    if (!gone.some((kind) => error instanceof kind)) throw error;
  }
}

/**
 * Holds what is stored against what clients saw: all that was answered for is there, for each user, and everything
 * that is there is what was sent, byte for byte.
 * @param stored the messages of each user
 */
export function checkAgainst(
  { sent, accepted }: Seen,
  stored: Readonly<
    Record<string, readonly { readonly id: string; readonly digest: string; readonly path: string }[]>
  >,
): void {
  const users = new Map<string, string[]>();
  for (const [user, messages] of Object.entries(stored)) {
    for (const { id, digest, path } of messages) {
      assert.equal(digest, sent.get(id)?.digest, `${path} is not what was sent`);
      users.set(id, [...users.get(id) ?? [], user]);
    }
  }
  for (const [id, wanted] of accepted) {
    assert.deepEqual(users.get(id), wanted, `${id} was answered for`);
  }
}
