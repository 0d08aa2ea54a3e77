import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fc } from "../tests/support/property.ts";
import {
  canonicalBody,
  ed25519Key,
  NOW,
  rsaKey,
  signByTheBook,
  type TestKey,
  type TestTags,
  txtResolver,
  verifyDkim,
} from "../tests/support/dkim.ts";
import type { Answer } from "../dns/resolver.ts";
import { MAX_SIGNATURES } from "./verify.ts";

const rsa = rsaKey(2048);
const ed = ed25519Key();
const MESSAGE = "From: Joe <joe@example.com>\r\nTo: alice@example.net\r\nSubject:  Hello \t there\r\n" +
  "\tand more\r\nReceived: by x\r\n\r\nHi, \t Alice. \r\n\r\n  Bye \r\n\r\n\r\n";

const RECORD = "s._domainkey.example.com";

async function verdict(message: string, record: string = rsa.record, now = NOW): Promise<string> {
  const [result, ...more] = await verifyDkim(message, { dns: { [RECORD]: `v=DKIM1; ${record}` }, now });
  assert.deepEqual(more, []);
  return `${result?.result ?? "none"}: ${result?.reason ?? ""}`;
}

function signed(tags: TestTags = {}, message = MESSAGE, key: TestKey = rsa): string {
  return signByTheBook({ message, key, tags });
}

// RFC 8463, appendix A.
const RFC8463_RECORDS = {
  "brisbane._domainkey.football.example.com":
    "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
  "test._domainkey.football.example.com":
    "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR" +
    "iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC" +
    "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3" +
    "Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
};
const RFC8463_MESSAGE = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
`.replaceAll("\n", "\r\n");

Deno.test("DkimVerification verifies the message of RFC 8463, appendix A", async () => {
  assert.deepEqual(await verifyDkim(RFC8463_MESSAGE, { dns: RFC8463_RECORDS }), [
    {
      result: "pass",
      domain: "football.example.com",
      selector: "brisbane",
      algorithm: "ed25519-sha256",
      signature: "/gCrinpc",
    },
    {
      result: "pass",
      domain: "football.example.com",
      selector: "test",
      algorithm: "rsa-sha256",
      signature: "F45dVWDf",
    },
  ]);
});

Deno.test("DkimVerification verifies the message of RFC 6376, appendix A", async () => {
  // As it is in appendix A.2, with the key of appendix C; continuation lines begin with nine spaces there, and the
  // Received field with its own eight.
  const message = `DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
