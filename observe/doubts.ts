/**
 * What the log of serve-out tells of messages that may have arrived twice, and of those that did not arrive at all.
 *
 * @module
 */
import type { LogSource, TimeRange } from "./log_files.ts";
import type { LoggedEvent } from "./log_lines.ts";
import { type LineFinder, linesOf, searchLog } from "./log_search.ts";

/** A recipient that may have a message twice. */
export interface PossibleDuplicate {
  /** The queue id. */
  readonly id: string;
  readonly recipient: string;
  /** The sender; absent where the log no longer has it. */
  readonly sender?: string;
  /** When it was first in doubt, in milliseconds since the epoch. */
  readonly at: number;
  /** The host that may have the first copy. */
  readonly host?: string;
  /** Why it is in doubt, for people. */
  readonly why: string;
  /** When another copy was taken; absent: none was, as far as the log goes, and there is one at most. */
  readonly againAt?: number;
}

/** A message that an operator or the server gave up or stopped. */
export interface Undelivered {
  readonly id: string;
  readonly at: number;
  readonly recipients: readonly string[];
  readonly sender?: string;
  /** What happened. */
  readonly what: "expired" | "refused" | "held" | "removed" | "returned" | "notice held" | "notice dropped";
  /** The answer or error that it ended with. */
  readonly reason?: string;
  /** When what was held was released; absent: not so far. */
  readonly releasedAt?: number;
}

/** Both. */
export interface Doubts {
  readonly duplicates: readonly PossibleDuplicate[];
  readonly undelivered: readonly Undelivered[];
}

const WANTED =
  /dot_sent_no_reply|attempt\.(?:relayed|failed)|queue\.(?:expired|journal_failed)|operator\.(?:hold|release|remove|bounce)|dsn\.(?:held|dropped)|maildrop\.not_noted/g;

const findWanted: LineFinder = function* (piece) {
  WANTED.lastIndex = 0;
  for (let found = WANTED.exec(piece); found !== null; found = WANTED.exec(piece)) yield found.index;
};

/** Reads the log in one pass, and once more for the senders. */
export async function findDoubts(
  sources: readonly LogSource[],
  { range }: { readonly range: TimeRange },
): Promise<Doubts> {
  const collector = new Collector();
  for await (const event of searchLog(sources, { find: findWanted, range })) collector.take(event);
  const { duplicates, undelivered } = collector;
  const ids = new Set(
    [...duplicates, ...undelivered].map(({ id }) => id).filter((id) => /^[A-Za-z0-9]+$/.test(id)),
  );
  if (ids.size === 0) return { duplicates, undelivered };
  const senders = new Map<string, string>();
  for await (const { event, fields } of searchLog(sources, { find: linesOf(ids), range })) {
    if (event === "message.accepted") senders.set(String(fields["id"]), String(fields["from"] ?? ""));
  }
  const named = <T extends { readonly id: string }>(one: T) => {
    const sender = senders.get(one.id);
    return sender === undefined ? one : { ...one, sender };
  };
  return { duplicates: duplicates.map(named), undelivered: undelivered.map(named) };
}

const GIVEN_UP: Readonly<Record<string, Undelivered["what"]>> = {
  "attempt.failed": "refused",
  "queue.expired": "expired",
  "operator.hold": "held",
  "operator.remove": "removed",
  "operator.bounce": "returned",
  "dsn.held": "notice held",
  "dsn.dropped": "notice dropped",
};

/** Takes events in the order of the log. */
class Collector {
  readonly undelivered: Undelivered[] = [];
  /** What is held, by id and recipient: where it is in `undelivered`. */
  readonly #held = new Map<string, number>();
  /** By id and recipient. */
  readonly #doubts = new Map<string, { duplicate: PossibleDuplicate; againAt?: number }>();
  /** A hash of each id and recipient that was relayed: a second time is a queue that was restored. */
  readonly #relayed = new Set<number>();

