/**
 * The maildrop of a running serve-out.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { systemClock } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { createDial } from "../net/dial.ts";
import type { SocketAddress } from "../net/transport.ts";
import { noticeComposer } from "../relay/dsn.ts";
import { maildropDirectory, makeMaildrop } from "../relay/maildrop/directory.ts";
import { MaildropPickup, type Refused } from "../relay/maildrop/pickup.ts";
import { pendingRecipient, type QueueRecipient } from "../relay/queue_entry.ts";
import { type HandedOver, handOver, openDialogue } from "../smtp/hand_over.ts";
import { replyText } from "../smtp/reply_reader.ts";
import type { RecipientResult } from "../smtp/send_result.ts";
import { PASSWD_FILE } from "./grants.ts";

/** What the maildrop of a server needs. */
interface MaildropParts {
  /** The configuration, as it is now. */
  readonly live: { readonly config: Config };
  /** Where the server listens. */
  readonly listening: () => SocketAddress | undefined;
  /** Takes `maildrop.…`. */
  readonly logger: Logger;
}

/** Makes the maildrop if possible, and takes what programs have left there while no server ran. */
export async function openMaildrop({ live, listening, logger }: MaildropParts): Promise<AsyncDisposable> {
  const { hostname, dataDir } = live.config;
  const directory = maildropDirectory(dataDir);
  try {
    await makeMaildrop(directory);
    await requireWay(dataDir);
  } catch (error) {
    logger.warn("maildrop.unusable", {
      path: directory,
      error: errorText(error),
      action: "sendmail fails while serve-out is stopped; mailapp install creates the directory",
    });
  }
  const toServer = async (message: HandedOver, name = hostname) => {
    const address = listening();
    if (address === undefined) throw new Error("the server does not listen yet");
    const dial = createDial({ clock: systemClock, timeout: 30_000 });
    const client = await openDialogue(await dial(address), { hostname: name, clock: systemClock });
    try {
      const results = await handOver(client, message);
      await client.quit();
      return results;
    } finally {
      client.close();
    }
  };
  const pickup = new MaildropPickup({
    directory,
    // The name goes into the Received field, to show whose message it is.
    handOver: (message, { uid }) => toServer(message, `uid${uid}.maildrop.localhost`),
    notify: async (message, refused) => {
      await requireTaken(toServer(await noticeOf(message, { refused, config: live.config })));
    },
    accountName,
    clock: systemClock,
    logger,
  });
  pickup.start();
  return pickup;
}

/** Other accounts must be able to reach the maildrop. */
async function requireWay(dataDir: string): Promise<void> {
  const { mode } = await Deno.stat(dataDir);
  if (((mode ?? 0) & 0o001) === 0) throw new Error(`other accounts may not enter ${dataDir}`);
}

/** A notice to the sender about recipients that the server refuses. */
async function noticeOf(
  message: HandedOver,
  { refused, config: { hostname, serveOut } }: {
    readonly refused: readonly Refused[];
    readonly config: Config;
  },
): Promise<HandedOver> {
  const { expireAfterMs: expireAfter, qualifyDomain } = serveOut;
  const now = systemClock.now();
  const id = crypto.randomUUID().replaceAll("-", "");
  const sender = message.sender.includes("@") ? message.sender : `${message.sender}@${qualifyDomain}`;
  const compose = noticeComposer({
    queue: {
      open: () =>
        Promise.resolve({
          size: message.size,
          chunks: message.chunks,
          [Symbol.asyncDispose]: () => Promise.resolve(),
        }),
    },
    hostname,
    expireAfter,
  });
  const composed = await compose({
    id,
    kind: "failure",
    age: 0,
    entry: {
      id,
      acceptedAt: now,
      reversePath: sender,
      ...(message.dsn && { dsn: message.dsn }),
      body: "8BITMIME",
      smtputf8: false,
      size: message.size,
      content: { eightBitHeader: true, eightBitBody: true },
      recipients: refused.map((one) => failed(one, { now, hostname })),
    },
    recipients: [...refused.keys()],
  });
  if (composed === undefined) throw new TypeError("a message with a sender always has a notice");
  const { message: bytes, entry } = composed;
  return {
    sender: "",
    recipients: [sender],
    size: bytes.length,
    eightBit: entry.content.eightBitBody,
    chunks: async function* () {
      yield bytes;
    },
  };
}

function failed(
  { address, result: { reply } }: Refused,
  { now, hostname }: { readonly now: number; readonly hostname: string },
): QueueRecipient {
  return {
    ...pendingRecipient(address, address.slice(address.lastIndexOf("@") + 1).toLowerCase()),
    status: "failed",
    attemptCount: 1,
    attempts: [{ at: now, host: hostname, status: reply.enhanced ?? "5.0.0", reply: replyText(reply) }],
  };
}

async function requireTaken(results: Promise<readonly RecipientResult[]>): Promise<void> {
  for (const result of await results) {
    if (result.kind === "relayed") continue;
    // The sender is not a valid address: there is no one to notify.
    if (result.kind === "refused" && result.reply.code >= 500) continue;
    throw new Error(result.kind === "lost" ? result.error : replyText(result.reply));
  }
}

/** The name in passwd; one that could be mistaken for something else is left out. */
function accountName(uid: number): string | undefined {
  try {
    for (const line of readFileSync(PASSWD_FILE, "utf8").split("\n")) {
      const [name = "", , id] = line.split(":");
      if (id === String(uid)) return /^[\w.-]{1,64}$/.test(name) ? name : undefined;
    }
  } catch {
    // Fall back to the number.
  }
  return undefined;
}
