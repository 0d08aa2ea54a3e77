import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { BodyHashes } from "./body_hashes.ts";

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

Deno.test("BodyHashes gives each request its hash, and the length of the body in its form", () => {
  const hashes = new BodyHashes();
  const lengths = [undefined, 5, 0, 3, 5, 6, 12, 13];
  const requests = lengths.map((length) =>
    hashes.request({ canonicalization: "relaxed", ...(length !== undefined && { length }) })
  );
  const simple = hashes.request({ canonicalization: "simple" });
  for (const part of ["ab  c", "d\r", "\n", "efgh \r\n\r", "\n"]) hashes.push(Buffer.from(part));
  hashes.finish();
  const canonical = "ab cd\r\nefgh\r\n";
  assert.equal(canonical.length, 13);
  for (const [index, request] of requests.entries()) {
    const { digest, bodyLength } = request();
    assert.equal(bodyLength, 13);
    assert.equal(digest?.toString("hex"), sha256(canonical.slice(0, lengths[index])), String(lengths[index]));
  }
  assert.equal(simple().digest?.toString("hex"), sha256("ab  cd\r\nefgh \r\n"));
  assert.equal(simple().bodyLength, 15);
});

Deno.test("BodyHashes has no hash of a part that is longer than the body", () => {
  const hashes = new BodyHashes();
  const request = hashes.request({ canonicalization: "simple", length: 4 });
  hashes.push(Buffer.from("x"));
  hashes.finish();
  assert.deepEqual(request(), { digest: undefined, bodyLength: 3 });
});

Deno.test("BodyHashes hashes what many requests share once", () => {
  // A hundred requests for parts of 1 MB: hashed one by one that were 50 MB, and 100 hashes that grow.
  const hashes = new BodyHashes();
  const requests = Array.from(
    { length: 100 },
    (_, i) => hashes.request({ canonicalization: "simple", length: 1_000_000 - i }),
  );
  const body = Buffer.alloc(1_000_000, "x");
  for (let at = 0; at < body.length; at += 4096) hashes.push(body.subarray(at, at + 4096));
  hashes.finish();
  for (const [index, request] of requests.entries()) {
    if (index % 33 === 0) {
      assert.equal(request().digest?.toString("hex"), sha256("x".repeat(1_000_000 - index)));
    }
    assert.ok(request().digest);
  }
});
