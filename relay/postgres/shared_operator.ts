/**
 * The whole queue for inspection and management, from any process: what another one has is read from the database, and
 * asked for before it is changed.
 *
 * @module
 */
import { messageContent } from "../message_content.ts";
import {
  type ActionOptions,
  type ActionResult,
  noLaterThan,
  type OperatorAction,
  QueueOperator,
  type QueueOperatorOptions,
  type QueueView,
} from "../operator.ts";
import { isOpen } from "../queue_entry.ts";
import { matches, type QueueFilter, selects } from "../queue_filter.ts";
import { MOST_LOCKED } from "./batches.ts";
import { DatabaseError } from "./database.ts";
import type { PostgresQueue } from "./postgres_queue.ts";
import type { EntryView } from "./queue_options.ts";

/** Entries that are read at a time. */
const AT_ONCE = 100;

const LOCKED = "its row is locked in the database; try again later";

/** Inspects and manages all of a queue. */
export class SharedOperator implements Pick<QueueOperator, "list" | "apply" | "content"> {
  readonly #queue: PostgresQueue;
  readonly #options: Omit<QueueOperatorOptions, "queue">;
  readonly #own: QueueOperator;

  /** Of this queue; with the entries that this process works on. */
  constructor(queue: PostgresQueue, options: Omit<QueueOperatorOptions, "queue">) {
    this.#queue = queue;
    this.#options = options;
    const { clearHostBackoff: _, ...rest } = options;
    this.#own = new QueueOperator({ ...rest, queue });
  }

  /** See {@linkcode QueueOperator.list}; with the host that has each entry. */
  async *list(filter: QueueFilter): AsyncGenerator<QueueView, void, void> {
    const { clock, longestWait = () => Infinity } = this.#options;
    const { ids: _, ...rest } = filter;
    for await (const ids of inParts(this.#ids(filter))) {
      for (const { entry, host, sending } of await this.#look(ids)) {
        if (!matches(entry, rest)) continue;
        noLaterThan(entry, clock.now() + longestWait());
        yield {
          entry,
          age: this.#queue.ageOf(entry),
          inFlight: sending,
          ...(host !== undefined && { host }),
        };
      }
    }
  }

  /** See {@linkcode QueueOperator.apply}. What another process is sending now is left alone. */
  async *apply(
    action: OperatorAction,
    filter: QueueFilter,
    options: ActionOptions = {},
  ): AsyncGenerator<ActionResult, void, void> {
    const { ids: _, ...rest } = filter;
    if (action === "retry" || action === "release") this.#options.clearHostBackoff?.();
    let locked = 0;
    for await (const id of this.#ids(filter)) {
      let done = false;
      let isLocked = false;
      try {
        await this.#queue.obtain(id);
        for await (const result of this.#own.apply(action, { ...rest, ids: [id] }, options)) {
          done = true;
          yield result;
        }
      } catch (error) {
        isLocked = error instanceof DatabaseError && error.isLocked && ++locked < MOST_LOCKED;
        if (!isLocked) throw error;
      }
      if (done) continue;
      for (const { entry } of await this.#look([id])) {
        if (!matches(entry, rest)) continue;
        const left = entry.recipients.filter((one) => isOpen(one) && selects(filter, one))
          .map(({ address }) => address);
        yield {
          id,
          changed: [],
          inFlight: isLocked ? [] : left,
          ...(isLocked && { leftAlone: left, note: LOCKED }),
        };
      }
    }
    await this.#queue.returned();
  }

  /** See {@linkcode QueueOperator.content}. */
  async *content(id: string): AsyncGenerator<Uint8Array, void, void> {
    if ((await this.#look([id])).length > 0) yield* messageContent(this.#queue, id);
  }

  /** Each once, the oldest first where none are named. */
  async *#ids({ ids, ...rest }: QueueFilter): AsyncGenerator<string, void, void> {
    if (ids === undefined) yield* this.#queue.ids(rest);
    else yield* new Set(ids);
  }

  /** Entries as they stand, in this order. Those that cannot be read are logged and left out. */
  #look(ids: readonly string[]): Promise<EntryView[]> {
    return this.#queue.peek(ids, {
      unreadable: (id, error) => this.#options.logger.error("queue.unreadable", { id, error }),
    });
  }
}

async function* inParts(ids: AsyncIterable<string>): AsyncGenerator<readonly string[], void, void> {
  let part: string[] = [];
  for await (const id of ids) {
    part.push(id);
    if (part.length < AT_ONCE) continue;
    yield part;
    part = [];
  }
  if (part.length > 0) yield part;
}
