// What RFC 8617 says of sets and validators, rule by rule; beside verify_test.ts, which breaks chains.
import assert from "node:assert/strict";
import {
  ed25519Key,
  NOW,
  rsaKey,
  sealByTheBook,
  type TestKey,
  type TestTags,
  verifyMessage,
} from "../tests/support/dkim.ts";

const key = rsaKey(2048);
const RECORD = "s._domainkey.example.com";
const MESSAGE = "From: Joe <joe@example.com>\r\nTo: alice@example.net\r\nSubject:  Hello \t there\r\n" +
  "DKIM-Signature: v=1; d=example.com\r\nAuthentication-Results: lists.example; spf=pass\r\n\r\n" +
  " Hi,\t Alice. \r\n\r\n. \r\n\r\n";

interface Chain {
  readonly length?: number;
  readonly with?: TestKey;
  /** Of the last set. */
  readonly results?: string;
  readonly signature?: TestTags;
  readonly seal?: TestTags;
  /** How its fields are written before they are signed. */
  readonly written?: (field: string) => string;
}

function chain({ length = 2, with: lastKey = key, written, ...last }: Chain = {}): string {
  let message = MESSAGE;
  for (let instance = 1; instance <= length; instance++) {
    const isLast = instance === length;
    message = sealByTheBook({
      message,
      key: isLast ? lastKey : key,
      instance,
      ...isLast && last,
      ...isLast && written && { written },
    });
  }
  return message;
}

async function verdict(message: string, record: string | readonly string[] = key.record): Promise<string> {
  const { arc } = await verifyMessage(message, { dns: { [RECORD]: record } });
  return arc.result === "pass" ? `pass ${arc.sets}` : `${arc.result}: ${arc.reason ?? ""}`;
}

type Case = readonly [rule: string, expected: string | RegExp, message: string, record?: string];

async function holds(t: Deno.TestContext, cases: readonly Case[]): Promise<void> {
  for (const [rule, expected, message, record] of cases) {
    await t.step(rule, async () => {
      const seen = await verdict(message, record);
      if (typeof expected === "string") assert.equal(seen, expected);
      else assert.match(seen, expected);
    });
  }
}

/** Writes the instance of some fields anew, in front of all other tags. */
const instanceAs = (names: RegExp, text: string) => (field: string) =>
  names.test(field)
    ? field.replace(/^([^:]*: )(.*?)\bi=2; /s, (_, name: string, before: string) => name + text + before)
    : field;

Deno.test("a chain passes however its fields may be written (§3.9, §4.1)", async (t) => {
  const all = /^ARC-/;
  await holds(t, [
    [
      "white space and folding around the instance",
      "pass 2",
      chain({ written: instanceAs(all, "\r\n\t i \t= \r\n 2\r\n ; ") }),
    ],
    [
      "comments around it (CFWS)",
      "pass 2",
      chain({ written: instanceAs(all, "(set (no; \\)) 1) i (x)=(y) 2 (z) ; ") }),
    ],
    [
      "no white space at all",
      "pass 2",
      chain({ written: (field) => field.replaceAll(/([:;=]) (?=\S)/g, "$1") }),
    ],
    ["two digits", "pass 2", chain({ written: instanceAs(all, "i=02; ") })],
    [
      "comments around cv",
      "pass 2",
      chain({ written: (field) => field.replace("cv=pass", "cv (chain) = (status) pass (yes)") }),
    ],
    ["cv in capitals", "pass 2", chain({ seal: { cv: "PASS" } })],
    [
      "names of fields in any case",
      "pass 2",
      chain({ written: (field) => field.replace(/^ARC-[^:]*/, (name) => name.toUpperCase()) }),
    ],
    [
      "tags that RFC 8617 does not know",
      "pass 2",
      chain({ signature: { xy: "1", z: "From:x" }, seal: { xy: "1", bh: "x", c: "simple/simple" } }),
    ],
    ["an empty tag that it does not know", "pass 2", chain({ signature: { xy: "" }, seal: { xy: "" } })],
    ["a version, which is ignored (§4.1.2)", "pass 2", chain({ signature: { v: "2" } })],
    [
      "UTF-8 in the results (§4.1.4)",
      "pass 2",
      chain({ results: "example.com; spf=pass smtp.mailfrom=b\xc3\xb6b@example.com" }),
    ],
    ["a seal without a time", "pass 2", chain({ seal: { t: undefined } })],
    [
      "times in the future",
      "pass 2",
      chain({ signature: { t: String(NOW + 9) }, seal: { t: String(NOW + 9) } }),
    ],
    ["a body signed in part", "pass 2", `${chain({ signature: { l: "3" } })}more\r\n`],
  ]);
});

