import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fc } from "../tests/support/property.ts";
import { canonicalBody } from "../tests/support/dkim.ts";
import { RelaxedBody, RelaxedBodyHash, SimpleBody } from "./body.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

function canonical(Form: typeof RelaxedBody | typeof SimpleBody, chunks: readonly Uint8Array[]): string {
  let text = "";
  const body = new Form((bytes) => text += decoder.decode(bytes));
  for (const chunk of chunks) body.push(chunk);
  body.finish();
  return text;
}

function relax(...chunks: readonly Uint8Array[]): string {
  return canonical(RelaxedBody, chunks);
}

Deno.test("RelaxedBody gives the relaxed form of RFC 6376 §3.4.4", () => {
  const cases: readonly (readonly [string, string])[] = [
    // The example of §3.4.5.
    [" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"],
    ["", ""],
    ["\r\n\r\n", ""],
    [" \t\r\n  \r\n", ""],
    [" ", ""],
    ["a", "a\r\n"],
    ["a\r\n", "a\r\n"],
    ["a \t", "a\r\n"],
    ["a\r\n \t ", "a\r\n"],
    ["\r\n\r\na", "\r\n\r\na\r\n"],
    ["a\r\n \r\n\t\r\nb", "a\r\n\r\n\r\nb\r\n"],
    ["  a\t\tb  c ", " a b c\r\n"],
    ["a\rb\r\r\n\nc", "a\rb\r\r\n\nc\r\n"],
    ["a\u00a0 \u00e9\0", "a\u00a0 \u00e9\0\r\n"],
  ];
  for (const [body, relaxed] of cases) {
    assert.equal(relax(Uint8Array.from(body, (c) => c.charCodeAt(0))), relaxed, JSON.stringify(body));
  }
});

const bodies = fc.array(fc.constantFrom("a", "\xff", " ", "\t", "\r\n", "\r", "\n", " \r\n", "\0"), {
  maxLength: 60,
}).map((parts) => parts.join(""));

Deno.test("RelaxedBody and SimpleBody say what the rules say, wherever the body is cut", () => {
  fc.assert(fc.property(bodies, fc.array(fc.nat(80), { maxLength: 8 }), (text, cuts) => {
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    const at = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length];
    const chunks = at.slice(1).map((end, i) => bytes.slice(at[i], end));
    assert.equal(relax(...chunks), canonicalBody(text, "relaxed"));
    assert.equal(canonical(SimpleBody, chunks), canonicalBody(text, "simple"));
  }));
});

Deno.test("SimpleBody gives the simple form of RFC 6376 §3.4.3", () => {
  const cases: readonly (readonly [string, string])[] = [
    // The example of §3.4.5.
    [" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n"],
    ["", "\r\n"],
    ["\r\n\r\n", "\r\n"],
    ["a", "a\r\n"],
    ["a\r", "a\r\r\n"],
    ["a\r\n \r\n", "a\r\n \r\n"],
  ];
  for (const [body, simple] of cases) {
    assert.equal(canonical(SimpleBody, [encoder.encode(body)]), simple, JSON.stringify(body));
  }
});

Deno.test("SimpleBody holds back any number of empty lines, and gives out blocks", () => {
  const line = encoder.encode("\r\n".repeat(100_000));
  const lengths: number[] = [];
  const body = new SimpleBody(({ length }) => lengths.push(length));
  body.push(line);
  assert.deepEqual(lengths, []);
  body.push(encoder.encode("x"));
  body.push(line);
  body.finish();
  assert.equal(lengths.reduce((sum, length) => sum + length, 0), 200_000 + 3);
  assert.ok(lengths.every((length) => length <= 16 * 1024));
});

Deno.test("RelaxedBody holds back any number of empty lines, and gives out blocks", () => {
  const line = encoder.encode("\r\n".repeat(100_000));
  let longest = 0;
  let total = 0;
  const body = new RelaxedBody(({ length }) => {
    longest = Math.max(longest, length);
    total += length;
  });
  body.push(line);
  assert.equal(total, 0);
  body.push(encoder.encode("x"));
  body.push(line);
  body.finish();
  assert.equal(total, 200_000 + 3);
  assert.ok(longest <= 16 * 1024);
});

Deno.test("RelaxedBodyHash.digest() is the hash of the empty text for an empty body", () => {
  // RFC 6376 §3.4.4.
  assert.equal(new RelaxedBodyHash().digest(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
  const hash = new RelaxedBodyHash();
  hash.push(encoder.encode("a \r\n"));
  assert.equal(hash.digest(), createHash("sha256").update("a\r\n").digest("base64"));
});
