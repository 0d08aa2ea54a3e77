/**
 * Self-monitoring: a running server checks for problems every few minutes, logs what is wrong, and writes to postmaster,
 * at most once a day for each kind, also across restarts.
 *
 * @module
 */
import { readOwnFile } from "../storage/own_file.ts";
import type { Logger } from "../base/log.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { errorText } from "../base/error_text.ts";

/** A problem that needs attention. */
export interface Problem {
  /** The kind, listed in docs/logs.md; there may be one of a kind for each `about`. */
  readonly kind: string;
  /** Distinguishes problems of one kind; the same in each check. */
  readonly about?: string;
  /** What is wrong; a sentence without its full stop. */
  readonly what: string;
  /** What to do; sentences. */
  readonly next: string;
}

/** Checks for one kind of problem. */
export type ProblemCheck = () => Promise<readonly Problem[]> | readonly Problem[];

/** What a {@linkcode ProblemWatch} needs. */
export interface ProblemWatchOptions {
  /** What is looked for. */
  readonly checks: readonly ProblemCheck[];
  /** Tells the time. */
  readonly clock: Clock;
  /** Takes `problem`, `problem.resolved`, `problem.not_mailed`, `problem.check_failed`. */
  readonly logger: Logger;
  /** Stores the present problems and when each was reported; created when needed. */
  readonly stateFile: string;
  /** Sends postmaster a message about these; rejects if that cannot be done now. Absent: there is no postmaster. */
  readonly mail?: (problems: readonly Problem[]) => Promise<void>;
  /**
   * Sends an alert, bypassing our queue: about new problems, those that last another day, and resolved ones. Rejects
   * if that cannot be done now; it is retried at the next check. Absent: no alerts.
   */
  readonly alert?: (news: ProblemNews) => Promise<void>;
}

/** The content of an alert. */
export interface ProblemNews {
  /** Present problems. */
  readonly firing: readonly Problem[];
  /** Resolved problems. */
  readonly resolved: readonly Pick<Problem, "kind" | "about">[];
}

/** Milliseconds. Not during the busy start, nor in a service that keeps restarting. */
const FIRST_CHECK = 2 * 60_000;
/** Milliseconds between two checks. */
export const CHECK_INTERVAL = 10 * 60_000;
const DAY = 86_400_000;
const MAX_REMEMBERED = 200;
// Twice the largest possible size: some hundred problems, each of which quotes 500 characters of a reply.
const MAX_STATE = 1024 * 1024;

/** When each problem was logged, mailed and alerted last, in milliseconds since the epoch. */
interface Told {
  logged: number;
  mailed: number;
  /** `-Infinity` also after it was reported as resolved. */
  alerted: number;
}

/** The state between checks, kept across restarts. */
interface State {
  /** By key. */
  readonly told: Readonly<Record<string, Partial<Told>>>;
  /** What the last check found. */
  readonly current: readonly Problem[];
  /** When that was, in milliseconds since the epoch. */
  readonly checkedAt: number;
}

/**
 * The findings of the last check, from the state file; empty if that is outdated, as when the server
 * is stopped, or if the file cannot be read.
 * @param now milliseconds since the epoch
 */
export async function currentProblems(stateFile: string, now: number): Promise<readonly Problem[]> {
  const state = await readState(stateFile).catch(() => undefined);
  if (state === undefined || Math.abs(now - state.checkedAt) > 2 * CHECK_INTERVAL) return [];
  return state.current;
}

/** @throws what the file system and `JSON.parse()` throw */
async function readState(stateFile: string): Promise<State | undefined> {
  if ((await Deno.stat(stateFile)).size > MAX_STATE) return undefined;
  const state = JSON.parse(await readOwnFile(stateFile)) as Partial<State> | null;
  const { told = {}, current = [], checkedAt = 0 } = state ?? {};
  return { told, current, checkedAt };
}

