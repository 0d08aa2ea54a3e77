import assert from "node:assert/strict";
import { statfs } from "node:fs/promises";
import type { AskRights, PathRights } from "../../storage/path_access.ts";
import { testWith } from "../../tests/support/requires.ts";
import type { Finding } from "../finding.ts";
import { checkStorage, type StoragePlace, type StorageTester } from "./storage.ts";

// Only root gives files away.
const AS_ROOT = Deno.uid() === 0 ? [] : ["root"];

const ids = (findings: readonly Finding[]) => findings.map(({ id, outcome }) => `${id} ${outcome}`);

/** An account for which the paths have these rights, in letters; all others are not there. */
function tester(tree: Readonly<Record<string, string>>, changes: Partial<StorageTester> = {}): StorageTester {
  const ask: AskRights = (paths) =>
    Promise.resolve(paths.map((path): PathRights => {
      const may = (letter: string) => tree[path]?.includes(letter) ?? false;
      return {
        exists: tree[path] !== undefined,
        directory: !may("f"),
        read: may("r"),
        write: may("w"),
        search: may("x"),
      };
    }));
  const account = { name: "mailapp", uid: 999, gid: 998 };
  return { who: "the account mailapp", certain: true, account, ask, ...changes };
}

const data: StoragePlace = {
  name: "data_dir",
  path: "/v/data",
  minFreeSpace: 0,
  expected: true,
  mode: 0o750,
};
const maildir = (domain: string): StoragePlace => ({
  name: "the directory of Maildirs",
  path: `/v/mail/${domain}`,
  minFreeSpace: 0,
  mode: 0o2770,
});
const ROOT = { "/": "rx", "/v": "rx", "/v/mail": "rx" };

Deno.test("checkStorage() finds nothing where everything may be written and read", async () => {
  const found = await checkStorage({
    places: [data, maildir("a.test")],
    files: [{ name: "[tls] key", path: "/v/key" }],
    tester: tester({ ...ROOT, "/v/data": "rwx", "/v/mail/a.test": "rwx", "/v/key": "r" }),
  });
  assert.deepEqual(ids(found), ["storage ok"]);
});

Deno.test("checkStorage() looks at the room of a mailbox that has a file system of its own", async () => {
  const mailbox = { name: "the Maildir of a@d.test", path: "/dev/shm", mode: 0o2770, single: true } as const;
  const check = async (minFreeSpace: number, apartFrom = "/") =>
    await checkStorage({
      places: [data, { ...mailbox, minFreeSpace, apartFrom }],
      files: [],
      tester: tester({ ...ROOT, "/v/data": "rwx", "/dev": "rx", "/dev/shm": "rwx" }),
    });
  const [full] = await check(Number.MAX_SAFE_INTEGER);
  assert.equal(full?.id, "storage.full");
  assert.match(
    full?.what ?? "",
    /the Maildir of a@d\.test is, on a file system of its own: mail for it is deferred$/,
  );
  const { bavail, bsize } = await statfs("/dev/shm");
  assert.deepEqual(ids(await check(bavail * bsize / 5)), ["storage.filling warning"]);
  assert.deepEqual(ids(await check(1)), ["storage ok"]);
  assert.deepEqual(ids(await check(Number.MAX_SAFE_INTEGER, "/dev/shm")), ["storage ok"]);
});

Deno.test("checkStorage() looks at the room of what is mounted in the data directory", async () => {
  const spool = { name: "the spool", path: "/dev/shm", minFreeSpace: Number.MAX_SAFE_INTEGER, mode: 0o700 };
  const check = async (apartFrom: string) =>
    ids(
      await checkStorage({
        places: [data, { ...spool, apartFrom }],
        files: [],
        tester: tester({ ...ROOT, "/v/data": "rwx", "/dev": "rx", "/dev/shm": "rwx" }),
      }),
    );
  assert.deepEqual(await check("/"), ["storage.full failure"]);
  assert.deepEqual(await check("/dev/shm"), ["storage ok"]);
  assert.deepEqual(await check("/nonexistent"), ["storage ok"]);
});

