/**
 * Whether other accounts of the machine can read secrets, or change what the servers rely on.
 *
 * @module
 */
import { findWideRights } from "../../storage/file_rights.ts";
import { type Finding, ok, untested, warning } from "../finding.ts";
import type { Setup } from "../setup.ts";
import { AS_ROOT } from "./config.ts";

/** Checks the rights of keys, passwords, the configuration and directories. */
export async function checkRights(
  { guarded, dataDir }: Pick<Setup, "guarded" | "dataDir">,
): Promise<Finding[]> {
  const { wide, unseen } = await findWideRights(guarded);
  const findings = wide.map(({ what, path, problem, remedy }) =>
    warning("rights.wide", path, { what: `${what}: ${problem}`, next: remedy })
  );
  if (unseen.length > 0) {
    const names = [...new Set(unseen.map(({ what }) => what))].join(", ");
    findings.push(
      untested("rights.unseen", dataDir, {
        what: `rights that this account may not read: ${names}`,
        next: AS_ROOT,
      }),
    );
  }
  const well =
    "other accounts cannot read keys and passwords, and cannot change the configuration or the directories";
  return findings.length > 0 ? findings : [ok("rights", dataDir, well)];
}
