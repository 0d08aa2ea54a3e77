/**
 * Words and paths of systemd's unit files.
 *
 * @module
 */
import { isWithin } from "../../server/grants.ts";

/** What a unit may do, where units differ. */
export interface Confinement {
  /** Whether it listens on a port below 1024. */
  readonly lowPort: boolean;
  /** What it may write. */
  readonly writable: readonly string[];
  /** What it must not see; missing paths are skipped. */
  readonly hidden: readonly string[];
  /** What it only reads: whether a path is in a home directory decides what it sees of those. */
  readonly reads: readonly (string | undefined)[];
  /** Further lines. */
  readonly settings: readonly string[];
}

/** The part of a unit that confines it; servers, dashboard and renewal differ in nothing else. */
export function confinement({ lowPort, writable, hidden, reads, settings }: Confinement): string {
  const capability = lowPort ? "CAP_NET_BIND_SERVICE" : "";
  const seesHome = [...writable, ...reads].some((path) => path !== undefined && isInHome(path));
  return `AmbientCapabilities=${capability}
CapabilityBoundingSet=${capability}
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=${writable.map((path) => word(path)).join(" ")}
InaccessiblePaths=${hidden.map((path) => word(`-${path}`)).join(" ")}
ProtectHome=${seesHome ? "read-only" : "yes"}
PrivateTmp=yes
PrivateDevices=yes
PrivateIPC=yes
PrivateMounts=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
KeyringMode=private
LockPersonality=yes
# Addresses and routes come by netlink.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
${settings.map((line) => `${line}\n`).join("")}RemoveIPC=yes
SystemCallArchitectures=native
# MemoryDenyWriteExecute is not possible: V8 compiles as it runs.
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @keyring @setuid
SystemCallErrorNumber=EPERM`;
}

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