Deno.test("checkStorage() takes no missing directory for a writable one", async () => {
  const tree = { ...ROOT, "/v/mail/a.test": "rwx" };
  const [missing, domain, ...more] = await checkStorage({
    places: [data, maildir("a.test"), maildir("third.example")],
    files: [],
    tester: tester(tree),
  });
  assert.deepEqual([missing?.id, missing?.outcome, missing?.subject], [
    "storage.missing",
    "failure",
    "/v/data",
  ]);
  assert.match(missing?.next ?? "", /install -d -o mailapp -g mailapp -m 750 \/v\/data/);
  assert.deepEqual([domain?.id, domain?.subject], ["storage.missing", "/v/mail/third.example"]);
  assert.match(domain?.what ?? "", /the account mailapp cannot make it in \/v\/mail/);
  assert.deepEqual(more, []);
  // Where it can be made, a data directory that is not there looks mistyped, and a domain's looks new.
  const open = tester({ ...tree, "/v": "rwx", "/v/mail": "rwx" });
  const found = await checkStorage({ places: [data, maildir("third.example")], files: [], tester: open });
  assert.deepEqual(ids(found), ["storage.missing warning"]);
});

Deno.test("checkStorage() tells what may not be written, entered or read, each cause once", async () => {
  const tree = {
    ...ROOT,
    "/v/data": "rx",
    "/v/mail": "rx",
    "/v/mail/a.test": "r",
    "/v/closed": "r",
    "/v/key": "",
  };
  const alice = { ...maildir("a.test/alice"), path: "/v/mail/a.test/alice" };
  const bob = { ...maildir("a.test/bob"), path: "/v/mail/a.test/bob/new" };
  const files = [{ name: "[tls] key", path: "/v/key" }, { name: "[dkim]", path: "/v/closed/key" }, {
    name: "gone",
    path: "/v/gone",
  }];
  const found = await checkStorage({ places: [data, alice, bob], files, tester: tester(tree) });
  assert.deepEqual(found.map(({ id, subject }) => `${id} ${subject}`), [
    "storage.unwritable /v/data",
    "storage.closed /v/mail/a.test",
    "storage.unreadable /v/key",
    "storage.closed /v/closed",
  ]);
  assert.ok(found.every(({ outcome, next }) => outcome === "failure" && next !== undefined));
});

Deno.test("checkStorage() is sure of nothing where another account tries", async () => {
  const found = await checkStorage({ places: [data], files: [], tester: tester(ROOT, { certain: false }) });
  assert.deepEqual(ids(found), ["storage.missing untested"]);
});

Deno.test("checkStorage() wants room, also where a directory is yet to be made", async () => {
  const path = await Deno.makeTempDir();
  const rights = Object.fromEntries(
    path.split("/").map((_, i, all) => [all.slice(0, i + 1).join("/") || "/", "rwx"]),
  );
  try {
    for (const place of [path, `${path}/not/yet`]) {
      const check = (minFreeSpace: number) =>
        checkStorage({
          places: [{ ...maildir(""), path: place, minFreeSpace }],
          files: [],
          tester: tester(rights),
        });
      assert.deepEqual(ids(await check(1)), ["storage ok"], place);
      assert.deepEqual(ids(await check(2 ** 60)), ["storage.full failure"], place);
    }
  } finally {
    await Deno.remove(path);
  }
});

testWith(AS_ROOT, "checkStorage() names what a restored queue has of another account", async () => {
  const spool = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${spool}/message`, "");
    await Deno.chown(spool, 999, 998);
    const tree = tester({ ...ROOT, "/v/data": "rwx" });
    const check = { places: [data], files: [], kept: [spool, "/v/data/none"], tester: tree };
    const [found, ...more] = await checkStorage(check);
    assert.deepEqual(more, []);
    assert.deepEqual([found?.id, found?.outcome, found?.subject], ["storage.foreign", "failure", spool]);
    assert.match(found?.what ?? "", /\/message belongs to another account \(0\)/);
    assert.equal(found?.next, `chown -R mailapp:mailapp ${spool}, and restart the servers.`);
    assert.deepEqual(ids(await checkStorage({ ...check, tester: { ...tree, certain: false } })), [
      "storage ok",
    ]);
    await Deno.chown(`${spool}/message`, 999, 998);
    assert.deepEqual(ids(await checkStorage(check)), ["storage ok"]);
  } finally {
    await Deno.remove(spool, { recursive: true });
  }
});
