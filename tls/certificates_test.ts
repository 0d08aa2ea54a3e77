import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { join } from "@std/path";
import type { LogFields, Logger, LogLevel } from "../base/log.ts";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { CertificateError, Certificates, loadCertificate, POLL_INTERVAL } from "./certificates.ts";
import { createTestAuthority, type Leaf } from "../tests/support/test_authority.ts";
import { until } from "../tests/support/until.ts";

const DAY = 86_400_000;
const authority = await createTestAuthority();
const good = await authority.issue({ names: ["mx.test", "192.0.2.1"] });
const renewed = await authority.issue({ names: ["mx.test"] });

type Entry = { level: LogLevel; event: string; fields: LogFields };

function recorder() {
  const entries: Entry[] = [];
  const write = (level: LogLevel) => (event: string, fields: LogFields = {}) => {
    entries.push({ level, event, fields });
  };
  const logger: Logger = {
    enabled: () => true,
    error: write("error"),
    warn: write("warn"),
    info: write("info"),
    debug: write("debug"),
    trace: write("trace"),
    with: () => logger,
  };
  return { logger, entries, take: () => entries.splice(0) };
}

/** A directory with such a pair, and how to load it. */
async function workspace({ cert, key }: Leaf = good) {
  const directory = await Deno.makeTempDir();
  const paths = { cert: join(directory, "fullchain.pem"), key: join(directory, "privkey.pem") };
  await Deno.writeTextFile(paths.cert, cert);
  await Deno.writeTextFile(paths.key, key);
  const clock = new FakeClock(Date.now());
  const { logger, entries, take } = recorder();
  return {
    ...paths,
    directory,
    clock,
    entries,
    take,
    options: { ...paths, hostname: "mx.test", clock, logger },
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

/** Lets time pass, and the looks at the files that it causes come to their end. */
async function pass(clock: FakeClock, ms: number): Promise<void> {
  await clock.advance(ms);
  await until(() => clock.pending > 0, "the next look", settle);
}

async function refusal(leaf: Leaf): Promise<string> {
  await using work = await workspace(leaf);
  try {
    await loadCertificate(work.options);
  } catch (error) {
    assert.ok(error instanceof CertificateError, String(error));
    return error.message.replaceAll(work.directory + "/", "");
  }
  throw new Error("the pair was taken");
}

Deno.test("loadCertificate() takes a chain with its key, of any usual kind and form", async () => {
  await using work = await workspace();
  const pair = await loadCertificate(work.options);
  assert.deepEqual(pair.names, ["mx.test", "192.0.2.1"]);
  assert.deepEqual(pair.warnings, []);
  // As some tools write them: text before the blocks, Windows line ends.
  await Deno.writeTextFile(work.cert, ("subject=CN = mx.test\n" + good.cert).replaceAll("\n", "\r\n"));
  await Deno.writeTextFile(work.key, "Bag Attributes\n" + good.key);
  assert.deepEqual((await loadCertificate(work.options)).names, ["mx.test", "192.0.2.1"]);
  // As editors and web forms leave them.
  for (const [blank, mark] of [[" ", ""], ["\t \r", "\ufeff"], ["\u00a0", "\ufeff"]] as const) {
    await Deno.writeTextFile(work.cert, mark + good.cert.replaceAll("\n", `${blank}\n`));
    await Deno.writeTextFile(work.key, mark + good.key.replaceAll("\n", `${blank}\n  `));
    assert.deepEqual((await loadCertificate(work.options)).names, ["mx.test", "192.0.2.1"]);
  }
});

Deno.test("loadCertificate() says what is wrong with a pair and what to do", async () => {
  const other = await authority.issue({ names: ["mx.test"] });
  const { cert, key } = good;
  const [own = "", intermediate = ""] = cert.match(/-----BEGIN[^]+?-----END CERTIFICATE-----\n/g) ?? [];
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const encrypted = rsa.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" })
    .toString();
  const cases: [string, Leaf, RegExp][] = [
    [
      "another key",
      { cert, key: other.key },
      /^privkey\.pem: does not belong to the certificate in fullchain\.pem/,
    ],
    ["another kind of key", {
      cert,
      key: rsa.export({ type: "pkcs8", format: "pem" }).toString(),
    }, /^privkey\.pem: does not belong/],
    ["wrong order", { cert: intermediate + own, key }, /^fullchain\.pem: .*not the first/],
    ["swapped", { cert: key, key: cert }, /^fullchain\.pem: a key, not a certificate.*swapped/],
    ["twice the certificate", { cert, key: cert }, /^privkey\.pem: a certificate, not a key.*swapped/],
    ["empty", { cert: "", key }, /^fullchain\.pem: no certificate in PEM form/],
    ["empty key", { cert, key: "" }, /^privkey\.pem: no private key in PEM form/],
    ["garbage", { cert: "\0\x01garbage", key }, /^fullchain\.pem: no certificate in PEM form/],
    ["cut short", { cert: cert.slice(0, 300), key }, /^fullchain\.pem: no certificate/],
    [
      "damaged",
      { cert: own.replace(/\n.{20}/, "\nAAAAAAAAAAAAAAAAAAAA"), key },
      /^fullchain\.pem: certificate 1 of 1 is damaged/,
    ],
    ["damaged second", {
      cert: own + intermediate.replace(/\n.{20}/, "\nAAAAAAAAAAAAAAAAAAAA"),
      key,
    }, /^fullchain\.pem: certificate 2 of 2 is damaged/],
    [
      "damaged key",
      { cert, key: key.replace(/\n.{20}/, "\nAAAAAAAAAAAAAAAAAAAA") },
      /^privkey\.pem: the key is damaged/,
    ],
    ["encrypted key", { cert, key: encrypted }, /^privkey\.pem: the key is encrypted.*openssl pkey/],
  ];
  for (const [name, leaf, message] of cases) assert.match(await refusal(leaf), message, name);
});

Deno.test("loadCertificate() names a file that is missing, unreadable in kind, or too big", async () => {
  await using work = await workspace();
  await assert.rejects(
    loadCertificate({ ...work.options, cert: work.cert + "x" }),
    /fullchain\.pemx: no such file/,
  );
  await assert.rejects(loadCertificate({ ...work.options, key: work.directory }), /a directory/);
  await Deno.writeFile(work.key, new Uint8Array((1 << 20) + 1));
  await assert.rejects(loadCertificate(work.options), /privkey\.pem: over 1 MiB/);
});

Deno.test("loadCertificate() refuses a key that no client can use", async () => {
  // secp256k1 is a curve that TLS has no signature scheme for (RFC 8446 §4.2.3); node:tls takes it without a word.
  const cert = await Deno.readTextFile(new URL("testdata/secp256k1.crt", import.meta.url));
  const key = await Deno.readTextFile(new URL("testdata/secp256k1.key", import.meta.url));
  assert.match(await refusal({ cert, key }), /^privkey\.pem: no client could use this key/);
});

Deno.test("loadCertificate() warns of dates, names and a missing chain, and takes the pair all the same", async () => {
  const now = Date.now();
  const [own = ""] = good.cert.match(/-----BEGIN[^]+?-----END CERTIFICATE-----\n/) ?? [];
  const cases: [string, Leaf, RegExp][] = [
    [
      "expired",
      await authority.issue({
        names: ["mx.test"],
        notBefore: new Date(now - 9 * DAY),
        notAfter: new Date(now - DAY),
      }),
      /expired on 20/,
    ],
    [
      "overdue",
      await authority.issue({
        names: ["mx.test"],
        notBefore: new Date(now - 80 * DAY),
        notAfter: new Date(now + DAY),
      }),
      /has not been renewed/,
    ],
    [
      "too early",
      await authority.issue({ names: ["mx.test"], notBefore: new Date(now + DAY / 2) }),
      /not valid before .* clock/,
    ],
    [
      "another name",
      await authority.issue({ names: ["www.test", "*.mx.test"] }),
      /not for mx\.test, but for www\.test, \*\.mx\.test/,
    ],
    ["no chain", { cert: own, key: good.key }, /fullchain\.pem$/],
  ];
  for (const [name, leaf, warning] of cases) {
    await using work = await workspace(leaf);
    const pair = await loadCertificate(work.options);
    assert.equal(pair.warnings.length, 1, name);
    assert.match(pair.warnings[0] ?? "", warning, name);
    using _certificates = await Certificates.load(work.options);
    assert.deepEqual(work.entries.map(({ level, event }) => `${level} ${event}`), [
      "info tls.certificate.loaded",
      "warn tls.certificate.warning",
    ]);
  }
  await using work = await workspace();
  assert.deepEqual((await loadCertificate({ ...work.options, hostname: "192.0.2.1" })).warnings, []);
  assert.equal((await loadCertificate({ ...work.options, hostname: "192.0.2.2" })).warnings.length, 1);
});

Deno.test("Certificates takes a pair that was renewed in place", async () => {
  await using work = await workspace();
  using certificates = await Certificates.load(work.options);
  const before = certificates.secureContext;
  work.take();
  await pass(work.clock, POLL_INTERVAL);
  assert.equal(certificates.secureContext, before, "nothing changed");
  await Deno.writeTextFile(work.cert, renewed.cert);
  await Deno.writeTextFile(work.key, renewed.key);
  await pass(work.clock, POLL_INTERVAL);
  assert.notEqual(certificates.secureContext, before);
  assert.deepEqual(certificates.pair.names, ["mx.test"]);
  assert.deepEqual(work.entries.map(({ event }) => event), ["tls.certificate.loaded"]);
});

Deno.test("Certificates notices a symbolic link that leads elsewhere, as certbot swaps it", async () => {
  await using work = await workspace();
  const archive = join(work.directory, "archive");
  await Deno.mkdir(archive);
  for (const [number, pair] of [[1, good], [2, renewed]] as const) {
    await Deno.writeTextFile(join(archive, `fullchain${number}.pem`), pair.cert);
    await Deno.writeTextFile(join(archive, `privkey${number}.pem`), pair.key);
  }
  const link = async (number: number) => {
    for (const name of ["fullchain", "privkey"]) {
      await Deno.symlink(`archive/${name}${number}.pem`, join(work.directory, "new.pem"));
      await Deno.rename(join(work.directory, "new.pem"), join(work.directory, `${name}.pem`));
    }
  };
  await link(1);
  using certificates = await Certificates.load(work.options);
  await link(2);
  await pass(work.clock, POLL_INTERVAL);
  assert.deepEqual(certificates.pair.names, ["mx.test"]);
  // As Kubernetes does it: the directory itself is the link.
  const directory = join(work.directory, "data");
  await Deno.mkdir(join(work.directory, "a"));
  await Deno.mkdir(join(work.directory, "b"));
  for (const [name, pair] of [["a", good], ["b", renewed]] as const) {
    await Deno.writeTextFile(join(work.directory, name, "tls.crt"), pair.cert);
    await Deno.writeTextFile(join(work.directory, name, "tls.key"), pair.key);
  }
  await Deno.symlink("a", directory);
  const clock = new FakeClock(Date.now());
  const mounted = {
    ...work.options,
    clock,
    cert: join(directory, "tls.crt"),
    key: join(directory, "tls.key"),
  };
  using others = await Certificates.load(mounted);
  await Deno.symlink("b", directory + ".new");
  await Deno.rename(directory + ".new", directory);
  await pass(clock, POLL_INTERVAL);
  assert.deepEqual(others.pair.names, ["mx.test"]);
});

Deno.test("Certificates waits for the second file of a renewal before it complains", async () => {
  await using work = await workspace();
  using certificates = await Certificates.load(work.options);
  work.take();
  await Deno.writeTextFile(work.cert, renewed.cert);
  await pass(work.clock, POLL_INTERVAL);
  assert.deepEqual(work.entries, []);
  await Deno.writeTextFile(work.key, renewed.key);
  await pass(work.clock, 2_000);
  assert.deepEqual(work.entries.map(({ event }) => event), ["tls.certificate.loaded"]);
  assert.deepEqual(certificates.pair.names, ["mx.test"]);
});

Deno.test("Certificates keeps the old pair when the new one is bad, and says so once", async () => {
  await using work = await workspace();
  using certificates = await Certificates.load(work.options);
  const before = certificates.secureContext;
  work.take();
  await Deno.writeTextFile(work.key, renewed.key);
  await pass(work.clock, POLL_INTERVAL);
  await pass(work.clock, 2_000);
  for (let i = 0; i < 3; i++) await pass(work.clock, POLL_INTERVAL);
  const [failure, ...more] = work.take();
  assert.deepEqual([failure?.level, failure?.event], ["error", "tls.certificate.failed"]);
  assert.match(String(failure?.fields.error), /privkey\.pem: does not belong/);
  assert.deepEqual(more, []);
  assert.equal(certificates.secureContext, before);
  await Deno.remove(work.cert);
  await pass(work.clock, POLL_INTERVAL);
  await pass(work.clock, 2_000);
  assert.match(String(work.take()[0]?.fields.error), /no such file/);
  assert.equal(certificates.secureContext, before);
  await Deno.writeTextFile(work.cert, renewed.cert);
  await pass(work.clock, POLL_INTERVAL);
  assert.deepEqual(work.entries.map(({ event }) => event), ["tls.certificate.loaded"]);
  assert.notEqual(certificates.secureContext, before);
});

Deno.test("reload() takes the files at once, or logs why not", async () => {
  await using work = await workspace();
  using certificates = await Certificates.load(work.options);
  work.take();
  await Deno.writeTextFile(work.cert, renewed.cert);
  assert.equal(await certificates.reload(), false);
  assert.equal(work.take()[0]?.event, "tls.certificate.failed");
  await pass(work.clock, POLL_INTERVAL);
  assert.deepEqual(work.take(), [], "already told");
  await Deno.writeTextFile(work.key, renewed.key);
  assert.deepEqual(await Promise.all([certificates.reload(), certificates.reload()]), [true, true]);
  assert.deepEqual(work.entries.map(({ event }) => event), ["tls.certificate.loaded"]);
});

Deno.test("Certificates repeats its warnings daily, and finds new ones as time goes on", async () => {
  await using work = await workspace();
  using certificates = await Certificates.load(work.options);
  work.take();
  // The pair is for a day.
  work.clock.jump(2 * DAY);
  await pass(work.clock, POLL_INTERVAL);
  assert.deepEqual(work.take(), []);
  await pass(work.clock, DAY);
  await until(() => work.entries.length > 0, "a warning", () => pass(work.clock, POLL_INTERVAL));
  assert.match(String(work.entries[0]?.fields.warning), /expired on/);
  assert.ok(certificates.secureContext);
});

Deno.test("dispose stops the watch", async () => {
  await using work = await workspace();
  const certificates = await Certificates.load(work.options);
  assert.equal(work.clock.pending, 1);
  certificates[Symbol.dispose]();
  assert.equal(work.clock.pending, 0);
});
