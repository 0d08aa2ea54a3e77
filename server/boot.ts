/**
 * Identifies the current boot of this machine.
 *
 * @module
 */

const BOOT_ID = "/proc/sys/kernel/random/boot_id";

/** Identifies this boot of this machine; `undefined` if that cannot be read, for example for want of permissions. */
export function systemBoot(): string | undefined {
  try {
    return Deno.readTextFileSync(BOOT_ID).trim() || undefined;
  } catch {
    return undefined;
  }
}
