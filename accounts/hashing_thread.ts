/**
 * Hashing of passwords beside the thread of the server, which would stand still for a tenth of a second each time.
 *
 * @module
 */
import type { PasswordHasher } from "./password_hash.ts";
import { type HashAnswer, HASHER, type HashRequest } from "./hashing_worker.ts";

/** Passwords that wait at a time; an attempt beyond is told that logins cannot be checked now. */
const MAX_WAITING = 64;

/** A worker, as far as it is needed. */
export interface HashingWorker {
  /** Asks. */
  postMessage(request: HashRequest): void;
  /** Receives the answers. */
  onmessage: ((event: MessageEvent<HashAnswer>) => void) | null;
  /** Called when it has died. */
  onerror: ((event: ErrorEvent) => void) | null;
  /** Ends it. */
  terminate(): void;
}

/** A failure of the thread, or too many wait for it. */
export class HashingError extends Error {
  override readonly name = "HashingError";
}

/** The message of a request without its number. */
type Question = HashRequest extends infer One ? One extends HashRequest ? Omit<One, "id"> : never : never;

/** Hashes in another thread, which begins with the first password at the latest, and again should it die. */
export class HashingThread implements PasswordHasher, Disposable {
  readonly #start: () => HashingWorker;
  readonly #maxWaiting: number;
  readonly #waiting = new Map<number, PromiseWithResolvers<string | undefined>>();
  #worker: HashingWorker | undefined;
  #asked = 0;

  /**
   * `start` starts a thread that calls `serveHashing`, such as {@linkcode startHashingThread}.
   * @param options `maxWaiting`: 64 if absent
   */
  constructor(
    start: () => HashingWorker,
    { maxWaiting = MAX_WAITING }: { readonly maxWaiting?: number } = {},
  ) {
    this.#start = start;
    this.#maxWaiting = maxWaiting;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Begins the thread, so that the first password need not wait for that. */
  begin(): void {
    this.#worker ??= this.#begin();
  }

  /** As {@linkcode PasswordHasher.hash}. @throws {HashingError} */
  async hash(password: string, like?: string): Promise<string> {
    const encoded = await this.#ask({ kind: "hash", password, ...(like !== undefined && { like }) });
    if (encoded === undefined) throw new HashingError("the thread gave no hash");
    return encoded;
  }

  /** As {@linkcode PasswordHasher.match}. @throws {HashingError} */
  match(password: string, encoded: readonly string[]): Promise<string | undefined> {
    return this.#ask({ kind: "match", password, encoded });
  }

  /** Ends the thread; whoever waits gets an error. */
  [Symbol.dispose](): void {
    this.#end("the server is stopping");
  }

  async #ask(question: Question): Promise<string | undefined> {
    if (this.#waiting.size >= this.#maxWaiting) {
      throw new HashingError("too many passwords wait to be hashed");
    }
    const worker = this.#worker ??= this.#begin();
    const id = ++this.#asked;
    const answer = Promise.withResolvers<string | undefined>();
    this.#waiting.set(id, answer);
    worker.postMessage({ ...question, id });
    return await answer.promise;
  }

  #begin(): HashingWorker {
    const worker = this.#start();
    worker.onmessage = ({ data }) => {
      const answer = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if ("error" in data) answer?.reject(new HashingError(data.error));
      else answer?.resolve(data.result);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#end(`the hashing thread has died: ${event.message}`);
    };
    return worker;
  }

  #end(reason: string): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const answer of this.#waiting.values()) answer.reject(new HashingError(reason));
    this.#waiting.clear();
  }
}

/**
 * Starts the thread, which has no permission.
 * @param entry the module that the thread begins with, which calls `serveHashing` in a thread of the
 * name {@linkcode HASHER}; this thread must be allowed to read it
 */
export function startHashingThread(entry: string): HashingWorker {
  return new Worker(entry, {
    type: "module",
    name: HASHER,
    deno: { permissions: "none" },
  } as WorkerOptions);
}
