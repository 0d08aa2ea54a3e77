/**
 * Writes log lines in the background, with bounded memory, and never fails the program.
 *
 * @module
 */

/** A place for bytes: standard error or a file. */
export interface LogDestination {
  /** Writes a part of it, and returns the number of bytes. */
  write(data: Uint8Array): Promise<number> | number;
  /** Closes it. */
  close(): void;
}

/** What an output needs. */
export interface LogOutputOptions {
  /** Opens the destination; called again by {@linkcode LogOutput.reopen}. */
  readonly open: () => LogDestination;
  /** Makes the line that reports lost lines, when there is room again. */
  readonly lost: (count: number) => string;
  /** Called when writing fails, once until it works again. */
  readonly failed: (error: unknown) => void;
  /** Upper bound of the text that waits to be written, in UTF-16 units. */
  readonly capacity?: number;
  /** How long disposal waits for a destination that blocks, in milliseconds; 2 seconds if absent. */
  readonly timeout?: number;
}

const DEFAULT_CAPACITY = 4 << 20;
const TIMEOUT = 2_000;
// Size of the reused buffer, in octets.
const BUFFER = 16 * 1024;

/**
 * A queue of lines in front of a destination.
 *
 * Lines go out in order, many to one write when they come fast. While the destination blocks they wait, up to
 * the capacity; then new ones are dropped and counted. So are those of a write that fails.
 */
export class LogOutput {
  readonly #open: () => LogDestination;
  readonly #lost: (count: number) => string;
  readonly #failed: (error: unknown) => void;
  readonly #capacity: number;
  readonly #timeout: number;
  readonly #encoder = new TextEncoder();
  readonly #buffer = new Uint8Array(BUFFER);
  #destination: LogDestination;
  #waiting: string[] = [];
  /** The size of what waits and of what is being written. */
  #size = 0;
  #dropped = 0;
  #failing = false;
  /** Resolves when the destination has been opened again. */
  #reopening: PromiseWithResolvers<void> | undefined;
  #closed = false;
  #draining: Promise<void> | undefined;

  /**
   * Opens the destination.
   * @throws what opening it throws
   */
  constructor(
    { open, lost, failed, capacity = DEFAULT_CAPACITY, timeout = TIMEOUT }: LogOutputOptions,
  ) {
    this.#open = open;
    this.#lost = lost;
    this.#failed = failed;
    this.#capacity = capacity;
    this.#timeout = timeout;
    this.#destination = open();
  }

  /** Takes a line, without its line break; drops it once this is disposed. */
  write(line: string): void {
    if (this.#closed) return;
    if (this.#size + line.length > this.#capacity) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(line);
    this.#size += line.length;
    this.#draining ??= this.#drain();
  }

  /**
   * Opens the destination again, as after the file was renamed; what was taken before still goes to the old one.
   * @throws what opening it throws; the old one stays then
   */
  async reopen(): Promise<void> {
    await this.#draining;
    this.#reopening ??= Promise.withResolvers<void>();
    const { promise } = this.#reopening;
    this.#draining ??= this.#drain();
    await promise;
  }

  /** Resolves when all lines taken so far are written or lost. */
  async flush(): Promise<void> {
    await this.#draining;
  }

  /**
   * Writes what waits, then closes the destination. If that blocks, such as a pipe without a reader, what waits is
   * dropped: the program must end.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.#timeout);
    await Promise.race([this.#draining, over]);
    clearTimeout(timer);
    this.#destination.close();
  }

  async #drain(): Promise<void> {
    // Lines of the same turn of the event loop are written together.
    await Promise.resolve();
    while (this.#waiting.length > 0 || this.#reopening !== undefined) {
      if (this.#reopening !== undefined) this.#swap(this.#reopening);
      const lines = this.#waiting;
      this.#waiting = [];
      const size = lines.reduce((sum, line) => sum + line.length, 0);
      const dropped = this.#dropped;
      this.#dropped = 0;
      // These were dropped while the others waited.
      if (dropped > 0) lines.push(this.#lost(dropped));
      if (lines.length > 0 && !await this.#send(lines)) this.#dropped += lines.length + dropped;
      this.#size -= size;
    }
    this.#draining = undefined;
  }

  async #send(lines: readonly string[]): Promise<boolean> {
    try {
      let rest = this.#encode(`${lines.join("\n")}\n`);
      while (rest.length > 0) rest = rest.subarray(await this.#destination.write(rest));
      this.#failing = false;
      return true;
    } catch (error) {
      if (!this.#failing) this.#failed(error);
      this.#failing = true;
      return false;
    }
  }

  /** The text's bytes, valid until the next call. */
  #encode(text: string): Uint8Array {
    const { read, written } = this.#encoder.encodeInto(text, this.#buffer);
    return read < text.length ? this.#encoder.encode(text) : this.#buffer.subarray(0, written);
  }

  #swap({ resolve, reject }: PromiseWithResolvers<void>): void {
    this.#reopening = undefined;
    try {
      const next = this.#open();
      this.#destination.close();
      this.#destination = next;
      resolve();
    } catch (error) {
      this.#failed(error);
      reject(error);
    }
  }
}
