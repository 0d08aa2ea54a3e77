/**
 * Accounts and the text they are stored as: JSON, one object with a version.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import * as z from "zod";
import { TimeSlice } from "../base/time_slice.ts";
import { prepareLogin } from "../sasl/prepare.ts";
import { parseEncoded } from "./password_hash.ts";

/** One password of an account. */
export interface StoredPassword {
  /** Unique in the account; `main` is its own password, others are app passwords. */
  readonly id: string;
  /** What its owner calls it, such as the device. */
  readonly label: string;
  /** When it was made, ISO 8601 in UTC. */
  readonly created: string;
  /** argon2id in PHC format. All passwords of an account share a salt, so that a login costs one hash. */
  readonly argon2id: string;
  /** For SCRAM-SHA-256 under the account's salt and iteration count. */
  readonly scram: { readonly storedKey: Uint8Array; readonly serverKey: Uint8Array };
}

/** One login. */
export interface Account {
  /** A mailbox address, prepared (RFC 8265). */
  readonly login: string;
  readonly disabled: boolean;
  /** When it was made, ISO 8601 in UTC. */
  readonly created: string;
  /** Shared by the SCRAM keys of all its passwords. */
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly passwords: readonly StoredPassword[];
}

/** More are refused. */
export const MAX_ACCOUNTS = 100_000;
/** App passwords and the main one. */
export const MAX_PASSWORDS = 10;
/** The id of an account's own password. */
export const MAIN_PASSWORD = "main";

const VERSION = 1;

const base64 = (length: number) =>
  z.base64().transform((text) => new Uint8Array(Buffer.from(text, "base64")))
    .refine((bytes) => bytes.length === length, `must be ${length} octets in base64`);

const isEncoded = (text: string) => {
  try {
    parseEncoded(text);
    return true;
  } catch {
    return false;
  }
};

const PASSWORD = z.strictObject({
  id: z.string().regex(/^[a-z0-9]{1,32}$/),
  label: z.string().max(100),
  created: z.iso.datetime(),
  argon2id: z.string().refine(isEncoded, "must be an argon2id hash in PHC format"),
  stored_key: base64(32),
  server_key: base64(32),
});

const ACCOUNT = z.strictObject({
  login: z.string().refine((login) => prepareLogin(login) === login, "must be a login in its prepared form"),
  disabled: z.boolean(),
  created: z.iso.datetime(),
  salt: base64(16),
  iterations: z.int().min(4096).max(10_000_000),
  passwords: z.array(PASSWORD).max(MAX_PASSWORDS),
});

// Each account is looked at by itself, so that others have their turn.
const FILE = z.strictObject({
  version: z.literal(VERSION),
  accounts: z.array(z.unknown()).max(MAX_ACCOUNTS),
});

/** The text is not that of an accounts file. The message says where and why, without quoting a hash. */
export class AccountsError extends Error {
  override readonly name = "AccountsError";
}

/**
 * Reads the text of an accounts file.
 * @throws {AccountsError}
 */
export function parseAccounts(text: string): Account[] {
  return [...eachAccount(text)];
}

/**
 * The same in slices, for a server: ten thousand accounts take a second.
 * @throws {AccountsError}
 */
export async function parseAccountsInSlices(text: string): Promise<Account[]> {
  const slice = new TimeSlice();
  const accounts: Account[] = [];
  for (const account of eachAccount(text)) {
    accounts.push(account);
    if (slice.isOver()) await slice.pause();
  }
  return accounts;
}

function* eachAccount(text: string): Generator<Account, void, void> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // V8's message quotes the text.
    throw new AccountsError("not valid JSON");
  }
  const logins = new Set<string>();
  for (const [n, one] of checked(FILE, json, []).accounts.entries()) {
    const account = accountOf(checked(ACCOUNT, one, ["accounts", n]));
    const { login, passwords } = account;
    if (logins.has(login)) throw new AccountsError(`two accounts have the login ${login}`);
    logins.add(login);
    if (new Set(passwords.map(({ id }) => id)).size < passwords.length) {
      throw new AccountsError(`${login}: two passwords have the same id`);
    }
    yield account;
  }
}

/** The value as the schema has it. @throws {AccountsError} */
function checked<T>(schema: z.ZodType<T>, value: unknown, where: readonly PropertyKey[]): T {
  const { data, error } = schema.safeParse(value);
  if (error === undefined) return data;
  const [{ path, message } = { path: [], message: "not an accounts file" }] = error.issues;
  throw new AccountsError(`${[...where, ...path].join(".") || "the file"}: ${message}`);
}

function accountOf({ passwords, ...account }: z.output<typeof ACCOUNT>): Account {
  return {
    ...account,
    passwords: passwords.map(({ stored_key, server_key, ...password }) => ({
      ...password,
      scram: { storedKey: stored_key, serverKey: server_key },
    })),
  };
}

/** The text of an accounts file. */
export function formatAccounts(accounts: readonly Account[]): string {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  const file = {
    version: VERSION,
    accounts: accounts.map(({ salt, passwords, ...account }) => ({
      ...account,
      salt: text(salt),
      passwords: passwords.map(({ scram, ...password }) => ({
        ...password,
        stored_key: text(scram.storedKey),
        server_key: text(scram.serverKey),
      })),
    })),
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}
