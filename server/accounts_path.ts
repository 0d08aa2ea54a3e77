/**
 * Where the accounts of serve-submit are.
 *
 * @module
 */
import { join } from "@std/path";
import type { Config } from "../config/config.ts";

/** The directory of the accounts in the data directory, which no other server may look into. */
export const ACCOUNTS_DIRECTORY = "accounts";

/** The file of accounts. */
export function accountsPath({ dataDir, serveSubmit }: Pick<Config, "dataDir" | "serveSubmit">): string {
  return serveSubmit?.accountsFile ?? join(dataDir, ACCOUNTS_DIRECTORY, "accounts.json");
}
