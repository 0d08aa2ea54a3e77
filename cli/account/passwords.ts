/**
 * Passwords of accounts: given or generated, and stored as hashes.
 *
 * @module
 */
import { randomInt } from "node:crypto";
import { type Account, MAIN_PASSWORD, MAX_PASSWORDS, type StoredPassword } from "../../accounts/account.ts";
import { makePassword, storePassword } from "../../accounts/new_password.ts";
import { argon2Hasher } from "../../accounts/password_hash.ts";
import { weaknessOf } from "../../accounts/password_strength.ts";
import { preparePassword } from "../../sasl/prepare.ts";
import { CommandError, EXIT } from "../../server/exit_codes.ts";

export { newAccount } from "../../accounts/new_password.ts";

/** Octets of standard input that are read. */
const MAX_INPUT = 8192;

/**
 * The password in the first line of an input, prepared and strong enough.
 * @throws {CommandError} when there is none, or it is too weak
 */
export async function readPassword(
  input: { read(buffer: Uint8Array): Promise<number | null> },
  login: string,
): Promise<string> {
  const buffer = new Uint8Array(MAX_INPUT);
  let length = 0;
  while (length < buffer.length && !buffer.subarray(0, length).includes(10)) {
    const octets = await input.read(buffer.subarray(length));
    if (octets === null) break;
    length += octets;
  }
  const [line = ""] = decode(buffer.subarray(0, length)).split(/\r?\n/, 1);
  if (line === "") {
    throw new CommandError("the first line of standard input has no password", EXIT.data);
  }
  const password = preparePassword(line);
  if (password === undefined) {
    throw new CommandError(
      "the password is longer than 1024 octets, or has control or invisible characters, which mail programs encode differently",
      EXIT.data,
    );
  }
  const weakness = weaknessOf(password, login);
  if (weakness !== undefined) throw new CommandError(`the password ${weakness}`, EXIT.data);
  return password;
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new CommandError("the password is not valid UTF-8", EXIT.data, { cause });
  }
}

/** Sets an account's main password: the given one, else a generated one. */
export async function makeMainPassword(
  account: Account,
  { given, now }: { readonly given: string | undefined; readonly now: Date },
): Promise<{ readonly account: Account; readonly made?: string }> {
  const password = given ?? makePassword();
  const stored = await store(password, { account, id: MAIN_PASSWORD, label: "", now });
  const others = account.passwords.filter(({ id }) => id !== MAIN_PASSWORD);
  return {
    account: { ...account, passwords: [stored, ...others] },
    ...(given === undefined && { made: password }),
  };
}

/**
 * Adds an app password.
 * @throws {CommandError} when there are too many, or one with this label
 */
export async function makeAppPassword(
  account: Account,
  { label, now }: { readonly label: string; readonly now: Date },
): Promise<{ readonly account: Account; readonly id: string; readonly made: string }> {
  const { login, passwords } = account;
  if (passwords.some((one) => one.label === label)) {
    throw new CommandError(
      `${login} has an app password ${label} already: choose another label, or remove that one with --remove`,
      EXIT.usage,
    );
  }
  if (passwords.length >= MAX_PASSWORDS) {
    throw new CommandError(
      `${login} has ${MAX_PASSWORDS} passwords, the maximum: remove one first`,
      EXIT.usage,
    );
  }
  const id = freshId(passwords);
  const made = makePassword();
  const stored = await store(made, { account, id, label, now });
  return { account: { ...account, passwords: [...passwords, stored] }, id, made };
}

async function store(
  password: string,
  options: { readonly account: Account; readonly id: string; readonly label: string; readonly now: Date },
): Promise<StoredPassword> {
  return await storePassword(password, { ...options, hasher: argon2Hasher });
}

function freshId(passwords: readonly StoredPassword[]): string {
  for (;;) {
    const id = `app${randomInt(36 ** 5).toString(36).padStart(5, "0")}`;
    if (!passwords.some((one) => one.id === id)) return id;
  }
}
