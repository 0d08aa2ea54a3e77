import assert from "node:assert/strict";
import { deriveScramKeys } from "../sasl/scram.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import {
  type Account,
  AccountsError,
  formatAccounts,
  MAIN_PASSWORD,
  parseAccounts,
  parseAccountsInSlices,
} from "./account.ts";
import { AccountCredentials } from "./account_credentials.ts";
import { makePassword, newAccount, storePassword } from "./new_password.ts";
import { argon2Hasher, parseEncoded, type PasswordHasher } from "./password_hash.ts";

const now = new Date("2026-11-30T00:00:00Z");

/** Counts what it is asked, and knows a password by its hash's end. */
class CountingHasher implements PasswordHasher {
  hashed = 0;
  hash(password: string, like?: string): Promise<string> {
    return argon2Hasher.hash(password, like);
  }
  match(password: string, encoded: readonly string[]): Promise<string | undefined> {
    this.hashed++;
    return argon2Hasher.match(password, encoded);
  }
}

async function accountWith(...passwords: string[]): Promise<Account> {
  let account = newAccount("alice@example.com", now);
  for (const [i, password] of passwords.entries()) {
    const id = i === 0 ? MAIN_PASSWORD : `app${i}`;
    const stored = await storePassword(password, { account, id, label: "", now, hasher: argon2Hasher });
    account = { ...account, passwords: [...account.passwords, stored] };
  }
  return account;
}

