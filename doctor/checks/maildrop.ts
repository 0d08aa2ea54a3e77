/**
 * Whether programs can leave mail while serve-out is stopped.
 *
 * @module
 */
import { dirname } from "@std/path";
import { maildropFault } from "../../relay/maildrop/directory.ts";
import { type Finding, ok, untested, warning } from "../finding.ts";
import type { Setup } from "../setup.ts";

/** Checks the maildrop and the directories above it. */
export async function checkMaildrop({ maildrop }: Pick<Setup, "maildrop">): Promise<Finding[]> {
  const fault = await findFault(maildrop);
  if (fault === undefined) {
    return [
      ok("maildrop", maildrop, "programs of every account can leave mail there while serve-out is stopped"),
    ];
  }
  if (fault === "forbidden") {
    return [untested("maildrop", maildrop, { what: "this account may not read it" })];
  }
  return [warning("maildrop.unusable", maildrop, {
    what: `it ${fault}: programs get an error from sendmail while serve-out is stopped`,
    next: "mailapp install repairs it.",
  })];
}

async function findFault(maildrop: string): Promise<string | undefined> {
  try {
    const { mode } = await Deno.stat(dirname(maildrop));
    if (((mode ?? 0) & 0o001) === 0) return `is in ${dirname(maildrop)}, which other accounts may not enter`;
    return maildropFault(await Deno.lstat(maildrop));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "does not exist";
    if (error instanceof Deno.errors.PermissionDenied) return "forbidden";
    throw error;
  }
}
