import assert from "node:assert/strict";
import { join } from "@std/path";
import type { LogFields } from "../base/log.ts";
import { silentLogger } from "../base/log.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { type Account, formatAccounts } from "./account.ts";
import { AccountFile, readAccounts, spellLogin } from "./account_file.ts";
import { AccountsLockedError, changeAccounts } from "./account_store.ts";
import { newAccount } from "./new_password.ts";
import { testAccount } from "../tests/support/submission.ts";

const now = new Date("2026-11-30T00:00:00Z");
const text = (...logins: string[]) => formatAccounts(logins.map((login) => newAccount(login, now)));
const FRESH = { fresh: { mode: 0o600 } };

/** A directory with a file of accounts. */
class Place implements AsyncDisposable {
  readonly directory = Deno.makeTempDirSync();
  readonly path = join(this.directory, "accounts.json");
  readonly clock = new FakeClock();
  readonly events: (LogFields & { readonly event: string })[] = [];
  readonly #note = (event: string, fields: LogFields = {}) => void this.events.push({ ...fields, event });
  readonly logger = { ...silentLogger, info: this.#note, warn: this.#note, error: this.#note };

  write(content: string): void {
    Deno.writeTextFileSync(`${this.path}.other`, content, { mode: 0o600 });
    Deno.renameSync(`${this.path}.other`, this.path);
  }

  open(): Promise<AccountFile> {
    return AccountFile.open(this.path, this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }
}

Deno.test("AccountFile takes a new file over within a second, without a restart", async () => {
  await using place = new Place();
  const file = await place.open();
  const has = async (login: string) => await file.find(login) !== undefined;
  assert.equal(await has("alice@example.com"), false, "there is no file yet");
  place.write(text("alice@example.com"));
  await place.clock.advance(1000);
  assert.equal(await has("alice@example.com"), true);
  place.write(text("bob@example.com"));
  await place.clock.advance(1000);
  assert.deepEqual([await has("alice@example.com"), await has("bob@example.com")], [false, true]);
});

Deno.test("AccountFile has a secret of the oldest account that has a password, which other accounts do not change", async () => {
  await using place = new Place();
  const accounts = await Promise.all(
    ["2026-03-01", "2026-01-01", "2026-02-01"].map(async (day, index) => {
      const { passwords, ...account } = await testAccount(`user${index}@example.com`);
      return { ...account, created: new Date(day).toISOString(), passwords: index === 1 ? [] : passwords };
    }),
  );
  const [young, empty, old] = accounts;
  assert(young !== undefined && empty !== undefined && old !== undefined);
  const secretOf = async (...those: Account[]) => {
    place.write(formatAccounts(those));
    return (await place.open()).secret;
  };
  assert.deepEqual(await secretOf(young, empty, old), old.passwords[0]?.scram.serverKey);
  assert.deepEqual(await secretOf(old), old.passwords[0]?.scram.serverKey);
  assert.equal(await secretOf(empty), undefined);
});

Deno.test("AccountFile keeps the last good accounts while the file is damaged, missing or no file, and says so once", async () => {
  await using place = new Place();
  place.write(text("alice@example.com"));
  const file = await place.open();
  const damage: (() => void)[] = [
    () => place.write("{"),
    () => place.write(text("alice@example.com").slice(0, -30)),
    () => place.write(text("alice@example.com").replace('"version": 1', '"version": 9')),
    () => Deno.removeSync(place.path),
    () => Deno.mkdirSync(place.path),
  ];
  for (const [n, break_] of damage.entries()) {
    break_();
    for (let looks = 0; looks < 3; looks++) {
      await place.clock.advance(1000);
      assert.ok(await file.find("alice@example.com"), `${n}`);
    }
    assert.equal(place.events.filter(({ event }) => event === "accounts.kept").length, n + 1);
  }
  Deno.removeSync(place.path);
  place.write(text("bob@example.com"));
  await place.clock.advance(1000);
  assert.equal(await file.find("alice@example.com"), undefined);
  assert.ok(await file.find("bob@example.com"));
});

Deno.test("AccountFile does not begin with a damaged file, and says where every account can read it", async () => {
  await using place = new Place();
  place.write("[]");
  await assert.rejects(place.open(), { name: "AccountsError" });
  place.write(text("alice@example.com"));
  await Deno.chmod(place.path, 0o644);
  await place.open();
  assert.equal(place.events.at(-1)?.event, "accounts.exposed");
});

Deno.test("AccountFile finds a login in any spelling of its domain", async () => {
  await using place = new Place();
  place.write(text("alice@xn--bcher-kva.example"));
  const file = await place.open();
  for (const login of ["alice@bücher.example", "alice@xn--bcher-kva.example."]) {
    assert.equal((await file.find(login))?.login, "alice@xn--bcher-kva.example", login);
  }
  assert.equal(spellLogin("alice"), "alice");
  assert.equal(await file.find("alice"), undefined);
});

Deno.test("changeAccounts() makes the file, keeps its rights, and leaves nothing behind when it fails", async () => {
  await using place = new Place();
  const add = (login: string) =>
    changeAccounts(
      place.path,
      (accounts) => ({ accounts: [...accounts, newAccount(login, now)], result: login }),
      FRESH,
    );
  assert.equal(await add("alice@example.com"), "alice@example.com");
  const modeOf = async () => ((await Deno.stat(place.path)).mode ?? 0) & 0o777;
  assert.equal(await modeOf(), 0o600);
  await Deno.chmod(place.path, 0o644);
  await add("bob@example.com");
  assert.equal(await modeOf(), 0o640, "never for everybody");
  await assert.rejects(
    changeAccounts(place.path, () => {
      throw new Error("no");
    }, FRESH),
    /no/,
  );
  assert.deepEqual((await readAccounts(place.path)).map(({ login }) => login), [
    "alice@example.com",
    "bob@example.com",
  ]);
  assert.deepEqual(Array.from(Deno.readDirSync(place.directory), ({ name }) => name), ["accounts.json"]);
});

Deno.test("changeAccounts() loses no change of many at once, and waits for others no longer than it may", async () => {
  await using place = new Place();
  const logins = Array.from({ length: 10 }, (_, n) => `user${n}@example.com`);
  await Promise.all(logins.map((login) =>
    changeAccounts(place.path, async (accounts) => {
      await Promise.resolve();
      return { accounts: [...accounts, newAccount(login, now)], result: undefined };
    }, FRESH)
  ));
  assert.deepEqual((await readAccounts(place.path)).map(({ login }) => login).sort(), logins);
  await changeAccounts(place.path, async () => {
    const late = changeAccounts(place.path, () => ({ result: undefined }), { ...FRESH, timeout: 0 });
    await assert.rejects(late, AccountsLockedError);
    return { result: undefined };
  }, FRESH);
});

Deno.test("changeAccounts() never follows a link in the place of the file or of the one that it writes", async () => {
  await using place = new Place();
  const other = join(place.directory, "other");
  const before = text("eve@example.com");
  await Deno.writeTextFile(other, before);
  await Deno.symlink(other, place.path);
  await Deno.symlink(other, `${place.path}.new`);
  await changeAccounts(
    place.path,
    () => ({ accounts: [newAccount("a@example.com", now)], result: undefined }),
    FRESH,
  );
  assert.equal(await Deno.readTextFile(other), before);
  assert.equal((await Deno.lstat(place.path)).isSymlink, false);
});
