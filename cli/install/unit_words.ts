/**
 * Words and paths of systemd's unit files.
 *
 * @module
 */
import { isWithin } from "../../server/grants.ts";

/** What of the machine a unit that stays up neither changes nor sees: the kernel, the clock, other processes. */
export const MACHINE_PROTECTED = `ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
KeyringMode=private
LockPersonality=yes`;

/** A word of a unit file: systemd's specifiers and quotes are taken literally, and what is `doubled` too. */
export function word(text: string, doubled: readonly string[] = []): string {
  let escaped = text.replace(/[\\"]/g, "\\$&").replaceAll("%", "%%");
  for (const char of doubled) escaped = escaped.replaceAll(char, () => char + char);
  return /^[\w./@%+:$-]+$/.test(text) ? escaped : `"${escaped}"`;
}

/** Whether `ProtectHome=yes` would hide it. */
export function isInHome(path: string): boolean {
  return ["/home", "/root", "/run/user"].some((home) => isWithin(path, home));
}
