/**
 * Room that is kept for what makes room. On a full disk no mail could leave: the journal must grow before a message may
 * be sent, a state and a notice need files. So a few files are kept that are of no use but to be given up then; with the
 * mail that leaves there is room again, and they are recreated. Until then no mail is accepted.
 *
 * @module
 */
import { join } from "node:path";
import type { Clock, Timer } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import type { Logger } from "../../base/log.ts";
import { freeRoom } from "../../storage/free_space.ts";
import { isFull } from "../../storage/storage_error.ts";

/**
 * Does what makes room in the end, again as long as it fails for want of some, and some can be had.
 * @param makeRoom whether it made any
 * @throws what `work` throws at last
 */
export async function withRoom<T>(work: () => Promise<T>, makeRoom: () => Promise<boolean>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isFull(error) || !await makeRoom()) throw error;
    }
  }
}

/** What a {@linkcode Reserve} needs. */
export interface ReserveOptions {
  /** Where its files are, and no others; on the file system of the spool. */
  readonly directory: string;
  /** Tells when to make it whole again. */
  readonly clock: Clock;
  /** Takes `queue.reserve_used` and `queue.reserve_whole`. */
  readonly logger: Logger;
  /** Called with whether it is whole, where that may have changed. */
  readonly changed?: (whole: boolean) => void;
}

/** How large it is. */
interface Extent {
  /** Files. */
  readonly count: number;
  /** Octets of each. */
  readonly size: number;
}

const MAX_COUNT = 16;
// With this many octets a thousand messages can be sent, or a notice written that returns a whole message.
const MAX_SIZE = 128 * 1024;
const MIN_SIZE = 4096;
// Of the file system, at most.
const SHARE = { octets: 0.02, files: 0.05 };
// It is made again when this many times its size is free: mail that leaves needs space, too.
const MARGIN = 4;
const FILL_AFTER = 1000;
// What getRandomValues() gives at once.
const MAX_RANDOM = 65_536;

/** The reserve of one spool. */
export class Reserve {
  readonly #options: ReserveOptions;
  /** Nothing where the file system does not tell how large it is: then there is no reserve. */
  #extent: Extent | undefined;
  #names = new Set<string>();
  #told = false;
  #timer: Timer | undefined;
  #filling: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: ReserveOptions) {
    this.#options = options;
  }

  /** Opens it, and makes what is missing where there is room. Never throws. */
  static async open(options: ReserveOptions): Promise<Reserve> {
    const reserve = new Reserve(options);
    try {
      await Deno.mkdir(options.directory, { recursive: true, mode: 0o700 });
    } catch {
      // No room for a directory; it is made when there is.
    }
    await reserve.#fill();
    return reserve;
  }

  /** Whether all of it is there. */
  get whole(): boolean {
    return this.#names.size >= (this.#extent?.count ?? 0);
  }

  /** Gives up a part; whether there was one. */
  async give(): Promise<boolean> {
    const [name] = this.#names;
    if (name === undefined) return false;
    this.#names.delete(name);
    this.#options.changed?.(this.whole);
    await Deno.remove(join(this.#options.directory, name)).catch(() => {});
    if (!this.#told) {
      this.#options.logger.error("queue.reserve_used", { directory: this.#options.directory });
      this.#told = true;
    }
    this.#sleep();
    return true;
  }

  /** Ends the tries to make it whole. What there is of it stays for the next process. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#filling;
  }

  #sleep(): void {
    if (this.#timer !== undefined || this.#closed || this.whole) return;
    this.#timer = this.#options.clock.after(FILL_AFTER, () => {
      this.#timer = undefined;
      this.#filling = this.#fill();
    });
  }

  async #fill(): Promise<void> {
    try {
      const { extent, free } = await this.#look();
      this.#extent = extent;
      const missing = extent.count - this.#names.size;
      if (free.files >= MARGIN * missing && free.octets >= MARGIN * missing * extent.size) {
        await this.#make(extent);
      }
    } catch (error) {
      this.#options.logger.debug("queue.reserve_failed", { error: errorText(error) });
    }
    this.#options.changed?.(this.whole);
    if (this.whole && this.#told) {
      this.#options.logger.info("queue.reserve_whole", { directory: this.#options.directory });
      this.#told = false;
    }
    this.#sleep();
  }

  /** How large it is to be, and what is free. */
  async #look(): Promise<{ extent: Extent; free: { octets: number; files: number } }> {
    const { directory } = this.#options;
    await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
    const { size: total, octets, files } = await freeRoom(directory);
    const size = Math.floor(Math.min(MAX_SIZE, total * SHARE.octets / MAX_COUNT) / MIN_SIZE) * MIN_SIZE;
    const count = files === undefined
      ? MAX_COUNT
      : Math.min(MAX_COUNT, Math.floor(files.total * SHARE.files));
    this.#names = new Set(Array.from(Deno.readDirSync(directory), ({ name }) => name));
    return {
      extent: { count, size: Math.max(size, MIN_SIZE) },
      free: { octets, files: files?.free ?? Infinity },
    };
  }

  async #make({ count, size }: Extent): Promise<void> {
    // Not zeros, which some file systems store as nothing.
    const content = new Uint8Array(size);
    for (let at = 0; at < size; at += MAX_RANDOM) {
      crypto.getRandomValues(content.subarray(at, at + MAX_RANDOM));
    }
    for (let number = 0; this.#names.size < count; number++) {
      const name = String(number);
      if (this.#names.has(name)) continue;
      const path = join(this.#options.directory, name);
      try {
        await Deno.writeFile(path, content, { createNew: true, mode: 0o600 });
      } catch (error) {
        // Half a file is worse than none: it looks like a whole one.
        await Deno.remove(path).catch(() => {});
        throw error;
      }
      this.#names.add(name);
    }
  }
}
