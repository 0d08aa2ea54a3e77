import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { join } from "@std/path";
import { DkimKeyError, loadDkimKey, makeDkimKey, parseDkimKey, splitText } from "./keys.ts";

const where = { domain: "example.com", selector: "s" };

Deno.test("makeDkimKey() makes keys that parseDkimKey() takes", async () => {
  const rsa = await parseDkimKey(await makeDkimKey("rsa-sha256"), where);
  assert.equal(rsa.algorithm, "rsa-sha256");
  assert.equal(rsa.recordName, "s._domainkey.example.com");
  assert.match(rsa.record, /^v=DKIM1; k=rsa; p=MII[A-Za-z0-9+/]{387,389}={0,2}$/);
  assert.equal((await rsa.sign(new Uint8Array([1]))).length, 256);
  const ed = await parseDkimKey(await makeDkimKey("ed25519-sha256"), where);
  assert.equal(ed.algorithm, "ed25519-sha256");
  assert.match(ed.record, /^v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=$/);
  assert.equal((await ed.sign(new Uint8Array([1]))).length, 64);
});

Deno.test("parseDkimKey() takes PKCS #1, as opendkim-genkey writes it", async () => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pem = privateKey.export({ type: "pkcs1", format: "pem" }).toString();
  assert.match(pem, /BEGIN RSA PRIVATE KEY/);
  const other = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  assert.equal((await parseDkimKey(pem, where)).record, (await parseDkimKey(other, where)).record);
});

Deno.test("parseDkimKey() takes a key as editors leave it: white space around lines, a byte order mark", async () => {
  const pem = await makeDkimKey("ed25519-sha256");
  const { record } = await parseDkimKey(pem, where);
  for (
    const text of [
      `\ufeff${pem.replaceAll("\n", " \t\r\n ")}`,
      `\n\n${pem}\n\n`,
      pem.replaceAll("\n", "\r"),
    ]
  ) assert.equal((await parseDkimKey(text, where)).record, record);
});

Deno.test("parseDkimKey() says what is wrong, and what to do", async () => {
  const pkcs8 = { type: "pkcs8", format: "pem" } as const;
  const short = generateKeyPairSync("rsa", { modulusLength: 1024 });
  const elliptic = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export(pkcs8).toString();
  const publicKey = short.publicKey.export({ type: "spki", format: "pem" }).toString();
  const cases: readonly (readonly [string, RegExp])[] = [
    [short.privateKey.export(pkcs8).toString(), /has 1024 bits.*2048.*mailapp dkim new/],
    [elliptic, /is an ec key.*mailapp dkim new/],
    [publicKey, /is a public key/],
    ["-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=\n-----END ENCRYPTED PRIVATE KEY-----\n", /is encrypted/],
    ["-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----\n", /not a private key.*mailapp dkim new/],
    ["", /not a private key/],
  ];
  for (const [pem, message] of cases) {
    await assert.rejects(parseDkimKey(pem, where), (error) => {
      assert.ok(error instanceof DkimKeyError);
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("loadDkimKey() reads a file", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const keyFile = join(directory, "key.pem");
    const load = () => loadDkimKey({ ...where, keyFile });
    await assert.rejects(load(), { name: "DkimKeyError", message: /cannot be read: / });
    await Deno.writeTextFile(keyFile, await makeDkimKey("ed25519-sha256"), { mode: 0o600 });
    assert.equal((await load()).recordName, "s._domainkey.example.com");
    await Deno.truncate(keyFile, 1_000_000);
    await assert.rejects(load(), { message: /1000000 octets/ });
    await assert.rejects(loadDkimKey({ ...where, keyFile: directory }), { message: /not a file/ });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("loadDkimKey() says that a server must be restarted to see more", {
  permissions: { read: false },
}, async () => {
  await assert.rejects(loadDkimKey({ ...where, keyFile: "/etc/hostname" }), {
    name: "DkimKeyError",
    message: /outside the permissions of the running server: restart it/,
  });
});

Deno.test("splitText() cuts into strings of at most 255 octets", () => {
  assert.deepEqual(splitText(""), []);
  assert.deepEqual(splitText("x".repeat(255)), ["x".repeat(255)]);
  const strings = splitText("v=DKIM1; " + "y".repeat(401));
  assert.deepEqual(strings.map(({ length }) => length), [255, 155]);
  assert.equal(strings.join(""), "v=DKIM1; " + "y".repeat(401));
});
