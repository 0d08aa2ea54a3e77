/**
 * As much of a queue as a connection to a host needs, with a record of what it wrote down.
 *
 * @module
 */
import type { Queue } from "../../relay/queue.ts";
import type { QueueEntry } from "../../relay/queue_entry.ts";
import { newEntry } from "./queue_entry.ts";

/** Holds one message; writes down dots and their answers. */
export class RecordingQueue implements Pick<Queue, "open" | "dotSent" | "dotAnswered"> {
  /** `dot 0,1 at mx.test`, `relayed 0,1`, `not relayed 0,1`, in order. */
  readonly notes: string[] = [];
  /** Messages opened and not yet closed. */
  openCount = 0;
  /** What fails, by an error. */
  failing: "open" | "dotSent" | "dotAnswered" | undefined;
  readonly #message: Uint8Array;

  /** Holds this message. */
  constructor(message = "Subject: x\r\n\r\nhello\r\n") {
    this.#message = new TextEncoder().encode(message);
  }

  open(): ReturnType<Queue["open"]> {
    if (this.failing === "open") return Promise.reject(new Error("cannot open"));
    const message = this.#message;
    this.openCount++;
    return Promise.resolve({
      size: message.length,
      chunks: async function* () {
        yield await Promise.resolve(message);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(void this.openCount--),
    });
  }

  dotSent(_id: string, { recipients, host }: Parameters<Queue["dotSent"]>[1]): Promise<void> {
    if (this.failing === "dotSent") return Promise.reject(new Error("cannot write"));
    this.notes.push(`dot ${recipients} at ${host}`);
    return Promise.resolve();
  }

  dotAnswered(_id: string, { recipients, relayed }: Parameters<Queue["dotAnswered"]>[1]): Promise<void> {
    if (this.failing === "dotAnswered") return Promise.reject(new Error("cannot write"));
    this.notes.push(`${relayed ? "relayed" : "not relayed"} ${recipients}`);
    return Promise.resolve();
  }
}

/** An entry for these addresses. */
export function queueEntry(addresses: readonly string[], more: Partial<QueueEntry> = {}): QueueEntry {
  return newEntry(addresses, { id: "Q1", reversePath: "a@client.test", size: 20, ...more });
}
