/**
 * The account at an authority, on disk.
 *
 * @module
 */
import { readOwnFile } from "../storage/own_file.ts";
import { join } from "@std/path";
import { DirectorySyncer } from "../storage/directory_syncer.ts";
import { NewFile } from "../storage/new_file.ts";

/** An account, or the key of one that is to be made. */
export interface AcmeAccount {
  /** The URL of the authority's directory. */
  readonly directory: string;
  /** PEM. */
  readonly key: string;
  /** Its URL at the authority; absent before it is registered. */
  readonly url?: string;
}

/** The result of the last renewal, for `doctor`. */
export interface RenewalState {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The error; absent if it succeeded. */
  readonly error?: string;
  /** Before which the authority takes no other request, in milliseconds since the epoch; absent if it did not say. */
  readonly notBefore?: number;
}

const ACCOUNT = "account.json";
const STATE = "renewal.json";

/** The account in this directory; `undefined` if there is none for this authority. */
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

/** Stores the account; durable when this resolves. */
export async function saveAccount(directory: string, account: AcmeAccount): Promise<void> {
  await writeJson(directory, { name: ACCOUNT, value: account });
}

/** The result of the last renewal; `undefined`: there was none. */
export async function readRenewalState(directory: string): Promise<RenewalState | undefined> {
  const state = await readJson(join(directory, STATE)) as Partial<RenewalState> | undefined;
  if (typeof state?.at !== "number") return undefined;
  return {
    at: state.at,
    ...(typeof state.error === "string" && { error: state.error }),
    ...(typeof state.notBefore === "number" && { notBefore: state.notBefore }),
  };
}

/** Stores the result of a renewal. */
export async function saveRenewalState(directory: string, state: RenewalState): Promise<void> {
  await writeJson(directory, { name: STATE, value: state });
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readOwnFile(path));
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
