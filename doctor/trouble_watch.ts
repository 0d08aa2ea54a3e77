/**
 * Self-monitoring: a running server looks for trouble every few minutes, logs what is wrong, and writes to postmaster,
 * at most once a day for each kind, also across restarts.
 *
 * @module
 */
import type { Logger } from "../base/log.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";

/** A problem that needs attention. */
export interface Trouble {
  /** The kind, listed in docs/logs.md; there may be one of a kind for each `about`. */
  readonly kind: string;
  /** Distinguishes troubles of one kind; the same in each look. */
  readonly about?: string;
  /** What is wrong; a sentence without its full stop. */
  readonly what: string;
  /** What to do; sentences. */
  readonly next: string;
}

/** Looks for one kind of trouble. */
export type Look = () => Promise<readonly Trouble[]> | readonly Trouble[];

/** What a {@linkcode TroubleWatch} needs. */
export interface TroubleWatchOptions {
  /** What is looked for. */
  readonly looks: readonly Look[];
  /** Tells the time. */
  readonly clock: Clock;
  /** Takes `trouble`, `trouble.over`, `trouble.not_mailed`, `trouble.not_looked`. */
  readonly logger: Logger;
  /** Stores the present troubles and when each was reported; created when needed. */
  readonly stateFile: string;
  /** Sends postmaster a message about these; rejects if that cannot be done now. Absent: there is no postmaster. */
  readonly mail?: (troubles: readonly Trouble[]) => Promise<void>;
  /**
   * Sends an alert, bypassing our queue: about new troubles, those that last another day, and resolved ones. Rejects
   * if that cannot be done now; it is retried at the next look. Absent: no alerts.
   */
  readonly alert?: (news: TroubleNews) => Promise<void>;
}

/** The content of an alert. */
export interface TroubleNews {
  /** Present troubles. */
  readonly firing: readonly Trouble[];
  /** Resolved troubles. */
  readonly resolved: readonly Pick<Trouble, "kind" | "about">[];
}

/** Milliseconds. Not during the busy start, nor in a service that keeps restarting. */
const FIRST_LOOK = 2 * 60_000;
/** Milliseconds between two looks. */
export const LOOK_INTERVAL = 10 * 60_000;
const DAY = 86_400_000;
const MAX_REMEMBERED = 200;
// Twice the largest possible size: some hundred troubles, each of which quotes 500 characters of a reply.
const MAX_STATE = 1024 * 1024;

/** When each trouble was logged, mailed and alerted last, in milliseconds since the epoch. */
interface Told {
  logged: number;
  mailed: number;
  /** `-Infinity` also after it was reported as resolved. */
  alerted: number;
}

/** The state between looks, kept across restarts. */
interface State {
  /** By key. */
  readonly told: Readonly<Record<string, Partial<Told>>>;
  /** What the last look found. */
  readonly current: readonly Trouble[];
  /** When that was, in milliseconds since the epoch. */
  readonly lookedAt: number;
}

/**
 * The findings of the last look, from the state file; empty if that is outdated, as when the server
 * is stopped, or if the file cannot be read.
 * @param now milliseconds since the epoch
 */
export async function currentTroubles(stateFile: string, now: number): Promise<readonly Trouble[]> {
  const state = await readState(stateFile).catch(() => undefined);
  if (state === undefined || Math.abs(now - state.lookedAt) > 2 * LOOK_INTERVAL) return [];
  return state.current;
}

/** @throws what the file system and `JSON.parse()` throw */
async function readState(stateFile: string): Promise<State | undefined> {
  if ((await Deno.stat(stateFile)).size > MAX_STATE) return undefined;
  const state = JSON.parse(await Deno.readTextFile(stateFile)) as Partial<State> | null;
  const { told = {}, current = [], lookedAt = 0 } = state ?? {};
  return { told, current, lookedAt };
}

/** Looks until it is disposed. */
export class TroubleWatch implements AsyncDisposable {
  readonly #options: TroubleWatchOptions;
  readonly #told = new Map<string, Told>();
  #current = new Map<string, Trouble>();
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #stopped = false;

  private constructor(options: TroubleWatchOptions) {
    this.#options = options;
  }

  /** Begins; the first look is in two minutes. Never throws. */
  static async start(options: TroubleWatchOptions): Promise<TroubleWatch> {
    const watch = new TroubleWatch(options);
    await watch.#recall();
    watch.#sleep(FIRST_LOOK);
    return watch;
  }

