/**
 * Creates key files: with safe permissions, and never over an existing one.
 *
 * @module
 */
import { lchown, open } from "node:fs/promises";
import { join } from "@std/path";
import { type DkimAlgorithm, makeDkimKey } from "../../dkim/keys.ts";
import type { Config } from "../../config/config.ts";
import { DirectorySyncer } from "../../storage/directory_syncer.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";
import { dkimDirectory } from "../../server/dkim_directories.ts";
import { prepareDataDir } from "../../server/parts.ts";
import { errorText } from "../../base/error_text.ts";

/**
 * The selector of the domain's newest key that we made, by its name: the default ones begin with a letter and count
 * the months. `undefined` if there is none.
 */
export async function lastSelector(config: Config, domain: string): Promise<string | undefined> {
  const selectors: string[] = [];
  try {
    for await (const { name } of Deno.readDir(dkimDirectory(config))) {
      if (!name.startsWith(`${domain}.`) || !name.endsWith(".pem")) continue;
      const selector = name.slice(domain.length + 1, -".pem".length);
      // With a dot it is a key of another domain, such as example.com.au.
      if (selector !== "" && !selector.includes(".")) selectors.push(selector);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return selectors.sort().at(-1);
}

/**
 * Makes a key below the data directory, mode 0600; made by root, it belongs to the owner of the data directory.
 * @returns the path
 * @throws {CommandError} when the file exists, or cannot be written
 */
export async function makeDkimFile(
  config: Config,
  { domain, selector, algorithm }: {
    readonly domain: string;
    readonly selector: string;
    readonly algorithm: DkimAlgorithm;
  },
): Promise<string> {
  const directory = dkimDirectory(config);
  const path = join(directory, `${domain}.${selector}.pem`);
  await prepareDataDir(config);
  const pem = await makeDkimKey(algorithm);
  try {
    const owner = await ownerFor(config);
    const fresh = await Deno.mkdir(directory, { mode: 0o700 }).then(() => true, (error) => {
      if (error instanceof Deno.errors.AlreadyExists) return false;
      throw error;
    });
    // The parent directory belongs to the service: never follow a symbolic link that it could have put here.
    if (fresh && owner !== undefined) await lchown(directory, owner.uid, owner.gid);
    const file = await open(path, "wx", 0o600);
    try {
      await file.writeFile(pem);
      if (owner !== undefined) await file.chown(owner.uid, owner.gid);
      await file.sync();
    } finally {
      await file.close();
    }
    const syncer = new DirectorySyncer();
    await syncer.sync(directory);
    await syncer.sync(config.dataDir);
    return path;
  } catch (error) {
    throw failure(error, { path, selector });
  }
}

/** The owner that lets the service read the key; `undefined`: the present account. */
async function ownerFor({ dataDir }: Config): Promise<{ uid: number; gid: number } | undefined> {
  if (Deno.uid() !== 0) return undefined;
  const { uid, gid } = await Deno.stat(dataDir);
  return uid === null || gid === null || uid === 0 ? undefined : { uid, gid };
}

function failure(error: unknown, { path, selector }: { path: string; selector: string }): CommandError {
  const { code } = error as { code?: string };
  if (code === "EEXIST") {
    return new CommandError(
      `${path} already exists, and was not changed: choose another --selector than ${selector}`,
      EXIT.usage,
      { cause: error },
    );
  }
  const denied = code === "EACCES" || code === "EPERM" || error instanceof Deno.errors.PermissionDenied;
  const reason = errorText(error);
  return new CommandError(
    `${path}: cannot be made: ${reason}`,
    denied ? EXIT.noPermission : EXIT.unavailable,
    {
      cause: error,
    },
  );
}
