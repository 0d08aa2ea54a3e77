// What others sign with DKIM, as our verifier sees it.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { ed25519Key, rsaKey, type TestKey, verifyDkim } from "../support/dkim.ts";
import { arrival } from "../support/peers/arrivals.ts";
import { DKIMPY, signWithDkimpy } from "../support/peers/dkimpy.ts";
import { startExim } from "../support/peers/exim.ts";
import { startServeIn } from "../support/peers/mailapp.ts";
import { signWithOpenDkim } from "../support/peers/opendkim.ts";
import { sendRaw } from "../support/peers/raw_smtp.ts";
import { EXIM, unpacked } from "../support/peers/unpacked.ts";
import { testWith } from "../support/requires.ts";

const KEYS: Readonly<Record<string, TestKey>> = {
  "rsa-sha256": rsaKey(2048),
  "ed25519-sha256": ed25519Key(),
};
const FORMS = ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"];
const RECORD = "x._domainkey.elsewhere.test";

const HEADER = "From: Joe <joe@elsewhere.test>\r\nTo: alice@example.test,\r\n\tbob@example.test\r\n" +
  "Subject:  Hello \t there \r\n again\r\nDate: Tue, 24 Nov 2026 06:00:00 +0000\r\n";

/** One character a byte. */
const MESSAGES: Readonly<Record<string, string>> = {
  plain: `${HEADER}\r\nHello \t world \r\n\r\n . x\r\n\r\n\r\n`,
  "8-bit": `${HEADER.replace("Joe", "J\xf6")}\r\n\xa0 \xe9\t\xff \r\n`,
  "with MIME":
    `${HEADER}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n`,
  large: `${HEADER}\r\n${"The quick brown  fox.\t \r\n\r\n".repeat(40_000)}`,
};

function pem({ secret }: TestKey): string {
  // OpenDKIM and dkimpy read the older form of an RSA key.
  const type = secret.asymmetricKeyType === "rsa" ? "pkcs1" : "pkcs8";
  return secret.export({ type, format: "pem" }) as string;
}

/** The seed, as dkimpy wants it. */
function seed({ secret }: TestKey): string {
  const { d = "" } = secret.export({ format: "jwk" });
  return Buffer.from(d, "base64url").toString("base64");
}

/** Holds that the message verifies, however the body is cut, and no longer does with a byte changed. */
async function assertPasses(message: Uint8Array, { record }: TestKey): Promise<void> {
  const dns = { [RECORD]: `v=DKIM1; ${record}` };
  const now = Date.now() / 1000;
  for (const chunk of [10_000_000, 4093]) {
    const results = await verifyDkim(message, { dns, chunk, now });
    assert.deepEqual(results.map(({ result, reason }) => [result, reason]), [["pass", undefined]]);
  }
  const changed = Uint8Array.from(message);
  changed[Buffer.from(changed).indexOf("\r\n\r\n") + 4] = 0x7a;
  const [result] = await verifyDkim(changed, { dns, now });
  assert.equal(result?.reason, "body hash did not verify");
}

testWith(["opendkim"], "what OpenDKIM signs verifies", async (t) => {
  for (const [algorithm, key] of Object.entries(KEYS)) {
    for (const canonicalization of FORMS) {
      // OpenDKIM 2.11 folds such a signature after it is made, so that neither it nor dkimpy verifies it.
      if (algorithm === "ed25519-sha256" && canonicalization.startsWith("simple")) continue;
      for (const [name, message] of Object.entries(MESSAGES)) {
        await t.step(`${algorithm}, ${canonicalization}, ${name}`, async () => {
          // Its test mode takes white space away at the beginning of values, which simple would sign.
          const plain = canonicalization.startsWith("simple") ? message.replace(/: {2}/, ": ") : message;
          const signed = await signWithOpenDkim(Buffer.from(plain, "latin1"), {
            domain: "elsewhere.test",
            selector: "x",
            key: pem(key),
            algorithm: algorithm as "rsa-sha256",
            canonicalization,
            settings: { OversignHeaders: "From" },
          });
          await assertPasses(signed, key);
        });
      }
    }
  }

  await t.step("but not with SHA-1", async () => {
    const signed = await signWithOpenDkim(Buffer.from(MESSAGES["plain"] ?? ""), {
      domain: "elsewhere.test",
      selector: "x",
      key: pem(KEYS["rsa-sha256"] as TestKey),
      algorithm: "rsa-sha1",
    });
    const dns = { [RECORD]: KEYS["rsa-sha256"]?.record ?? "" };
    const [result] = await verifyDkim(signed, { dns, now: Date.now() / 1000 });
    assert.equal(result?.result, "permerror");
  });
});

testWith(DKIMPY, "what dkimpy signs verifies", async (t) => {
  for (const [algorithm, key] of Object.entries(KEYS)) {
    for (const canonicalization of FORMS) {
      for (const [name, message] of Object.entries(MESSAGES)) {
        await t.step(`${algorithm}, ${canonicalization}, ${name}`, async () => {
          const signed = await signWithDkimpy(Buffer.from(message, "latin1"), {
            domain: "elsewhere.test",
            selector: "x",
            key: algorithm === "rsa-sha256" ? pem(key) : seed(key),
            algorithm: algorithm as "rsa-sha256",
            canonicalization,
            identity: "joe@elsewhere.test",
            length: name === "plain",
          });
          await assertPasses(signed, key);
        });
      }
    }
  }
});

testWith([unpacked(EXIM)], "what Exim signs verifies where it arrived", async (t) => {
  const key = KEYS["rsa-sha256"] as TestKey;
  await using server = await startServeIn();
  for (const canonicalization of ["simple", "relaxed"] as const) {
    await using exim = await startExim({
      relayTo: { host: "127.0.0.1", port: server.port },
      dkim: { domain: "elsewhere.test", selector: "x", key: pem(key), canonicalization },
    });
    for (const [name, message] of Object.entries(MESSAGES)) {
      await t.step(`${canonicalization}, ${name}`, async () => {
        const marker = `marker-${canonicalization}-${name}`;
        await sendRaw({
          port: exim.port,
          from: "joe@elsewhere.test",
          to: ["alice@example.test"],
          data: Buffer.from(`X-Marker: ${marker}\r\n${message}`, "latin1"),
          mailParameters: "BODY=8BITMIME",
        });
        const { text } = await arrival(server.maildir("alice@example.test"), marker);
        await assertPasses(Buffer.from(text.replaceAll("\n", "\r\n"), "latin1"), key);
      });
    }
  }
});
