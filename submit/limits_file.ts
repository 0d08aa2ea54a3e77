/**
 * Keeps the counts of {@linkcode LoginLimits} over restarts. A process that is killed loses those of the last seconds.
 *
 * @module
 */
import { readOwnFile } from "../storage/own_file.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";
import type { Logger } from "../base/log.ts";

/** Octets: ten thousand logins that know two thousand recipients each would not be written. */
const MAX_SIZE = 32 * 1024 * 1024;
/** Milliseconds between two looks whether there is something to write. */
const INTERVAL = 10_000;

/** What it needs. */
export interface LimitsFileOptions {
  readonly path: string;
  readonly clock: Clock;
  /** Takes `limits.not_kept`. */
  readonly logger: Logger;
}

/** What is kept, and how to tell that it has changed. */
export interface Kept {
  readonly version: number;
  toJSON(): unknown;
}

/** What the file says; `undefined` where it is not there, or says nothing that can be read. */
export async function readLimits({ path, logger }: Omit<LimitsFileOptions, "clock">): Promise<unknown> {
  try {
    return JSON.parse(await readOwnFile(path, { most: MAX_SIZE }));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      logger.warn("limits.not_kept", { path, error: errorText(error) });
    }
    return undefined;
  }
}

/** Writes every few seconds what has changed, and at the end. */
export class LimitsFile implements AsyncDisposable {
  readonly #options: LimitsFileOptions;
  readonly #kept: Kept;
  #written: number;
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();
  #failed = false;

  /** What is kept now is in the file. */
  constructor(kept: Kept, options: LimitsFileOptions) {
    this.#kept = kept;
    this.#options = options;
    this.#written = kept.version;
    this.#sleep();
  }

  /** Writes what has changed. Never throws. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.#writing;
    await this.#write();
  }

  #sleep(): void {
    this.#timer = this.#options.clock.after(INTERVAL, () => {
      this.#writing = this.#write().finally(() => {
        if (this.#timer !== undefined) this.#sleep();
      });
    });
  }

  async #write(): Promise<void> {
    const { version } = this.#kept;
    if (version === this.#written) return;
    const { path, logger } = this.#options;
    try {
      const text = JSON.stringify(this.#kept);
      if (text.length > MAX_SIZE) throw new Error("there is too much to keep");
      await Deno.writeTextFile(`${path}.new`, text, { mode: 0o600 });
      await Deno.rename(`${path}.new`, path);
      this.#written = version;
      this.#failed = false;
    } catch (error) {
      // Said once, not every ten seconds of a full disk.
      if (!this.#failed) logger.warn("limits.not_kept", { path, error: errorText(error) });
      this.#failed = true;
    }
  }
}