  /** Stops, after a look in progress has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  #sleep(wait: number): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.after(wait, () => {
      this.#looking = this.#look().finally(() => this.#sleep(LOOK_INTERVAL));
    });
  }

  async #look(): Promise<void> {
    const { looks, logger } = this.#options;
    const found = new Map<string, Trouble>();
    for (const look of looks) {
      try {
        for (const trouble of await look()) found.set(keyOf(trouble), trouble);
      } catch (error) {
        logger.warn("trouble.not_looked", { error: errorText(error) });
      }
    }
    for (const [key, { kind, about }] of this.#current) {
      if (!found.has(key)) logger.info("trouble.over", { kind, ...(about !== undefined && { about }) });
    }
    const changed = found.size > 0 || this.#current.size > 0;
    this.#current = found;
    await this.#tell(found);
    const alerted = await this.#alert(found);
    if (changed || alerted) await this.#remember();
  }

  async #tell(found: ReadonlyMap<string, Trouble>): Promise<void> {
    const { clock, logger, mail } = this.#options;
    const now = clock.now();
    const due: Trouble[] = [];
    for (const [key, trouble] of found) {
      const { kind, about, what, next } = trouble;
      const told = this.#told.get(key) ?? { logged: -Infinity, mailed: -Infinity, alerted: -Infinity };
      if (isDue(told.logged, now)) {
        logger.warn("trouble", { kind, ...(about !== undefined && { about }), what, next });
        told.logged = now;
      }
      this.#told.set(key, told);
      if (isDue(told.mailed, now)) due.push(trouble);
    }
    if (mail !== undefined && due.length > 0) {
      try {
        await mail(due);
        for (const trouble of due) {
          const told = this.#told.get(keyOf(trouble));
          if (told !== undefined) told.mailed = now;
        }
      } catch (error) {
        logger.warn("trouble.not_mailed", { kinds: due.map(({ kind }) => kind), error: errorText(error) });
      }
    }
  }

  /** Sends alerts; returns whether one was sent. */
  async #alert(found: ReadonlyMap<string, Trouble>): Promise<boolean> {
    const { clock, logger, alert } = this.#options;
    if (alert === undefined) return false;
    const now = clock.now();
    const begun = [...found].filter(([key]) => isDue(this.#told.get(key)?.alerted ?? -Infinity, now));
    const over = [...this.#told].filter(([key, { alerted }]) => alerted > -Infinity && !found.has(key));
    if (begun.length + over.length === 0) return false;
    try {
      await alert({
        firing: begun.map(([, trouble]) => trouble),
        resolved: over.map(([key]) => nameOf(key)),
      });
    } catch (error) {
      const kinds = [...begun, ...over].map(([key]) => nameOf(key).kind);
      logger.warn("alert.failed", { kinds, error: errorText(error) });
      return false;
    }
    for (const [key] of begun) {
      const told = this.#told.get(key);
      if (told !== undefined) told.alerted = now;
    }
    for (const [, told] of over) told.alerted = -Infinity;
    return true;
  }

  async #recall(): Promise<void> {
    const { stateFile, logger } = this.#options;
    try {
      const { told = {} } = await readState(stateFile) ?? {};
      for (const [key, { logged, mailed, alerted }] of Object.entries(told).slice(0, MAX_REMEMBERED)) {
        this.#told.set(key, {
          logged: Number(logged ?? -Infinity),
          mailed: Number(mailed ?? -Infinity),
          alerted: Number(alerted ?? -Infinity),
        });
      }
    } catch (error) {
      // It is reported once more, then.
      if (!(error instanceof Deno.errors.NotFound)) {
        logger.warn("trouble.not_looked", { error: errorText(error) });
      }
    }
  }

  async #remember(): Promise<void> {
    const { stateFile, logger, clock } = this.#options;
    const now = clock.now();
    for (const [key, { logged, mailed, alerted }] of this.#told) {
      if (isDue(logged, now) && isDue(mailed, now) && alerted === -Infinity) this.#told.delete(key);
    }
    try {
      const state: State = {
        told: Object.fromEntries(this.#told),
        current: [...this.#current.values()],
        lookedAt: now,
      };
      await Deno.writeTextFile(`${stateFile}.new`, JSON.stringify(state), { mode: 0o600 });
      await Deno.rename(`${stateFile}.new`, stateFile);
    } catch (error) {
      logger.warn("trouble.not_looked", { error: errorText(error) });
    }
  }
}

function keyOf({ kind, about }: Trouble): string {
  return about === undefined ? kind : `${kind} ${about}`;
}

function nameOf(key: string): Pick<Trouble, "kind" | "about"> {
  const space = key.indexOf(" ");
  return space < 0 ? { kind: key } : { kind: key.slice(0, space), about: key.slice(space + 1) };
}

/** Whether a day has passed; a time in the future means that the clock was changed. */
function isDue(last: number, now: number): boolean {
  return now - last >= DAY || last > now || Number.isNaN(last);
}
