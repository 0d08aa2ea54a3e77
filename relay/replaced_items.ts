/**
 * Tracks waiting items that have been replaced. The items of an entry cannot be found among a million without an index
 * that would cost more memory than they do. So a change from outside only notes which items of that entry count from
 * now on; the others are skipped when they are due, and removed together once there may be many.
 *
 * @module
 */

/** Knows the entries whose earlier items no longer count. */
export class ReplacedItems<T extends { readonly id: string }> {
  readonly #current = new Map<string, Set<T>>();
  #changes = 0;

  /** How many replacements there have been since the last sweep; each leaves as many items behind as it replaced. */
  get changes(): number {
    return this.#changes;
  }

  /** Invalidates all items that this entry has had so far. */
  replace(id: string): void {
    this.#changes++;
    this.#current.set(id, new Set());
  }

  /** Stamps an item that is about to wait. */
  note(item: T): void {
    this.#current.get(item.id)?.add(item);
  }

  /** Whether an item still counts. */
  counts(item: T): boolean {
    return this.#current.get(item.id)?.has(item) ?? true;
  }

  /** Clears the record, once all invalid items are gone. */
  clear(): void {
    this.#current.clear();
    this.#changes = 0;
  }
}
