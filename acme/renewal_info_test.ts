import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { createTestAuthority } from "../tests/support/test_authority.ts";
import { certificateId, renewalWindow } from "./renewal_info.ts";

const DAY = 86_400_000;
const leaf = { validFromDate: new Date(0), validToDate: new Date(90 * DAY) };
const own = { from: 60 * DAY, to: 90 * DAY, suggested: false };

/** An authority with these answers. */
const authority = (answers: Readonly<Record<string, unknown>>) => ({
  directory: "https://ca.test/dir",
  fetchJson: (url: string) =>
    url in answers ? Promise.resolve(answers[url]) : Promise.reject(new Error(`404 ${url}`)),
});

Deno.test("renewalWindow() is what the authority suggests, else the last third", async () => {
  const directory = { "https://ca.test/dir": { renewalInfo: "https://ca.test/ari" } };
  const info = (suggestedWindow: unknown) => ({
    ...directory,
    "https://ca.test/ari/id": { suggestedWindow },
  });
  const window = { start: "1970-02-01T00:00:00Z", end: "1970-02-02T00:00:00Z" };
  assert.deepEqual(await renewalWindow(leaf, "id", authority(info(window))), {
    from: 31 * DAY,
    to: 32 * DAY,
    suggested: true,
  });
  const odd = [
    {},
    { "https://ca.test/dir": null },
    { "https://ca.test/dir": {} },
    directory,
    info(undefined),
    info({ start: "soon", end: "later" }),
    info({ start: window.end, end: window.start }),
  ];
  // These would let it expire.
  for (const start of ["1970-03-23T00:00:00Z", "1970-03-31T00:00:00Z", "9999-01-01T00:00:00Z"]) {
    odd.push(info({ start, end: "9999-12-31T00:00:00Z" }));
  }
  assert.deepEqual(
    await renewalWindow(leaf, "id", authority(info({ start: window.start, end: "9999-12-31T00:00:00Z" }))),
    { from: 31 * DAY, to: 81 * DAY, suggested: true },
  );
  for (const answers of odd) assert.deepEqual(await renewalWindow(leaf, "id", authority(answers)), own);
  assert.deepEqual(await renewalWindow(leaf, undefined, authority(info(window))), own);
});

Deno.test("certificateId() is authority key identifier and serial number, as DER has them", async () => {
  const { cert } = await (await createTestAuthority()).issue({ names: ["a.test"] });
  const certificate = new X509Certificate(cert);
  // RFC 9773 §4.1: the example's key identifier, and serial number 00:87:65:43:21.
  const keyId = Uint8Array.fromHex("69885b6b87464041e1b37b847bd0ae2cde01c8d4");
  const like = (serialNumber: string) =>
    Object.create(certificate, { serialNumber: { value: serialNumber } });
  assert.equal(certificateId(like("87654321"), keyId), "aYhba4dGQEHhs3uEe9CuLN4ByNQ.AIdlQyE");
  assert.equal(certificateId(like("1"), keyId), "aYhba4dGQEHhs3uEe9CuLN4ByNQ.AQ");
  assert.equal(certificateId(certificate, undefined), undefined);
});
