/**
 * What was sent, what was answered for, and what is there: the balance that must come out even.
 *
 * @module
 */
import { join } from "@std/path";
import { latin1 } from "../../base/latin1.ts";
import { readChecked } from "./checked_message.ts";

/** The balance of one delivery. */
export interface Balance {
  /** Messages that were answered with 250. */
  readonly accepted: number;
  /** Of those, the ids of what is nowhere, or torn. */
  readonly lost: readonly string[];
  /** Files or arrivals that are not what was sent. */
  readonly torn: readonly string[];
  /** Messages that arrived more than once, by the server's own record and without one. */
  readonly twiceRecorded: number;
  readonly twiceUnrecorded: readonly string[];
}

/** Ids of messages by what is known of them. */
export class Ledger {
  /** Answered with 250, with the mailboxes that each is for. */
  readonly accepted = new Map<string, readonly string[]>();
  /** Found whole: by id, how often in each place. */
  readonly #found = new Map<string, Map<string, number>>();
  readonly #torn: string[] = [];
  readonly #recorded = new Set<string>();

  /** Takes a message that is there; `place` is a mailbox, or the receiver. */
  found(
    text: string,
    { place, name }: { readonly place: string; readonly name: string },
  ): string | undefined {
    const read = readChecked(text);
    if (read === undefined || !read.whole) {
      this.#torn.push(name);
      return read?.id;
    }
    const places = this.#found.get(read.id) ?? new Map<string, number>();
    places.set(place, (places.get(place) ?? 0) + 1);
    this.#found.set(read.id, places);
    return read.id;
  }

  /** The server has said that this one may arrive twice. */
  recorded(id: string): void {
    this.#recorded.add(id);
  }

  /** Forgets what was found, to look again. */
  forgetFound(): void {
    this.#found.clear();
    this.#torn.length = 0;
  }

  /** How many of the accepted ones are not found yet. */
  get missing(): number {
    return this.balance().lost.length;
  }

  /** The balance now. */
  balance(): Balance {
    const lost: string[] = [];
    for (const [id, places] of this.accepted) {
      const found = this.#found.get(id);
      if (!places.every((place) => found?.has(place))) lost.push(id);
    }
    const twice = [...this.#found].filter(([, places]) => [...places.values()].some((count) => count > 1));
    return {
      accepted: this.accepted.size,
      lost,
      torn: [...this.#torn],
      twiceRecorded: twice.filter(([id]) => this.#recorded.has(id)).length,
      twiceUnrecorded: twice.map(([id]) => id).filter((id) => !this.#recorded.has(id)),
    };
  }
}

/** Takes all messages in `new/` of the Maildirs below a directory. */
export async function readMaildirs(mail: string, ledger: Ledger): Promise<void> {
  const users = await Array.fromAsync(Deno.readDir(mail), ({ name }) => name).catch(() => []);
  for (const user of users) {
    const directory = join(mail, user, "new");
    const names = await Array.fromAsync(Deno.readDir(directory), ({ name }) => name).catch(() => []);
    for (const name of names) {
      const path = join(directory, name);
      const bytes = await Deno.readFile(path);
      const [, size] = /,S=(\d+)/.exec(name) ?? [];
      // A file that is cut off has another size than its name says.
      const text = size !== undefined && bytes.length !== Number(size)
        ? ""
        : latin1(bytes).replaceAll("\n", "\r\n");
      ledger.found(text, { place: user, name: path });
    }
  }
}