Deno.test("a chain passes with each form of its signatures, and with sets in any order", async (t) => {
  for (const c of [undefined, "simple", "relaxed", "simple/relaxed", "relaxed/simple", "Relaxed/Simple"]) {
    await t.step(`c=${c}`, async () => assert.equal(await verdict(chain({ signature: { c } })), "pass 2"));
  }
  await t.step("fields from below", async () => {
    const message = chain();
    const end = message.indexOf("\r\n\r\n");
    const fields = message.slice(0, end).split(/\r\n(?![ \t])/);
    const arc = fields.filter((field) => field.startsWith("ARC-"));
    const others = fields.filter((field) => !field.startsWith("ARC-"));
    const rest = message.slice(end);
    assert.equal(await verdict([...arc.toReversed(), ...others].join("\r\n") + rest), "pass 2");
    assert.equal(await verdict([...others, ...arc.toSorted()].join("\r\n") + rest), "pass 2");
  });
  await t.step("Ed25519 (RFC 8463)", async () => {
    const ed = ed25519Key();
    const tags = { a: "ed25519-sha256" };
    assert.equal(await verdict(chain({ length: 1, with: ed, signature: tags }), ed.record), "pass 1");
  });
  await t.step("U-labels in d= and s= (§4.1.4)", async () => {
    const tags = { d: "b\xc3\xbccher.example", s: "\xc3\xa9" };
    const { arc } = await verifyMessage(chain({ signature: tags, seal: tags }), {
      dns: { [RECORD]: key.record, "xn--9ca._domainkey.xn--bcher-kva.example": key.record },
    });
    assert.deepEqual(arc, { result: "pass", sealer: "xn--bcher-kva.example", sets: 2 });
  });
});

