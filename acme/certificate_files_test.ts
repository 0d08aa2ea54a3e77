import assert from "node:assert/strict";
import { join } from "@std/path";
import { CertificateFiles } from "./certificate_files.ts";

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const above = await Deno.makeTempDir({ prefix: "mailapp-acme-" });
  try {
    await run(join(above, "tls"));
  } finally {
    await Deno.remove(above, { recursive: true });
  }
}

Deno.test("CertificateFiles.save() replaces both files at once, and keeps the pair before", async () => {
  await inDirectory(async (directory) => {
    const files = new CertificateFiles(directory);
    assert.equal(await files.read(), undefined);
    for (let number = 1; number <= 4; number++) {
      await files.save({ cert: `cert ${number}`, key: `key ${number}` }, { now: number * 1000 });
      assert.deepEqual(await files.read(), { cert: `cert ${number}`, key: `key ${number}` });
    }
    const names = Array.from(Deno.readDirSync(directory), ({ name }) => name).sort();
    assert.deepEqual(names.map((name) => name.slice(0, 22)), [
      "current",
      "issue-19700101T000003Z",
      "issue-19700101T000004Z",
    ]);
    const mode = (name: string) =>
      ((Deno.statSync(join(directory, "current", name)).mode ?? 0) & 0o777).toString(8);
    assert.deepEqual([mode("key.pem"), mode("cert.pem")], ["640", "644"]);
  });
});

Deno.test("A pair whose saving broke off anywhere before the end does not count", async () => {
  await inDirectory(async (directory) => {
    const files = new CertificateFiles(directory);
    await files.save({ cert: "one", key: "one" }, { now: 0 });
    // What a crash after each step leaves: a directory, the key, the certificate, a link that was not renamed.
    const half = join(directory, "issue-19700101T000009Z-00000000");
    await Deno.mkdir(half);
    await Deno.writeTextFile(join(half, "key.pem"), "two");
    assert.deepEqual(await files.read(), { cert: "one", key: "one" });
    await Deno.writeTextFile(join(half, "cert.pem"), "two");
    await Deno.symlink("issue-19700101T000009Z-00000000", join(directory, "current.left"));
    assert.deepEqual(await files.read(), { cert: "one", key: "one" });
    await files.save({ cert: "three", key: "three" }, { now: 10_000 });
    assert.deepEqual(await files.read(), { cert: "three", key: "three" });
  });
});

Deno.test("CertificateFiles keeps the next key until it is in use", async () => {
  await inDirectory(async (directory) => {
    const files = new CertificateFiles(directory);
    assert.equal(await files.nextKey(), undefined);
    await files.saveNextKey("key");
    assert.deepEqual(await files.nextKey(), { key: "key" });
    assert.equal(await files.nextKeySeen(), undefined);
    await files.saveNextKeySeen({ since: 5, ttl: 7 });
    await files.saveNextKeySeen({ since: 5, ttl: 8 });
    assert.deepEqual(await files.nextKeySeen(), { since: 5, ttl: 8 });
    await files.saveNextKeySeen(undefined);
    assert.equal(await files.nextKeySeen(), undefined);
    await files.saveNextKeySeen({ since: 5, ttl: 8 });
    await files.dropNextKey();
    assert.equal(await files.nextKey(), undefined);
    assert.equal(await files.nextKeySeen(), undefined);
  });
});

Deno.test("The next key is not one that is in use, as a crash may leave it", async () => {
  await inDirectory(async (directory) => {
    const files = new CertificateFiles(directory);
    await files.save({ cert: "one", key: "one" }, { now: 0 });
    await files.saveNextKey("two");
    await files.save({ cert: "two", key: "two" }, { now: 1_000 });
    assert.equal(await files.nextKey(), undefined);
    await files.saveNextKey("three");
    assert.deepEqual(await files.nextKey(), { key: "three" });
  });
});
