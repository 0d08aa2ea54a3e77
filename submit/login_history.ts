/**
 * What one login has sent.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { normalizeDomain } from "../net/domain_name.ts";
import type { SenderAddress } from "./senders.ts";
import { SlidingCount } from "./sliding_count.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** Recipients that a login is known to have sent to; of more, those it wrote to longest ago are forgotten. */
const MAX_KNOWN = 2_000;
/** Characters of a key. */
const KEY_LENGTH = 10;

/** The counts of one login, and whom it has sent to. */
export class LoginHistory {
  readonly messagesHour: SlidingCount;
  readonly messagesDay: SlidingCount;
  readonly recipientsHour: SlidingCount;
  readonly recipientsDay: SlidingCount;
  readonly newRecipientsDay: SlidingCount;
  /** Begun, and not counted yet. */
  pendingMessages = 0;
  pendingRecipients = 0;
  pendingNew = 0;
  /** The last one written to last. */
  readonly #known: Set<string>;

  /** @param remembered as {@linkcode LoginHistory.toJSON} gave it; what is not of that form is left out */
  constructor(remembered?: unknown) {
    const { messages, recipients, fresh, known } = (remembered ?? {}) as Record<string, unknown>;
    const [messagesHour, messagesDay] = Array.isArray(messages) ? messages : [];
    const [recipientsHour, recipientsDay] = Array.isArray(recipients) ? recipients : [];
    this.messagesHour = new SlidingCount(HOUR, messagesHour);
    this.messagesDay = new SlidingCount(DAY, messagesDay);
    this.recipientsHour = new SlidingCount(HOUR, recipientsHour);
    this.recipientsDay = new SlidingCount(DAY, recipientsDay);
    this.newRecipientsDay = new SlidingCount(DAY, fresh);
    const keys = typeof known === "string" ? known.match(/[\w-]{10}/g) ?? [] : [];
    this.#known = new Set(keys.slice(-MAX_KNOWN));
  }

  /** What stands for an address, so that the file does not list whom people write to. */
  static keyOf({ localPart, domain }: SenderAddress): string {
    const address = `${localPart.normalize("NFC").toLowerCase()}@${normalizeDomain(domain) ?? domain}`;
    return createHash("sha256").update(address).digest("base64url").slice(0, KEY_LENGTH);
  }

  /** To how many it is known to have sent. */
  get knownCount(): number {
    return this.#known.size;
  }

  /** Forgets whom it has sent to. */
  forgetKnown(): void {
    this.#known.clear();
  }

  /** Whether the login has sent to this recipient before. */
  knows(key: string): boolean {
    return this.#known.has(key);
  }

  /** Counts a message to these recipients, of whom this many are new. */
  count(
    now: number,
    { recipients, fresh }: { readonly recipients: readonly string[]; readonly fresh: number },
  ): void {
    for (const count of [this.messagesHour, this.messagesDay]) count.add(now);
    for (const count of [this.recipientsHour, this.recipientsDay]) count.add(now, recipients.length);
    if (fresh > 0) this.newRecipientsDay.add(now, fresh);
    for (const key of recipients) {
      this.#known.delete(key);
      this.#known.add(key);
    }
    for (const key of this.#known) {
      if (this.#known.size <= MAX_KNOWN) break;
      this.#known.delete(key);
    }
  }

  /** Whether there is nothing to remember. */
  isEmpty(now: number): boolean {
    return this.#known.size === 0 && this.messagesDay.total(now) === 0;
  }

  /** What the constructor takes. */
  toJSON(): unknown {
    return {
      messages: [this.messagesHour, this.messagesDay],
      recipients: [this.recipientsHour, this.recipientsDay],
      fresh: this.newRecipientsDay,
      known: [...this.#known].join(""),
    };
  }
}
