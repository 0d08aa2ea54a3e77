import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { join } from "@std/path";
import { silentLogger } from "../base/log.ts";
import { FakeClock } from "../tests/support/fake_clock.ts";
import { CertificateError, loadCertificate } from "./certificates.ts";
import { keepSelfSigned } from "./self_signed.ts";

const DAY = 86_400_000;

async function workspace() {
  const dataDir = await Deno.makeTempDir();
  return {
    dataDir,
    options: { dataDir, hostname: "mx.test", clock: new FakeClock(Date.now()), logger: silentLogger },
    [Symbol.asyncDispose]: () => Deno.remove(dataDir, { recursive: true }),
  };
}

Deno.test("keepSelfSigned() makes a pair that works, its key for its owner alone", async () => {
  await using work = await workspace();
  const paths = await keepSelfSigned(work.options);
  assert.deepEqual(paths, {
    cert: join(work.dataDir, "tls/selfsigned.crt"),
    key: join(work.dataDir, "tls/selfsigned.key"),
  });
  const pair = await loadCertificate({ ...work.options, ...paths });
  assert.deepEqual([pair.names, pair.warnings], [["mx.test"], []]);
  assert.equal(pair.leaf.subject, "CN=mx.test");
  assert.equal(pair.leaf.ca, false);
  assert.equal(((await Deno.stat(paths.key)).mode ?? 0) & 0o777, 0o600);
  const names = (await Array.fromAsync(Deno.readDir(join(work.dataDir, "tls")))).map(({ name }) => name)
    .sort();
  assert.deepEqual(names, ["selfsigned.crt", "selfsigned.key"]);
});

Deno.test("keepSelfSigned() keeps the pair, and makes another only when it must", async () => {
  await using work = await workspace();
  const { cert, key } = await keepSelfSigned(work.options);
  let last = await Deno.readTextFile(cert);
  const firstKey = await Deno.readTextFile(key);
  const remade = async (options: Partial<typeof work.options> = {}) => {
    await keepSelfSigned({ ...work.options, ...options });
    const now = await Deno.readTextFile(cert);
    const different = now !== last;
    last = now;
    return different;
  };
  assert.equal(await remade(), false, "another start");
  assert.equal(await remade({ hostname: "mx.example.com" }), true, "another name");
  assert.equal(await remade({ hostname: "mx.example.com" }), false);
  assert.equal(await remade(), true);
  assert.equal(await remade({ clock: new FakeClock(Date.now() + 4 * 365 * DAY) }), false, "years later");
  assert.equal(
    await remade({ clock: new FakeClock(Date.now() + 5 * 365 * DAY - 10 * DAY) }),
    true,
    "its last month",
  );
  assert.equal(await remade(), true, "dated in the future");
  await Deno.writeTextFile(cert, "cut short");
  assert.equal(await remade(), true, "a damaged certificate");
  await Deno.remove(cert);
  assert.equal(await remade({ clock: new FakeClock(DAY) }), true, "half a pair, and no time yet");
  assert.equal(await remade(), true, "ended meanwhile");
  // Through all of this others could go by the key.
  assert.equal(await Deno.readTextFile(key), firstKey);
  assert.deepEqual((await loadCertificate({ ...work.options, cert, key })).warnings, []);
  await Deno.writeTextFile(key, "cut short");
  assert.equal(await remade(), true, "a damaged key");
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  await Deno.writeTextFile(key, String(privateKey.export({ type: "pkcs8", format: "pem" })));
  assert.equal(await remade(), true, "a key of another kind");
  assert.deepEqual((await loadCertificate({ ...work.options, cert, key })).warnings, []);
  await Deno.remove(key);
  assert.equal(await remade(), true, "half a pair");
  assert.equal(await remade(), false);
});

Deno.test("keepSelfSigned() takes a host name that is too long for a common name", async () => {
  await using work = await workspace();
  const hostname = `${"a".repeat(63)}.${"b".repeat(63)}.test`;
  const paths = await keepSelfSigned({ ...work.options, hostname });
  assert.deepEqual((await loadCertificate({ ...work.options, ...paths, hostname })).warnings, []);
});

Deno.test("keepSelfSigned() says where it could not write", async () => {
  await using work = await workspace();
  await Deno.writeTextFile(join(work.dataDir, "tls"), "in the way");
  await assert.rejects(
    keepSelfSigned(work.options),
    (error) => error instanceof CertificateError && error.message.startsWith(join(work.dataDir, "tls")),
  );
});
