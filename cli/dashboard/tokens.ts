/**
 * The tokens that let a visitor in.
 *
 * @module
 */
import { readOwnFile } from "../../storage/own_file.ts";
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { dirname, join } from "@std/path";
import { errorText } from "../../base/error_text.ts";
import type { Config } from "../../config/config.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";

/** A token, and whose it is. */
export interface Token {
  /** For the log. */
  readonly name: string;
  /** At least 16 characters. */
  readonly secret: string;
}

/** The directory in the data directory, of the dashboard alone. */
export function dashboardDirectory({ dataDir }: Config): string {
  return join(dataDir, "dashboard");
}

/** The file with the tokens: the configured one, or our own. */
export function tokenFile(config: Config): string {
  return config.dashboard.tokenFile ?? join(dashboardDirectory(config), "token");
}

const MAX_TOKENS = 100;
const LINE = /^(?:([\w.@-]{1,64})[ \t]+)?([\x21-\x7e]{16,200})$/;

/**
 * Reads the tokens: one a line, each with a name before it if wanted; `#` begins a comment.
 * @throws {CommandError} when there is none, or one is too short
 */
export async function readTokens(path: string): Promise<readonly Token[]> {
  let text: string;
  try {
    text = await readOwnFile(path);
  } catch (error) {
    throw new CommandError(`[dashboard] token_file: ${errorText(error)}`, EXIT.config, { cause: error });
  }
  const tokens: Token[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [all, name = "dashboard", secret = ""] = LINE.exec(line.trim()) ?? [];
    if (all === undefined) {
      const form = "must be a token of at least 16 characters, optionally after a name and a space";
      throw new CommandError(`[dashboard] token_file: ${path}:${index + 1}: ${form}`, EXIT.config);
    }
    tokens.push({ name, secret });
  }
  if (tokens.length === 0 || tokens.length > MAX_TOKENS) {
    const problem = tokens.length === 0
      ? "has no token: write one into it, such as openssl rand -hex 16 prints, or remove the setting: " +
        "the dashboard makes its own then"
      : `has more than ${MAX_TOKENS} tokens`;
    throw new CommandError(`[dashboard] token_file: ${path} ${problem}`, EXIT.config);
  }
  return tokens;
}

/** The secret by which browsers that have been logged in are known; it is made where there is none. */
export async function browserKey(config: Config): Promise<string> {
  const path = join(dashboardDirectory(config), "browser_key");
  await makeToken(path);
  return (await readOwnFile(path, { most: 200 })).trim();
}

/** Makes a file of our own with one random token, if it is not there, or was left empty by a full disk or a crash. */
export async function makeToken(path: string): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const { isFile = false, size = 0 } = await Deno.lstat(path).catch(() => undefined) ?? {};
  if (isFile && size === 0) await Deno.remove(path);
  try {
    using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
    await file.write(Buffer.from(`${randomBytes(24).toString("base64url")}\n`));
    await file.sync();
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}