  take({ event, time, fields }: LoggedEvent): void {
    const id = String(fields["id"] ?? "");
    const recipient = String(fields["recipient"] ?? "");
    const key = `${id} ${recipient}`;
    const reason = fields["reply"] ?? fields["error"];
    if (event === "attempt.relayed") return this.#takeRelayed(key, { id, recipient, time, fields });
    if (fields["dot_sent_no_reply"] === true || fields["dot_sent_no_reply"] === "true") {
      const why = `${fields["error"] ?? "no answer to the final dot"}`;
      this.#doubt(key, { id, recipient, time, why, fields });
    } else if (event === "queue.journal_failed") {
      const why = "the receiver's answer could not be written down";
      this.#doubt(key, { id, recipient, time, why, fields });
    } else if (event === "maildrop.not_noted") {
      const why = `a message in the maildrop (${fields["file"]}) could not be noted as handed over`;
      this.#doubt(`${fields["file"]}`, { id: String(fields["file"] ?? ""), recipient, time, why, fields });
    } else if (event === "operator.release") {
      this.#release(id, { recipients: recipientsOf(fields), time });
    } else if (GIVEN_UP[event] !== undefined) {
      const recipients = recipientsOf(fields);
      if (event === "operator.hold") {
        for (const one of recipients) this.#held.set(`${id} ${one}`, this.undelivered.length);
      }
      this.undelivered.push({
        id,
        at: time,
        recipients,
        what: GIVEN_UP[event],
        ...(reason !== undefined && { reason: String(reason) }),
      });
    }
  }

  get duplicates(): PossibleDuplicate[] {
    return [...this.#doubts.values()].map(({ duplicate, againAt }) =>
      againAt === undefined ? duplicate : { ...duplicate, againAt }
    );
  }

  #release(
    id: string,
    { recipients, time }: { readonly recipients: readonly string[]; readonly time: number },
  ): void {
    for (const recipient of recipients) {
      const at = this.#held.get(`${id} ${recipient}`);
      const held = at === undefined ? undefined : this.undelivered[at];
      if (at !== undefined && held !== undefined) this.undelivered[at] = { ...held, releasedAt: time };
      this.#held.delete(`${id} ${recipient}`);
    }
  }

  #takeRelayed(
    key: string,
    { id, recipient, time, fields }: {
      readonly id: string;
      readonly recipient: string;
      readonly time: number;
      readonly fields: LoggedEvent["fields"];
    },
  ): void {
    const known = this.#doubts.get(key);
    const hash = hashOf(key);
    if (known !== undefined) known.againAt ??= time;
    else if (this.#relayed.has(hash)) {
      const why = "it was relayed before: the queue was restored from a copy, or ran on two machines";
      this.#doubt(key, { id, recipient, time, why, fields });
      const doubt = this.#doubts.get(key);
      if (doubt !== undefined) doubt.againAt = time;
    }
    this.#relayed.add(hash);
  }

  #doubt(
    key: string,
    { id, recipient, time, why, fields }: {
      readonly id: string;
      readonly recipient: string;
      readonly time: number;
      readonly why: string;
      readonly fields: LoggedEvent["fields"];
    },
  ): void {
    if (this.#doubts.has(key)) return;
    const { host } = fields;
    this.#doubts.set(key, {
      duplicate: { id, recipient, at: time, why, ...(host !== undefined && { host: String(host) }) },
    });
  }
}

function recipientsOf({ recipient, recipients }: LoggedEvent["fields"]): string[] {
  if (Array.isArray(recipients)) return recipients.map(String);
  return [recipients, recipient].flatMap((one) => typeof one === "string" && one !== "" ? [one] : []);
}

/** 53 bits: of a million keys, two are the same once in ten thousand logs. */
function hashOf(text: string): number {
  let [high, low] = [0xdeadbeef, 0x41c6ce57];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    high = Math.imul(high ^ code, 2654435761);
    low = Math.imul(low ^ code, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return 4294967296 * (2097151 & low) + (high >>> 0);
}
