/**
 * Storage errors, in the kinds that lead to different replies.
 *
 * @module
 */

import { constants } from "node:os";
import { errorText } from "../base/error_text.ts";

/**
 * What went wrong: `no-space` (ENOSPC), `over-quota` (EDQUOT), `io` (EIO: what was written may be lost), `denied`
 * (EACCES, EPERM, EROFS, or not granted to the thread), `descriptors` (EMFILE, ENFILE), `other`.
 */
export type StorageFault = "no-space" | "over-quota" | "io" | "denied" | "descriptors" | "other";

const FAULTS: Readonly<Record<string, StorageFault>> = {
  ENOSPC: "no-space",
  EDQUOT: "over-quota",
  EIO: "io",
  EACCES: "denied",
  EPERM: "denied",
  EROFS: "denied",
  EMFILE: "descriptors",
  ENFILE: "descriptors",
};

/** A failed file operation. The message names the step, the path and the system's error; it is for the log. */
export class StorageError extends Error {
  /** The kind of failure. */
  readonly fault: StorageFault;
  /** The system's error code, such as `ENOSPC`; empty where there is none. */
  readonly code: string;
  /** The file or directory. */
  readonly path: string;

  /**
   * Finds the kind from what was thrown.
   * @param step What was tried, such as `sync`.
   * @param options `path`: on what; `cause`: what was thrown; `fault`: the kind, where it is not the system's error
   */
  constructor(step: string, options: { path: string; cause: unknown; fault?: StorageFault }) {
    const { path, cause } = options;
    super(`cannot ${step} ${path}: ${errorText(cause)}`, { cause });
    this.name = "StorageError";
    this.path = path;
    this.code = errorCode(cause);
    const denied = cause instanceof Deno.errors.NotCapable ? "denied" : undefined;
    this.fault = options.fault ?? denied ?? FAULTS[this.code] ?? "other";
  }
}

/** The system's error code of what a file call threw, such as `ENOENT`; empty where there is none. */
export function errorCode(error: unknown): string {
  // Deno has no classes for ENOSPC and EMFILE: only `code` tells them apart.
  if (!(error instanceof Error)) return "";
  if ("code" in error && typeof error.code === "string") return error.code;
  // EDQUOT does not even have a code (Deno 2.9): its number is in the message.
  const number = /\(os error (\d+)\)/.exec(error.message)?.[1];
  return Object.entries(constants.errno).find(([, value]) => String(value) === number)?.[0] ?? "";
}

/** Whether an error means that there is no room, however it was wrapped. */
export function isFull(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const fault = FAULTS[errorCode(at)];
    if (fault === "no-space" || fault === "over-quota") return true;
  }
  return false;
}

/** Runs one file call; errors are rethrown as a {@linkcode StorageError}. */
export async function storageCall<T>(step: string, path: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw storageError(step, path, cause);
  }
}

/** The same for a call on the calling thread. */
export function storageCallSync<T>(step: string, path: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw storageError(step, path, cause);
  }
}

function storageError(step: string, path: string, cause: unknown): StorageError {
  return cause instanceof StorageError ? cause : new StorageError(step, { path, cause });
}
