// Chains that dkimpy has sealed, as our verifier sees them.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { rsaKey, verifyMessage } from "../support/dkim.ts";
import { DKIMPY, sealWithDkimpy } from "../support/peers/dkimpy.ts";
import { testWith } from "../support/requires.ts";

const keys = [rsaKey(2048), rsaKey(1024), rsaKey(2048)];
const SEALERS = ["lists.example.org", "forward.example.net", "mx.example.com"];
const DNS = Object.fromEntries(
  SEALERS.map((domain, index) => [`k${index}._domainkey.${domain}`, `v=DKIM1; ${keys[index]?.record}`]),
);
const MESSAGE = "Received: by x\r\nFrom: Joe <joe@example.com>\r\nTo: alice@example.net\r\n" +
  "Subject:  Hello \t there\r\n again\r\nDate: Tue, 24 Nov 2026 06:00:00 +0000\r\nMessage-ID: <a@b>\r\n\r\n" +
  "Hi,\t Alice. \r\n\r\n. \r\n\r\n";

async function seal(message: Uint8Array, index: number): Promise<Uint8Array> {
  const server = SEALERS[index] ?? "";
  const results = `Authentication-Results: ${server}; arc=${index === 0 ? "none" : "pass"}; ` +
    "spf=pass smtp.mailfrom=example.com;\r\n dkim=fail header.d=example.com\r\n";
  return await sealWithDkimpy(Buffer.concat([Buffer.from(results), message]), {
    domain: server,
    selector: `k${index}`,
    key: keys[index]?.secret.export({ type: "pkcs1", format: "pem" }) as string,
    server,
  });
}

testWith(DKIMPY, "chains sealed by dkimpy pass, and fail once anything is changed", async (t) => {
  let message: Uint8Array = Buffer.from(MESSAGE);
  for (const [index, sealer] of SEALERS.entries()) {
    message = await seal(message, index);
    await t.step(`${index + 1} sets`, async () => {
      for (const chunk of [1_000_000, 1]) {
        const { arc } = await verifyMessage(message, { dns: DNS, chunk });
        assert.deepEqual(arc, { result: "pass", sealer, sets: index + 1 });
      }
    });
    // What a list does.
    const text = Buffer.from(message).toString("latin1").replace("Subject:", `Subject: [${index}]`);
    message = Buffer.from(
      index === 2 ? text.replace("[2]", "") : `${text}-- \r\nlist ${index}\r\n`,
      "latin1",
    );
  }
  const whole = await seal(await seal(await seal(Buffer.from(MESSAGE), 0), 1), 2);
  assert.equal((await verifyMessage(whole, { dns: DNS })).arc.result, "pass");
  const text = Buffer.from(whole).toString("latin1");
  // Not the fields of Authentication-Results, which no seal covers, and not the spaces that relaxed does not see.
  const places = [
    ...text.matchAll(/^(?:ARC-[^:]+|From|To|Subject|Date|Message-ID): +(?:[^\r]|\r\n[ \t])*/gm),
  ];
  for (const { 0: field, index } of places) {
    await t.step(`${field.slice(0, 40)} changed`, async () => {
      // Not the last letter: at the end of base64 it may have unused bits.
      const at = index + field.search(/[a-z](?=[^a-z]*[a-z][^a-z]*$)/i);
      const changed = `${text.slice(0, at)}${text[at] === "x" ? "y" : "x"}${text.slice(at + 1)}`;
      assert.equal((await verifyMessage(changed, { dns: DNS })).arc.result, "fail");
    });
  }
  await t.step("the body changed", async () => {
    assert.equal((await verifyMessage(text.replace("Alice.", "Alice!"), { dns: DNS })).arc.result, "fail");
  });
});