Deno.test("argon2Hasher finds which hash is that of a password", async () => {
  const first = await argon2Hasher.hash("one");
  const second = await argon2Hasher.hash("two", first);
  assert.match(first, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  assert.deepEqual(parseEncoded(first).salt, parseEncoded(second).salt);
  assert.equal(await argon2Hasher.match("two", [first, second]), second);
  assert.equal(await argon2Hasher.match("three", [first, second]), undefined);
  assert.notEqual(await argon2Hasher.hash("one"), first);
});

Deno.test("parseEncoded() refuses what is not a hash, and parameters that would take the server's memory", () => {
  const hash = (parameters: string) =>
    `$argon2id$v=19$${parameters}$AQEBAQEBAQEBAQEBAQEBAQ$${"A".repeat(43)}`;
  assert.equal(parseEncoded(hash("m=65536,t=3,p=4")).memorySize, 65536);
  const wrong = [
    "m=9999999,t=2,p=1",
    "m=19456,t=999,p=1",
    "m=19456,t=2,p=99",
    "m=0,t=2,p=1",
    "m=19456,t=0,p=1",
  ];
  for (const parameters of wrong) assert.throws(() => parseEncoded(hash(parameters)), TypeError, parameters);
  for (const text of ["", "x", "$2b$10$abc", hash("m=19456").replace("argon2id", "argon2i")]) {
    assert.throws(() => parseEncoded(text), TypeError, text);
  }
});

Deno.test("formatAccounts() and parseAccounts() are each other's inverse", async () => {
  const accounts = [await accountWith("pencil", "for the phone"), newAccount("bob@example.com", now)];
  assert.deepEqual(parseAccounts(formatAccounts(accounts)), accounts);
});

Deno.test("parseAccountsInSlices() gives others their turn, and the same accounts", async () => {
  const text = formatAccounts(
    Array.from({ length: 3000 }, (_, n) => newAccount(`user${n}@example.com`, now)),
  );
  let turns = 0;
  const others = setInterval(() => turns++, 0);
  const accounts = await parseAccountsInSlices(text);
  clearInterval(others);
  assert.deepEqual(accounts, parseAccounts(text));
  assert.ok(turns > 0);
  await assert.rejects(
    parseAccountsInSlices(text.replace("user2999@", "User2999@")),
    /^AccountsError: accounts\.2999\.login/,
  );
});

Deno.test("parseAccounts() says where the text is wrong, without quoting a secret", async () => {
  const text = formatAccounts([await accountWith("pencil")]);
  const hash = /\$argon2id[^"]*/.exec(text)?.[0] ?? "";
  const wrong: readonly (readonly [string, RegExp])[] = [
    [text.slice(0, -10), /not valid JSON/],
    [text.replace('"version": 1', '"version": 2'), /version/],
    [text.replace("alice@", "Alice@"), /accounts\.0\.login/],
    [text.replace("$argon2id$", "$argon2d$"), /accounts\.0\.passwords\.0\.argon2id/],
    [text.replace('"iterations": 100000', '"iterations": 1'), /accounts\.0\.iterations/],
    [text.replace('"disabled"', '"enabled"'), /accounts\.0/],
    [formatAccounts([newAccount("a@b.test", now), newAccount("a@b.test", now)]), /two accounts/],
  ];
  for (const [changed, expected] of wrong) {
    assert.throws(() => parseAccounts(changed), (error) => {
      assert.ok(error instanceof AccountsError);
      assert.match(error.message, expected);
      assert.ok(!error.message.includes(hash));
      return true;
    });
  }
});

Deno.test("makePassword() makes passwords that are long, typeable and different", () => {
  const passwords = new Set(Array.from({ length: 1000 }, makePassword));
  assert.equal(passwords.size, 1000);
  for (const password of passwords) {
    assert.match(password, /^(?:[a-km-zA-HJ-NP-Z2-9]{5}-){3}[a-km-zA-HJ-NP-Z2-9]{5}$/);
  }
});

Deno.test("AccountCredentials takes each password of an account, and costs one hash whatever is wrong", async () => {
  const account = await accountWith("pencil", "for the phone");
  const disabled = { ...await accountWith("pencil"), login: "bob@example.com", disabled: true };
  const hasher = new CountingHasher();
  const find = (login: string) => Promise.resolve([account, disabled].find((one) => one.login === login));
  const credentials = new AccountCredentials({ find, hasher, clock: new FakeClock() });
  const check = async (login: string, password: string) => {
    const before = hasher.hashed;
    const { kind } = await credentials.check(login, password);
    return [kind, hasher.hashed - before];
  };
  assert.deepEqual(await check("alice@example.com", "pencil"), ["right", 1]);
  assert.deepEqual(await check("alice@example.com", "for the phone"), ["right", 1]);
  assert.deepEqual(await check("alice@example.com", "wrong"), ["wrong", 1]);
  assert.deepEqual(await check("nobody@example.com", "pencil"), ["wrong", 1]);
  assert.deepEqual(await check("bob@example.com", "pencil"), ["wrong", 1]);
});

Deno.test("AccountCredentials remembers a right password for a while, until account or password change", async () => {
  let account: Account | undefined = await accountWith("pencil", "other");
  const hasher = new CountingHasher();
  const clock = new FakeClock();
  const credentials = new AccountCredentials({ find: () => Promise.resolve(account), hasher, clock });
  const check = async () => {
    const before = hasher.hashed;
    const { kind } = await credentials.check("alice@example.com", "pencil");
    return [kind, hasher.hashed - before];
  };
  assert.deepEqual(await check(), ["right", 1]);
  assert.deepEqual(await check(), ["right", 0]);
  await clock.advance(5 * 60_000);
  assert.deepEqual(await check(), ["right", 1]);
  account = { ...account, disabled: true };
  assert.deepEqual(await check(), ["wrong", 1]);
  account = { ...account, disabled: false };
  assert.deepEqual((await check())[0], "right");
  account = { ...account, passwords: account.passwords.slice(1) };
  assert.deepEqual(await check(), ["wrong", 1]);
  account = undefined;
  assert.deepEqual(await check(), ["wrong", 1]);
});

Deno.test("AccountCredentials hints in the log at a login without a domain", async () => {
  const find = () => Promise.resolve(undefined);
  const credentials = new AccountCredentials({ find, hasher: argon2Hasher, clock: new FakeClock() });
  const why = async (login: string) => {
    const verdict = await credentials.check(login, "pencil");
    return verdict.kind === "wrong" ? verdict.why : verdict.kind;
  };
  assert.equal(await why("eve@example.com"), "unknown login");
  assert.match(await why("eve"), /^unknown login: it has no domain/);
  assert.match((await credentials.scram("eve"))?.why ?? "", /^unknown login: it has no domain/);
  assert.equal((await credentials.scram("eve@example.com"))?.why, "unknown login");
});

Deno.test("AccountCredentials says that it cannot tell while the accounts cannot be read", async () => {
  const find = () => Promise.reject(new Error("permission denied"));
  const credentials = new AccountCredentials({ find, hasher: argon2Hasher, clock: new FakeClock() });
  assert.deepEqual(await credentials.check("a", "b"), { kind: "unavailable", why: "permission denied" });
  assert.equal(await credentials.scram("a"), undefined);
});

Deno.test("AccountCredentials shows an unknown login the same salt after a restart, while the secret is the same", async () => {
  const saltOf = async (secret: Uint8Array | undefined, login: string) => {
    const find = () => Promise.resolve(undefined);
    const options = { find, secret: () => secret, hasher: argon2Hasher, clock: new FakeClock() };
    return (await new AccountCredentials(options).scram(login))?.salt;
  };
  const [one, other] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  const salt = await saltOf(one, "eve@example.com");
  assert.deepEqual(await saltOf(one, "eve@example.com"), salt);
  assert.notDeepEqual(await saltOf(one, "eva@example.com"), salt);
  assert.notDeepEqual(await saltOf(other, "eve@example.com"), salt);
  assert.notDeepEqual(await saltOf(undefined, "eve@example.com"), await saltOf(undefined, "eve@example.com"));
});

Deno.test("AccountCredentials shows a stranger the same of an unknown login as of a known one", async () => {
  const account = await accountWith("pencil");
  const find = (login: string) => Promise.resolve(login === account.login ? account : undefined);
  const credentials = new AccountCredentials({ find, hasher: argon2Hasher, clock: new FakeClock() });
  const known = await credentials.scram(account.login);
  const unknown = await credentials.scram("nobody@example.com");
  assert.deepEqual(unknown, await credentials.scram("nobody@example.com"));
  assert.equal(unknown?.salt.length, known?.salt.length);
  assert.equal(unknown?.iterations, known?.iterations);
  assert.deepEqual(unknown?.keys, []);
  assert.deepEqual(known?.keys, [await deriveScramKeys("pencil", account)]);
});
