/**
 * The account at an authority, as it is kept on disk.
 *
 * @module
 */
import { join } from "@std/path";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { NewFile } from "../storage/new_file.ts";

/** An account, or the key of one that is to be made. */
export interface AcmeAccount {
  /** The URL of the authority's directory. */
  readonly directory: string;
  /** PEM. */
  readonly key: string;
  /** What the authority calls it; absent before it is made. */
  readonly url?: string;
}

/** What the last renewal came to, for `doctor`. */
export interface RenewalState {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** What failed; absent: nothing. */
  readonly error?: string;
}

const ACCOUNT = "account.json";
const STATE = "renewal.json";

/** The account in this directory; `undefined` where there is none of this authority. */
export async function readAccount(
  directory: string,
  authority: string,
): Promise<AcmeAccount | undefined> {
  const account = await readJson(join(directory, ACCOUNT)) as Partial<AcmeAccount> | undefined;
  if (account?.directory !== authority || typeof account.key !== "string") return undefined;
  return {
    directory: authority,
    key: account.key,
    ...(typeof account.url === "string" && { url: account.url }),
  };
}

/** Keeps the account; durable when this resolves. */
export async function saveAccount(directory: string, account: AcmeAccount): Promise<void> {
  await writeJson(directory, { name: ACCOUNT, value: account });
}

/** What the last renewal came to; `undefined`: none was tried. */
export async function readRenewalState(directory: string): Promise<RenewalState | undefined> {
  const state = await readJson(join(directory, STATE)) as Partial<RenewalState> | undefined;
  if (typeof state?.at !== "number") return undefined;
  return { at: state.at, ...(typeof state.error === "string" && { error: state.error }) };
}

/** Notes what a renewal came to. */
export async function saveRenewalState(directory: string, state: RenewalState): Promise<void> {
  await writeJson(directory, { name: STATE, value: state });
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function writeJson(
  directory: string,
  { name, value }: { name: string; value: unknown },
): Promise<void> {
  await Deno.mkdir(directory, { mode: 0o700 }).catch((error) => {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  });
  const path = join(directory, name);
  const file = NewFile.create(`${path}.${crypto.randomUUID()}.tmp`, { mode: 0o600 });
  await file.write(new TextEncoder().encode(JSON.stringify(value) + "\n"));
  await file.finish();
  await file.publish(path);
  await new DirectorySyncer().sync(directory);
}
