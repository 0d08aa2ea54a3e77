/**
 * Whether the clock is right, as far as the machine can tell.
 *
 * @module
 */
import { failure, type Finding, ok, untested } from "../finding.ts";

/** When this was written: a correct clock is later. */
const WRITTEN = Date.parse("2026-11-01");
const DAY = 86_400_000;
// systemd-timesyncd touches it whenever it has set the clock.
const SYNCHRONIZED = "/run/systemd/timesync/synchronized";

/** What the clock is compared with. */
export interface ClockCheck {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Files from this machine or elsewhere: none can be from the future. */
  readonly files: readonly string[];
  /** Where systemd notes that it has set the clock. */
  readonly synchronized?: string;
}

/** Compares the clock with times that must be past. */
export async function checkClock(
  { now, files, synchronized = SYNCHRONIZED }: ClockCheck,
): Promise<Finding[]> {
  const shown = new Date(now).toISOString().slice(0, 16).replace("T", " ");
  const next = "Turn on time synchronization: timedatectl set-ntp true; timedatectl then shows its state.";
  if (now < WRITTEN) {
    return [
      failure("clock.behind", shown, { what: "the clock is slow: no certificate is valid yet", next }),
    ];
  }
  for (const file of files) {
    const { mtime = null } = await Deno.stat(file).catch(() => ({ mtime: null }));
    if (mtime === null || mtime.getTime() <= now + DAY) continue;
    return [failure("clock.behind", shown, {
      what: `${file} was written on ${
        mtime.toISOString().slice(0, 10)
      }, which is in the future by this clock`,
      next,
    })];
  }
  if (await Deno.stat(synchronized).then(() => true, () => false)) {
    return [ok("clock", shown, "systemd synchronizes it")];
  }
  return [untested("clock", shown, {
    what: "it looks plausible; it was not compared with another clock",
    next: "timedatectl shows whether it is synchronized.",
  })];
}
