/**
 * A binary heap of items by due time, for up to a million items.
 *
 * @module
 */

/** Something that becomes due. */
export interface Due {
  /** When, in any one unit of time. */
  readonly dueAt: number;
}

/** Holds items, the one due first on top. */
export class DueHeap<T extends Due> {
  readonly #items: T[] = [];

  /** How many there are. */
  get size(): number {
    return this.#items.length;
  }

  /** The one due first, which stays. */
  peek(): T | undefined {
    return this.#items[0];
  }

  /** Adds one; O(log n). */
  push(item: T): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = items[above];
      if (parent === undefined || parent.dueAt <= item.dueAt) break;
      items[at] = parent;
      at = above;
    }
    items[at] = item;
  }

  /** Takes out the one due first; O(log n). */
  pop(): T | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return first;
    let at = 0;
    for (;;) {
      const left = items[2 * at + 1];
      if (left === undefined) break;
      const right = items[2 * at + 2];
      const [child, below] = right !== undefined && right.dueAt < left.dueAt
        ? [right, 2 * at + 2]
        : [left, 2 * at + 1];
      if (child.dueAt >= last.dueAt) break;
      items[at] = child;
      at = below;
    }
    items[at] = last;
    return first;
  }

  /** Drops those for which `isKept` is false; O(n). */
  retain(isKept: (item: T) => boolean): void {
    const kept = this.#items.filter(isKept);
    if (kept.length === this.#items.length) return;
    this.#items.length = 0;
    for (const item of kept) this.push(item);
  }

  /** All of them, in no order. */
  values(): IterableIterator<T> {
    return this.#items.values();
  }
}
