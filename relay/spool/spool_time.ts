/**
 * The spool's own time: milliseconds that go on while the machine is up, and that no setting of the clock touches.
 *
 * It begins as the clock stands when the spool is made. From one process to the next it goes on by the time that the
 * machine has been up; what a machine was switched off does not count, since only the clock could tell. Where the spool
 * has come to another machine, the uptime of that one says nothing, and the time between counts as far as uptime and
 * clock agree that it has passed. Queue ids begin with it, and so tell how old a message is.
 *
 * @module
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { errorText } from "../../base/error_text.ts";
import type { Logger } from "../../base/log.ts";
import type { DirectorySyncer } from "../../storage/directory_syncer.ts";
import type { FileSystem } from "../../storage/file_system.ts";
import { NewFile } from "../../storage/new_file.ts";
import { readTextIfThere } from "./directory.ts";
import { SPOOL_VERSION } from "../stored/format.ts";
import { seal, unseal } from "../stored/seal.ts";
import { SpoolFormatError } from "../stored/format_values.ts";

/** What a {@linkcode SpoolTime} needs. */
export interface SpoolTimeOptions {
  /** Where it is kept over a restart. */
  readonly path: string;
  /** Where the file is written before it has its place. */
  readonly temporary: string;
  /** Gives the first time, measures, and wakes. */
  readonly clock: Clock;
  /** Milliseconds that the machine has been up; `undefined` where that cannot be determined. */
  readonly uptime: () => number | undefined;
  /** What names this boot of this machine; `undefined` where that is not known. */
  readonly boot: string | undefined;
  /** The file system. */
  readonly fileSystem: FileSystem;
  /** Makes the file's name durable. */
  readonly syncer: DirectorySyncer;
  /** Where failures are logged. */
  readonly logger: Logger;
}

// How much of the time before a reboot may be forgotten, in milliseconds.
const SAVE_EVERY = 3_600_000;
// A short `mailapp queue` need not write it.
const SAVE_AT_END_AFTER = 60_000;
// Earlier times are no times: an id that some other program made.
const EPOCH = Date.UTC(2001, 0, 1);

const encoder = new TextEncoder();

/** Tells the time of one spool. */
export class SpoolTime {
  readonly #options: SpoolTimeOptions;
  /** The time when the monotonic clock stood at 0. */
  readonly #start: number;
  #savedAt: number;
  #timer: Timer | undefined;
  #saving: Promise<void> = Promise.resolve();

  private constructor(options: SpoolTimeOptions, { time, saved }: { time: number; saved: boolean }) {
    this.#options = options;
    this.#start = time - options.clock.monotonic();
    this.#savedAt = saved ? options.clock.monotonic() : -Infinity;
  }

  /** Goes on where the last process ended. Nothing but a start from the clock's time comes of a file that is spoilt. */
  static async open(options: SpoolTimeOptions): Promise<SpoolTime> {
    const { path, clock, logger } = options;
    const now: Moment = momentOf(options);
    let last: Moment & { time: number } | undefined;
    try {
      last = read(path);
    } catch (error) {
      if (!(error instanceof SpoolFormatError)) throw error;
      logger.warn("queue.time_lost", { file: path, reason: error.message });
    }
    const passed = last === undefined ? 0 : passedSince(last, now);
    // From the same boot the file is as good as a new one.
    const saved = last !== undefined && isSameBoot(last, now);
    const time = new SpoolTime(options, { time: (last?.time ?? clock.now()) + passed, saved });
    if (!saved) await time.#save();
    time.#sleep();
    return time;
  }

  /** The time. */
  now(): number {
    return Math.floor(this.#start + this.#options.clock.monotonic());
  }

  /** How old what has this id is, in milliseconds; by `acceptedAt` where the id does not tell. */
  ageOf(id: string, acceptedAt: number): number {
    const told = Number.parseInt(id.slice(0, -ID_TAIL), 36);
    const born = told >= EPOCH ? told : acceptedAt;
    return Math.max(0, this.now() - born);
  }

  /** Ends it. */
  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#saving;
    if (this.#options.clock.monotonic() - this.#savedAt >= SAVE_AT_END_AFTER) await this.#save();
  }

  #sleep(): void {
    this.#timer = this.#options.clock.after(SAVE_EVERY, () => {
      this.#saving = this.#saving.then(() => this.#save());
      this.#sleep();
    });
  }

  /** Without it the next process after a reboot takes messages to be younger than they are, no more. */
  async #save(): Promise<void> {
    const { path, temporary, clock, fileSystem, syncer, logger } = this.#options;
    const text = seal({ mailapp: SPOOL_VERSION, time: this.now(), ...momentOf(this.#options) }) + "\n";
    try {
      const file = await NewFile.createAnew(temporary, { mode: 0o600, fileSystem });
      await file.write(encoder.encode(text));
      await file.finish();
      await file.publish(path);
      await syncer.sync(path.slice(0, path.lastIndexOf("/")));
      this.#savedAt = clock.monotonic();
    } catch (error) {
      logger.debug("queue.time_not_saved", { file: path, error: errorText(error) });
    }
  }
}

/** Characters of an id after its time: sequence, random part and shard. */
export const ID_TAIL = 10;

/** When a time was written down. */
interface Moment {
  /** Milliseconds that the machine had been up. */
  readonly uptime: number | undefined;
  /** What names that boot. */
  readonly boot: string | undefined;
  /** The clock, milliseconds since the epoch. */
  readonly clock: number | undefined;
}

function momentOf({ uptime, boot, clock }: SpoolTimeOptions): Moment {
  const ms = uptime();
  return { uptime: ms === undefined ? undefined : Math.round(ms), boot, clock: Math.round(clock.now()) };
}

function isSameBoot(then: Moment, now: Moment): boolean {
  if (then.uptime === undefined || now.uptime === undefined || now.uptime < then.uptime) return false;
  return then.boot === undefined || now.boot === undefined || then.boot === now.boot;
}

/** Milliseconds that have passed at least. */
function passedSince(then: Moment, now: Moment): number {
  if (then.uptime === undefined || now.uptime === undefined) return 0;
  if (isSameBoot(then, now)) return now.uptime - then.uptime;
  // Of another boot as long as this one, unless it is one of another machine.
  if (then.boot === undefined || then.clock === undefined || now.clock === undefined) return now.uptime;
  return Math.min(now.uptime, Math.max(0, now.clock - then.clock));
}

function read(path: string): Moment & { time: number } | undefined {
  const text = readTextIfThere(path);
  if (text === undefined) return undefined;
  const { time, uptime, boot, clock } = unseal(text);
  const isTime = (value: unknown): value is number | undefined =>
    value === undefined || Number.isSafeInteger(value);
  if (time === undefined || !isTime(time) || !isTime(uptime) || !isTime(clock)) {
    throw new SpoolFormatError("not a time");
  }
  return { time, uptime, boot: typeof boot === "string" ? boot : undefined, clock };
}

/** How long the system has been up, in milliseconds; `undefined` where this program may not know. */
export function systemUptime(): number | undefined {
  // Asking without the permission would ask the user on a terminal.
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "osUptime" });
  return state === "granted" ? Deno.osUptime() * 1000 : undefined;
}