`.replaceAll("\n", "\r\n");
  const record =
    "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtI" +
    "xN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi" +
    "tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";
  const [result] = await verifyDkim(message, { dns: { "brisbane._domainkey.example.com": record } });
  assert.equal(result?.result, "pass", result?.reason);
});

Deno.test("DkimVerification verifies all forms, keys of all lengths, wherever the body is cut", async () => {
  const keys: readonly (readonly [string, TestKey])[] = [
    ["rsa-sha256", rsaKey(1024)],
    ["rsa-sha256", rsaKey(2048, { pkcs1: true })],
    ["rsa-sha256", rsaKey(4096)],
    ["ed25519-sha256", ed],
  ];
  const bodies = [
    "",
    "x",
    "\r\n",
    "x\r\n\r\n",
    " \r\n",
    "a \t b\t\r\n \r\n\r\nc \r\n\r\n\r\n",
    "\xe9\0\xff\r\n",
  ];
  for (const [a, key] of keys) {
    for (const c of ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"]) {
      for (const body of bodies) {
        const message = signByTheBook({
          message: `From: a@example.com\r\nTO :\tx\r\n \t y  z \r\nSubject: \r\n\r\n${body}`,
          key,
          tags: { a, c },
        });
        for (const chunk of [1, 2, 3, 1_000_000]) {
          const [result] = await verifyDkim(message, { dns: { [RECORD]: key.record }, chunk });
          assert.equal(result?.result, "pass", `${a} ${c} ${JSON.stringify(body)}: ${result?.reason}`);
        }
      }
    }
  }
});

Deno.test("DkimVerification verifies bodies of any kind, cut anywhere, up to any length", async () => {
  const parts = fc.array(fc.constantFrom("a", "\xff", " ", "\t", "\r\n", "\r", "\n", " \r\n", "\0"), {
    maxLength: 40,
  });
  const forms = fc.constantFrom<"simple" | "relaxed">("simple", "relaxed");
  await fc.assert(
    fc.asyncProperty(
      parts,
      forms,
      fc.nat(20),
      fc.integer({ min: 1, max: 9 }),
      async (body, form, l, chunk) => {
        const tags = { a: "ed25519-sha256", c: `relaxed/${form}` };
        const text = `From: a@example.com\r\n\r\n${body.join("")}`;
        const part = signByTheBook({ message: text, key: ed, tags: { ...tags, l: String(l) } });
        const message = signByTheBook({ message: part, key: ed, tags });
        const [whole, covered] = await verifyDkim(message, { dns: { [RECORD]: ed.record }, chunk });
        const left = canonicalBody(body.join(""), form).length - l;
        assert.equal(whole?.result, "pass", whole?.reason);
        assert.equal(
          covered?.reason,
          left < 0
            ? "body shorter than l="
            : left > 0
            ? `${left} octets of the body are not signed`
            : undefined,
        );
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("DkimVerification says what is wrong with a signature", async (t) => {
  const other = rsaKey(2048);
  const p = rsa.record.slice("k=rsa; ".length);
  const cases: readonly (readonly [what: string, verdict: string, message: string, record?: string])[] = [
    ["the body changed", "fail: body hash did not verify", signed().replace("Alice.", "Alice!")],
    ["the body longer", "fail: body hash did not verify", `${signed()}x\r\n`],
    ["the body shorter", "fail: body hash did not verify", signed().replace(/ {2}Bye[^]*/, "")],
    [
      "the body shorter than l=",
      "fail: body shorter than l=",
      signed({ l: "20" }).replace(/ {2}Bye[^]*/, ""),
    ],
    ["a signed field changed", "fail: signature did not verify", signed().replace("Hello", "Hullo")],
    [
      "a signed field removed",
      "fail: signature did not verify",
      signed().replace("To: alice@example.net\r\n", ""),
    ],
    [
      "a field added that was signed as missing",
      "fail: signature did not verify",
      signed({ h: "from:to:subject:cc" }).replace("\r\nTo:", "\r\nCc: eve@example.net\r\nTo:"),
    ],
    [
      "one more From below the one that was signed",
      "fail: signature did not verify",
      signed().replace("\r\nTo:", "\r\nFrom: eve@example.net\r\nTo:"),
    ],
    [
      "one more From above, oversigned",
      "fail: signature did not verify",
      `From: eve@example.net\r\n${signed({ h: "from:from:to" })}`,
    ],
    [
      "simple: white space in a field",
      "fail: signature did not verify",
      signed({ c: "simple/simple" }).replace("To: ", "To:  "),
    ],
    [
      "simple: a name in another case",
      "fail: signature did not verify",
      signed({ c: "simple/simple" }).replace("To: ", "TO: "),
    ],
    [
      "simple: white space in the body",
      "fail: body hash did not verify",
      signed({ c: "simple/simple" }).replace("Hi, \t", "Hi,"),
    ],
    [
      "the signature itself changed",
      "fail: signature did not verify",
      signed().replace("; s=s;", ";  s=s ; z=x;"),
    ],
    [
      "another signature",
      "fail: signature did not verify",
      signed({ b: Buffer.alloc(256, 1).toString("base64") }),
    ],
    ["a signature of another length", "fail: signature did not verify", signed({ b: "AAAA" })],
    ["another key", "fail: signature did not verify", signed(), other.record],
    ["another hash", "fail: body hash did not verify", signed({ bh: Buffer.alloc(32).toString("base64") })],
    ["a hash that is none", "permerror: body hash of another length", signed({ bh: "AAAA" })],
    ["no such key", "permerror: no key for signature", signed({ s: "other" })],
    ["a revoked key", "permerror: key revoked", signed(), "p="],
    ["a key record without p=", "permerror: key syntax error", signed(), "k=rsa"],
    ["a key record of another version", "permerror: key syntax error", signed(), `k=rsa; v=DKIM2; ${p}`],
    ["a key that is none", "permerror: key syntax error", signed(), "p=AAAA"],
    ["a key that is not base64", "permerror: key syntax error", signed(), "p=A*"],
    ["a key record that is not a tag list", "permerror: key syntax error", signed(), "nonsense"],
    ["a key for SHA-1 only", "permerror: inappropriate hash algorithm", signed(), `h=sha1; ${p}`],
    ["a key for other services", "permerror: key not for email", signed(), `s=tlsrpt; ${p}`],
    ["a key of another kind", "permerror: inappropriate key algorithm", signed(), ed.record],
    [
      "a kind of key that says another",
      "permerror: inappropriate key algorithm",
      signed(),
      `k=ed25519; ${p}`,
    ],
    ["a key of 512 bits", "permerror: key of 512 bits", ...weak(512)],
    ["a key of 1016 bits", "permerror: key of 1016 bits", ...weak(1016)],
    ["a key of 4104 bits", "permerror: key of 4104 bits", signed(), longKey(4104)],
    ["a key without end", "permerror: key of more than 4096 bits", signed(), longKey(65536)],
    ["rsa-sha1", "permerror: rsa-sha1 is no longer accepted (RFC 8301)", signed({ a: "rsa-sha1" })],
    ["an unknown algorithm", "permerror: unknown algorithm", signed({ a: "rsa-sha512" })],
    [
      "an unknown form of the header",
      "permerror: unknown canonicalization",
      signed().replace("relaxed/", "nofws/"),
    ],
    [
      "an unknown form of the body",
      "permerror: unknown canonicalization",
      signed().replace("/relaxed", "/strict"),
    ],
    ["version 2", "permerror: incompatible version", signed({ v: "2" })],
    ["version 1.0", "permerror: incompatible version", signed({ v: "1.0" })],
    ...["v", "a", "bh", "d", "h", "s", "b"].map((tag) =>
      [
        `no ${tag}=`,
        `permerror: signature missing required tag ${tag}=`,
        signed({ [tag]: undefined }),
      ] as const
    ),
    ["an empty b=", "permerror: signature missing required tag b=", signed({ b: "" })],
    ["a b= that is not base64", "permerror: signature syntax error in b=", signed({ b: "A*A=" })],
    ["From not signed", "permerror: From field not signed", signed({ h: "to:subject" })],
    ["a name that is none", "permerror: signature syntax error", signed({ h: "from:t o\xe9" })],
    ["a tag twice", "permerror: signature syntax error", signed().replace("; s=s;", "; s=s; s=s;")],
    ["a field without end", "permerror: signature field too long", signed({ z: "x".repeat(65_536) })],
    [
      "a tag without end",
      "permerror: signature syntax error: long h=",
      signed({ h: `from${":x".repeat(5000)}` }),
    ],
    [
      "a part that is not a tag",
      "permerror: signature syntax error",
      signed().replace("; s=s;", "; s=s; x;"),
    ],
    [
      "another domain in i=",
      "permerror: domain mismatch: i= is not within d=",
      signed({ i: "@example.org" }),
    ],
    ["i= above d=", "permerror: domain mismatch: i= is not within d=", signed({ i: "@com" })],
    [
      "i= that only ends like d=",
      "permerror: domain mismatch: i= is not within d=",
      signed({ i: "@notexample.com" }),
    ],
    ["i= without a domain", "permerror: signature syntax error in i=", signed({ i: "joe" })],
    [
      "i= below d= where t=s",
      "permerror: domain mismatch: i= is not d=",
      signed({ i: "@a.example.com" }),
      `t=s; ${p}`,
    ],
    ["d= that is not a domain", "permerror: signature syntax error in d=", signed({ d: "exa mple" })],
    ["s= that leaves its place", "permerror: signature syntax error in s=", signed({ s: "s/../x" })],
    ["expired", "permerror: signature expired", signed({ x: String(NOW - 1) })],
    [
      "expired before it was made",
      "permerror: signature syntax error: it expires before it was made",
      signed({ t: "1700000000", x: "1700000000" }),
    ],
    ["a time that is none", "permerror: signature syntax error in t=", signed({ t: "now" })],
    ["a length that is none", "permerror: signature syntax error in l=", signed({ l: "-1" })],
    ["from the future", "policy: signature is from the future", signed({ t: String(NOW + 7200) })],
    ["another way to the key", "permerror: unknown query method", signed({ q: "http/x" })],
    ["wrong, and a test", "neutral: body hash did not verify (test key)", `${signed()}x\r\n`, `t=y:s; ${p}`],
  ];
  for (const [what, expected, message, record] of cases) {
    await t.step(what, async () => assert.equal(await verdict(message, record), expected));
  }

  await t.step("DNS failing", async () => {
    const failed: Answer<string> = { kind: "failed", reason: "SERVFAIL" };
    const [result] = await verifyDkim(signed(), { dns: { txt: () => Promise.resolve(failed) } });
    assert.equal(result?.result, "temperror");
    assert.equal(result.reason, "key unavailable");
  });
});

/** A message with the key that is too short for it. */
function weak(bits: number): [string, string] {
  const key = rsaKey(bits);
  return [signed({}, MESSAGE, key), key.record];
}

/** A record with a random key of this many bits. */
function longKey(bits: number): string {
  const length = (bytes: Buffer) => {
    const hex = bytes.length.toString(16);
    const size = Buffer.from(hex.padStart(hex.length + hex.length % 2, "0"), "hex");
    return bytes.length < 128
      ? Buffer.of(bytes.length)
      : Buffer.concat([Buffer.of(0x80 | size.length), size]);
  };
  const der = (tag: number, bytes: Buffer) => Buffer.concat([Buffer.of(tag), length(bytes), bytes]);
  const modulus = der(2, Buffer.concat([Buffer.of(0), Buffer.alloc(bits / 8, 0xff)]));
  const key = der(0x30, Buffer.concat([modulus, der(2, Buffer.of(1, 0, 1))]));
  return `p=${key.toString("base64")}`;
}

Deno.test("DkimVerification takes what the grammar allows", async (t) => {
  const p = rsa.record.slice("k=rsa; ".length);
  const cases: readonly (readonly [what: string, message: string, record?: string])[] = [
    ["no c=", signed({ c: undefined })],
    ["c= with the header's form alone", signed({ c: "relaxed" })],
    ["white space wherever it may stand", signed({ h: " From :\r\n\tTO : subject", s: "s \t" })],
    ["i= below d=", signed({ i: "joe=40x@a.example.com" })],
    ["copies of many fields in z=", signed({ z: "x".repeat(30_000) })],
    ["unknown tags", signed({ X: "y", "r_1": "s" })],
    ["unknown methods beside dns/txt", signed({ q: "http/x:dns/txt" })],
    ["upper case in d=, s= and h=", signed({ d: "EXAMPLE.com", s: "S", h: "FROM:Subject" })],
    ["more names than fields", signed({ h: "from:from:to:x-a:x-a" })],
    ["not yet expired", signed({ t: String(NOW - 5), x: String(NOW + 5) })],
    ["the clock a little ahead", signed({ t: String(NOW + 600) })],
    [
      "a key with other services, hashes and flags",
      signed(),
      `h=sha1 : sha256; s=x : email; t=s : z; n=x; ${p}`,
    ],
    ["a key that says nothing of itself", signed(), p],
    ["i= is d= where t=s", signed({ i: "joe@example.com" }), `t=s; ${p}`],
    ["other fields added and changed", `X: y\r\n${signed()}`.replace("by x", "by y")],
    [
      "fields and lines that look otherwise",
      signed().replace("To: ", "tO:\r\n \t").replace("  Bye", " Bye\t"),
    ],
    ["white space around the value of b=", signed({ h: "from" }).replace("\r\n b=", "\r\n b= \t\r\n ")],
  ];
  for (const [what, message, record] of cases) {
    await t.step(what, async () => assert.equal(await verdict(message, record), "pass: "));
  }
  await t.step("a test key that verifies", async () => {
    assert.equal(await verdict(signed(), `t=y; ${p}`), "pass: test key");
  });
  await t.step("what stands after l= is told of", async () => {
    assert.equal(
      await verdict(`${signed({ l: "10" })}more\r\n`),
      "pass: 20 octets of the body are not signed",
    );
  });
});

Deno.test("DkimVerification takes the one of several records that is a key", async () => {
  const [result] = await verifyDkim(signed(), {
    dns: { [RECORD]: ["v=spf1 -all", `v=DKIM1; ${rsa.record}`] },
  });
  assert.equal(result?.result, "pass");
});

Deno.test("DkimVerification looks at the first ten signatures, and asks for each key once", async () => {
  let message = MESSAGE;
  for (let i = 0; i < 30; i++) message = signed({ a: "ed25519-sha256", s: `s${i % 20}` }, message, ed);
  const resolver = txtResolver(Object.fromEntries(
    Array.from({ length: 20 }, (_, i) => [`s${i}._domainkey.example.com`, ed.record]),
  ));
  const results = await verifyDkim(message, { dns: resolver });
  assert.equal(results.length, MAX_SIGNATURES);
  assert.ok(results.every(({ result }) => result === "pass"));
  assert.equal(results[0]?.selector, "s9");
  assert.equal(resolver.asked.length, 10);

  const twice = txtResolver({ [RECORD]: rsa.record });
  await verifyDkim(signed({}, signed()), { dns: twice });
  assert.deepEqual(twice.asked, [`txt ${RECORD}`]);
});

Deno.test("DkimVerification says nothing of a message without a signature", async () => {
  assert.deepEqual(await verifyDkim(MESSAGE, { dns: {} }), []);
  assert.deepEqual(await verifyDkim("", { dns: {} }), []);
});

Deno.test("DkimVerification verifies a signature that signs another one", async () => {
  const once = signed({ a: "ed25519-sha256", s: "e" }, MESSAGE, ed);
  const twice = signed({ h: "from:dkim-signature:dkim-signature" }, once);
  const results = await verifyDkim(twice, {
    dns: { [RECORD]: rsa.record, "e._domainkey.example.com": ed.record },
  });
  assert.deepEqual(results.map(({ result }) => result), ["pass", "pass"]);
});