/** Looks until it is disposed. */
export class ProblemWatch implements AsyncDisposable {
  readonly #options: ProblemWatchOptions;
  readonly #told = new Map<string, Told>();
  #current = new Map<string, Problem>();
  #timer: Timer | undefined;
  #checking: Promise<void> | undefined;
  #stopped = false;

  private constructor(options: ProblemWatchOptions) {
    this.#options = options;
  }

  /** Begins; the first check is in two minutes. Never throws. */
  static async start(options: ProblemWatchOptions): Promise<ProblemWatch> {
    const watch = new ProblemWatch(options);
    await watch.#recall();
    watch.#sleep(FIRST_CHECK);
    return watch;
  }

  /** Stops, after a check in progress has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#checking;
  }

  #sleep(wait: number): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.after(wait, () => {
      this.#checking = this.#check().finally(() => this.#sleep(CHECK_INTERVAL));
    });
  }

  async #check(): Promise<void> {
    const { checks, logger } = this.#options;
    const found = new Map<string, Problem>();
    for (const check of checks) {
      try {
        for (const problem of await check()) found.set(keyOf(problem), problem);
      } catch (error) {
        logger.warn("problem.check_failed", { error: errorText(error) });
      }
    }
    for (const [key, { kind, about }] of this.#current) {
      if (!found.has(key)) logger.info("problem.resolved", { kind, ...(about !== undefined && { about }) });
    }
    const changed = found.size > 0 || this.#current.size > 0;
    this.#current = found;
    await this.#tell(found);
    const alerted = await this.#alert(found);
    if (changed || alerted) await this.#remember();
  }

  async #tell(found: ReadonlyMap<string, Problem>): Promise<void> {
    const { clock, logger, mail } = this.#options;
    const now = clock.now();
    const due: Problem[] = [];
    for (const [key, problem] of found) {
      const { kind, about, what, next } = problem;
      const told = this.#told.get(key) ?? { logged: -Infinity, mailed: -Infinity, alerted: -Infinity };
      if (isDue(told.logged, now)) {
        logger.warn("problem", { kind, ...(about !== undefined && { about }), what, next });
        told.logged = now;
      }
      this.#told.set(key, told);
      if (isDue(told.mailed, now)) due.push(problem);
    }
    if (mail !== undefined && due.length > 0) {
      try {
        await mail(due);
        for (const problem of due) {
          const told = this.#told.get(keyOf(problem));
          if (told !== undefined) told.mailed = now;
        }
      } catch (error) {
        logger.warn("problem.not_mailed", { kinds: due.map(({ kind }) => kind), error: errorText(error) });
      }
    }
  }

  /** Sends alerts; returns whether one was sent. */
  async #alert(found: ReadonlyMap<string, Problem>): Promise<boolean> {
    const { clock, logger, alert } = this.#options;
    if (alert === undefined) return false;
    const now = clock.now();
    const begun = [...found].filter(([key]) => isDue(this.#told.get(key)?.alerted ?? -Infinity, now));
    const over = [...this.#told].filter(([key, { alerted }]) => alerted > -Infinity && !found.has(key));
    if (begun.length + over.length === 0) return false;
    try {
      await alert({
        firing: begun.map(([, problem]) => problem),
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
        logger.warn("problem.check_failed", { error: errorText(error) });
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
        checkedAt: now,
      };
      await Deno.writeTextFile(`${stateFile}.new`, JSON.stringify(state), { mode: 0o600 });
      await Deno.rename(`${stateFile}.new`, stateFile);
    } catch (error) {
      logger.warn("problem.check_failed", { error: errorText(error) });
    }
  }
}

function keyOf({ kind, about }: Problem): string {
  return about === undefined ? kind : `${kind} ${about}`;
}

function nameOf(key: string): Pick<Problem, "kind" | "about"> {
  const space = key.indexOf(" ");
  return space < 0 ? { kind: key } : { kind: key.slice(0, space), about: key.slice(space + 1) };
}

/** Whether a day has passed; a time in the future means that the clock was changed. */
function isDue(last: number, now: number): boolean {
  return now - last >= DAY || last > now || Number.isNaN(last);
}