Deno.test("a chain fails whose fields are no tag lists of RFC 6376, or lack what they need", async (t) => {
  const small = rsaKey(512);
  const only = chain({ length: 1 });
  const tag = (field: string, from: RegExp, to: string) =>
    chain({
      written: (text) => text.startsWith(field) ? text.replace(from, to) : text,
    });
  await holds(t, [
    [
      "a tag twice in the seal",
      /arc-seal: signature syntax error/,
      tag("ARC-Seal", /i=2;/, "i=2; a=rsa-sha256;"),
    ],
    [
      "a tag twice in the signature",
      /arc-message-signature: signature syntax error/,
      tag("ARC-Message", /i=2;/, "i=2; d=example.com;"),
    ],
    ["a capital I", "fail: a field without its place in the chain", tag("ARC-Seal", /i=2/, "I=2")],
    [
      "a capital I in the results",
      "fail: a field without its place in the chain",
      tag("ARC-Auth", /i=2/, "I=2"),
    ],
    ["a capital CV", "fail: the seal of set 2 has another cv=", tag("ARC-Seal", /cv=/, "CV=")],
    ["three digits", "fail: a field without its place in the chain", tag("ARC-Seal", /i=2/, "i=002")],
    ["a negative instance", "fail: a field without its place in the chain", tag("ARC-Seal", /i=2/, "i=-2")],
    ["an instance with a comment that does not end", /^fail: a/, tag("ARC-Auth", /i=2;/, "i=2 (;")],
    [
      "results of an instance without results",
      "fail: a field without its place in the chain",
      tag("ARC-Auth", /i=2;.*/, "i=2"),
    ],
    ["an unknown status", "fail: the seal of set 2 has another cv=", chain({ seal: { cv: "passed" } })],
    [
      "cv=fail in an older set",
      "fail: the seal of set 1 has another cv=",
      sealByTheBook({ message: chain({ length: 1, seal: { cv: "fail" } }), key, instance: 2 }),
    ],
    ["an unknown query method", /unknown query method/, chain({ signature: { q: "http" } })],
    ["an unknown algorithm of the seal", /arc-seal: unknown algorithm/, chain({ seal: { a: "rsa-sha512" } })],
    [
      "an unknown algorithm of the signature",
      /arc-message-signature: unknown algorithm/,
      chain({ signature: { a: "rsa-sha512" } }),
    ],
    ["SHA-1 in the signature", /arc-message-signature: rsa-sha1/, chain({ signature: { a: "rsa-sha1" } })],
    [
      "an unknown form",
      /unknown canonicalization/,
      tag("ARC-Message", /c=relaxed\/relaxed/, "c=relaxed/nofws"),
    ],
    ["an empty h=", /missing required tag h=/, chain({ signature: { h: "" } })],
    ["no hash of the body", /missing required tag bh=/, chain({ signature: { bh: undefined } })],
    ["a hash that is not base64", /syntax error in bh=/, chain({ signature: { bh: "*" } })],
    [
      "an empty seal",
      /arc-seal: signature missing required tag b=/,
      only.replace(/(ARC-Seal:[^\r]*b=)(?:[^\r]|\r\n )*/, "$1"),
    ],
    [
      "a seal that is not base64",
      /arc-seal: signature syntax error in b=/,
      only.replace(/(ARC-Seal:[^\r]*b=)/, "$1*"),
    ],
    ["no selector", /arc-seal: signature missing required tag s=/, chain({ seal: { s: undefined } })],
    ["a domain that is none", /arc-seal: signature syntax error in d=/, chain({ seal: { d: "a b" } })],
    ["a key of 512 bits", /key of 512 bits/, chain({ length: 1, with: small }), small.record],
    ["a revoked key", /key revoked/, chain(), "v=DKIM1; p="],
    ["a key for another algorithm", /inappropriate key algorithm/, chain(), ed25519Key().record],
    ["a key for SHA-1 alone", /inappropriate hash algorithm/, chain(), `${key.record}; h=sha1`],
    ["a key for something else", /key not for email/, chain(), `${key.record}; s=other`],
    ["another key", "fail: the signature of set 2: signature did not verify", chain(), rsaKey(2048).record],
  ]);
});

Deno.test("a chain fails whose sets changed places, were joined, or cover less than all before them (§5.1.1)", async (t) => {
  const two = chain();
  const swapped = two.replaceAll(/i=([12]);/g, (_, instance) => `i=${3 - Number(instance)};`);
  const other = sealByTheBook({ message: MESSAGE.replace("alice", "bob"), key, instance: 1 });
  const [fields = ""] = other.split("From:", 1);
  const alone = sealByTheBook({ message: MESSAGE, key, instance: 2 });
  await holds(t, [
    ["instances swapped", /^fail: the seal of set [12] has another cv=/, swapped],
    [
      "the first set of another message",
      "fail: the seal of set 2: signature did not verify",
      two.replace(/ARC-Seal: i=1;.*?(?=From:)/s, fields),
    ],
    [
      "a seal over its own set alone",
      "fail: the seal of set 2: signature did not verify",
      alone.replace(/(?=From:)/, chain({ length: 1 }).split("From:", 1).join("")),
    ],
    ["the last set taken away", "pass 1", two.slice(two.indexOf("ARC-Seal: i=1;"))],
    [
      "the last set taken away after a change",
      /^fail: the signature of set 1/,
      two.slice(two.indexOf("ARC-Seal: i=1;")).replace("Alice", "Bob"),
    ],
  ]);
});
