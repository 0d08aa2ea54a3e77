/**
 * Which boot of which machine this is.
 *
 * @module
 */

const BOOT_ID = "/proc/sys/kernel/random/boot_id";

/** What names this boot of this machine; `undefined` where that cannot be read, as with few permissions. */
export function systemBoot(): string | undefined {
  try {
    return Deno.readTextFileSync(BOOT_ID).trim() || undefined;
  } catch {
    return undefined;
  }
}
