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
  /** Takes `problem`, `problem.resolved`, `problem.not_mailed`, `problem.check_failed`, `alert.failed`. */
  readonly logger: Logger;
  /** Stores the present problems and when each was reported; created when needed. */
  readonly stateFile: string;
  /** Sends postmaster a message about these; rejects if that cannot be done now. Absent: there is no postmaster. */
  readonly mail?: (problems: readonly Problem[]) => Promise<void>;
  /**
   * Ways to send alerts, bypassing our queue: about new problems, those that last another day, and resolved ones. Each
   * way is on its own: what one could not send it tries again at the next check, while the others do not repeat it.
   */
  readonly alerts?: readonly ProblemAlerts[];
}

/** A way to send alerts. */
export interface ProblemAlerts {
  /** Identifies the way in the state file and in the log; the same after a restart. */
  readonly way: string;
  /** Rejects if it cannot be sent now. */
  send(news: ProblemNews): Promise<void>;
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
/** How often a way is tried for the news that a problem is over: for a day. */
const MAX_TRIES = DAY / CHECK_INTERVAL;
// Twice the largest possible size: some hundred problems, each of which quotes 500 characters of a reply.
const MAX_STATE = 1024 * 1024;

/** When each problem was logged, mailed and alerted last, in milliseconds since the epoch. */
interface Told {
  logged: number;
  mailed: number;
  /** By way; without an entry also after it was reported as resolved. */
  readonly alerted: Map<string, number>;
}

/** The same in the state file; older files have one number for all ways. */
interface StoredTold {
  readonly logged?: number | null;
  readonly mailed?: number | null;
  readonly alerted?: Readonly<Record<string, number>> | number | null;
}

/** The state between checks, kept across restarts. */
interface State {
  /** By key. */
  readonly told: Readonly<Record<string, StoredTold>>;
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
  /** How often each way has failed in a row with news of resolved problems only. */
  readonly #failures = new Map<string, number>();
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
    const { alerts = [] } = this.#options;
    const alerted = await Promise.all(alerts.map((alert) => this.#alert(alert, found)));
    if (changed || alerted.includes(true)) await this.#remember();
  }

  async #tell(found: ReadonlyMap<string, Problem>): Promise<void> {
    const { clock, logger, mail } = this.#options;
    const now = clock.now();
    const due: Problem[] = [];
    for (const [key, problem] of found) {
      const { kind, about, what, next } = problem;
      const told = this.#told.get(key) ?? { logged: -Infinity, mailed: -Infinity, alerted: new Map() };
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

  /** Sends an alert by one way if there is news; returns whether what has to be remembered has changed. */
  async #alert({ way, send }: ProblemAlerts, found: ReadonlyMap<string, Problem>): Promise<boolean> {
    const { clock, logger } = this.#options;
    const now = clock.now();
    const begun = [...found].filter(([key]) =>
      isDue(this.#told.get(key)?.alerted.get(way) ?? -Infinity, now)
    );
    const over = [...this.#told].filter(([key, { alerted }]) => alerted.has(way) && !found.has(key));
    if (begun.length + over.length === 0) return false;
    try {
      await send({
        firing: begun.map(([, problem]) => problem),
        resolved: over.map(([key]) => nameOf(key)),
      });
    } catch (error) {
      const failures = begun.length > 0 ? 0 : (this.#failures.get(way) ?? 0) + 1;
      this.#failures.set(way, failures);
      const again = failures < MAX_TRIES;
      const kinds = [...begun, ...over].map(([key]) => nameOf(key).kind);
      logger.warn("alert.failed", { way, kinds, error: errorText(error), again });
      if (again) return false;
      for (const [, { alerted }] of over) alerted.delete(way);
      return true;
    }
    this.#failures.delete(way);
    for (const [key] of begun) this.#told.get(key)?.alerted.set(way, now);
    for (const [, { alerted }] of over) alerted.delete(way);
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
          alerted: this.#readAlerted(alerted),
        });
      }
    } catch (error) {
      // It is reported once more, then.
      if (!(error instanceof Deno.errors.NotFound)) {
        logger.warn("problem.check_failed", { error: errorText(error) });
      }
    }
  }

  #readAlerted(stored: StoredTold["alerted"]): Map<string, number> {
    const { alerts = [] } = this.#options;
    const known = alerts.flatMap(({ way }): [string, number][] => {
      const at = typeof stored === "number" ? stored : stored?.[way];
      return typeof at === "number" ? [[way, at]] : [];
    });
    return new Map(known);
  }

  async #remember(): Promise<void> {
    const { stateFile, logger, clock } = this.#options;
    const now = clock.now();
    for (const [key, { logged, mailed, alerted }] of this.#told) {
      if (isDue(logged, now) && isDue(mailed, now) && alerted.size === 0) this.#told.delete(key);
    }
    try {
      const state: State = {
        told: Object.fromEntries(
          Array.from(
            this.#told,
            ([key, told]) => [key, { ...told, alerted: Object.fromEntries(told.alerted) }],
          ),
        ),
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
