/**
 * What doctor found last, in a file for those who cannot look themselves: `mailapp status`, which is to answer at once,
 * and the dashboard, which has no network.
 *
 * @module
 */
import { join } from "@std/path";
import { readOwnFile } from "../storage/own_file.ts";
import type { Finding, FindingOutcome } from "./finding.ts";

/** The findings of one run. */
export interface SavedFindings {
  /** When it ended, in milliseconds since the epoch. */
  readonly at: number;
  readonly findings: readonly Finding[];
}

const OUTCOMES: readonly FindingOutcome[] = ["ok", "warning", "failure", "untested"];
/** Octets. */
const MAX_FILE = 4 * 1024 * 1024;

/** The file, in the data directory. */
export function findingsFile(dataDir: string): string {
  return join(dataDir, "doctor.json");
}

/**
 * Writes the file anew. Only for the account that owns the directory: see `become_account.ts`.
 * @throws what the file system throws
 */
export async function saveFindings(path: string, { at, findings }: SavedFindings): Promise<void> {
  const next = `${path}.${crypto.randomUUID()}`;
  try {
    await Deno.writeTextFile(next, JSON.stringify({ at, findings }), { createNew: true, mode: 0o600 });
    await Deno.rename(next, path);
  } catch (error) {
    await Deno.remove(next).catch(() => {});
    throw error;
  }
}

/** Reads it; `undefined` where doctor has not run, or its file cannot be read. */
export async function readFindings(path: string): Promise<SavedFindings | undefined> {
  try {
    const { at, findings } = JSON.parse(await readOwnFile(path, { most: MAX_FILE })) as Record<
      string,
      unknown
    >;
    if (typeof at !== "number" || !Number.isFinite(at) || !Array.isArray(findings)) return undefined;
    return { at, findings: findings.flatMap(readFinding) };
  } catch {
    return undefined;
  }
}

function readFinding(value: unknown): Finding[] {
  const { id, subject, outcome, what, next, dialogue } = (value ?? {}) as Record<string, unknown>;
  const known = OUTCOMES.find((one) => one === outcome);
  if (typeof id !== "string" || typeof subject !== "string" || typeof what !== "string" || !known) return [];
  return [{
    id,
    subject,
    outcome: known,
    what,
    ...(typeof next === "string" && { next }),
    ...(Array.isArray(dialogue) && { dialogue: dialogue.filter((line) => typeof line === "string") }),
  }];
}
