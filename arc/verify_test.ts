import assert from "node:assert/strict";
import type { Answer } from "../dns/resolver.ts";
import {
  ed25519Key,
  NOW,
  rsaKey,
  sealByTheBook,
  type TestTags,
  txtResolver,
  verifyMessage,
} from "../tests/support/dkim.ts";

const key = rsaKey(2048);
const RECORD = "s._domainkey.example.com";
const DNS = { [RECORD]: key.record };
const MESSAGE = "From: Joe <joe@example.com>\r\nTo: alice@example.net\r\nSubject: Hello\r\n\r\nHi.\r\n";

function chain(length: number, last: Partial<Parameters<typeof sealByTheBook>[0]> = {}): string {
  let message = MESSAGE;
  for (let instance = 1; instance <= length; instance++) {
    message = sealByTheBook({ message, key, instance, ...(instance === length && last) });
  }
  return message;
}

async function verdict(message: string, dns: Readonly<Record<string, string>> = DNS): Promise<string> {
  const { arc } = await verifyMessage(message, { dns });
  return `${arc.result}: ${arc.reason ?? arc.sealer ?? ""}`;
}

Deno.test("ArcVerification passes chains, and says who sealed last", async () => {
  assert.deepEqual((await verifyMessage(MESSAGE, { dns: {} })).arc, { result: "none" });
  for (const length of [1, 2, 3, 50]) {
    const { arc } = await verifyMessage(chain(length), { dns: DNS });
    assert.deepEqual(arc, { result: "pass", sealer: "example.com", sets: length });
  }
  const ed = ed25519Key();
  const tags: TestTags = { a: "ed25519-sha256", d: "Lists.example.org", s: "e" };
  const message = sealByTheBook({ message: chain(1), key: ed, instance: 2, signature: tags, seal: tags });
  const { arc } = await verifyMessage(message, {
    dns: { ...DNS, "e._domainkey.lists.example.org": ed.record },
  });
  assert.deepEqual(arc, { result: "pass", sealer: "lists.example.org", sets: 2 });
});

Deno.test("ArcVerification passes chains whose signatures sign results and signatures, as the drafts had it", async () => {
  const h = "from:arc-authentication-results:arc-authentication-results:arc-message-signature";
  for (const length of [1, 2, 3]) {
    assert.equal(await verdict(chain(length, { signature: { h } })), "pass: example.com");
    const sealed = chain(length - 1);
    const last = sealByTheBook({ message: sealed, key, instance: length, signature: { h } });
    assert.equal(await verdict(last), "pass: example.com");
  }
});

Deno.test("ArcVerification does not mind what became of the message before the last server sealed it", async () => {
  const changed = chain(1).replace("Hi.", "Hello.").replace("Subject: ", "Subject: [list] ");
  assert.equal(await verdict(changed), "fail: the signature of set 1: body hash did not verify");
  assert.equal(await verdict(sealByTheBook({ message: changed, key, instance: 2 })), "pass: example.com");
});

Deno.test("ArcVerification says where a chain is broken", async (t) => {
  const two = chain(2);
  const field = (name: string, instance: number) =>
    new RegExp(`^${name}: [^\\r]*\\bi=${instance};(?:[^\\r]|\\r\\n )*\\r\\n`, "m");
  const cases: readonly (readonly [what: string, verdict: string | RegExp, message: string])[] = [
    ["the body changed", "fail: the signature of set 2: body hash did not verify", `${two}x`],
    [
      "a field changed",
      "fail: the signature of set 2: signature did not verify",
      two.replace("Hello", "Hullo"),
    ],
    [
      "the results changed",
      "fail: the seal of set 2: signature did not verify",
      two.replace("i=2; example.com; dmarc=pass", "i=2; example.com; dmarc=fail"),
    ],
    [
      "older results changed",
      "fail: the seal of set 2: signature did not verify",
      two.replace("i=1; example.com; dmarc=pass", "i=1; example.com; dmarc=none"),
    ],
    [
      "an older seal that was never right",
      "fail: the seal of set 1: signature did not verify",
      sealByTheBook({ message: chain(1).replace(/(b=)[^;]{4}/, "$1AAAA"), key, instance: 2 }),
    ],
    ...["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"].flatMap((name) =>
      [2, 1].flatMap((instance) => {
        const pattern = field(name, instance);
        const lower = name.toLowerCase();
        return [
          [
            `${name} of set ${instance} missing`,
            `fail: set ${instance} is incomplete: no ${lower}`,
            two.replace(pattern, ""),
          ],
          [
            `${name} of set ${instance} twice`,
            `fail: set ${instance} is incomplete: more than one ${lower}`,
            two.replace(pattern, "$&$&"),
          ],
        ] as const;
      })
    ),
    ["a gap", "fail: set 1 is incomplete: no arc-authentication-results", chainFrom(2)],
    [
      "only one field",
      "fail: set 1 is incomplete: no arc-authentication-results",
      `ARC-Seal: i=1\r\n${MESSAGE}`,
    ],
    [
      "no instance",
      "fail: a field without its place in the chain",
      two.replace("ARC-Seal: i=2;", "ARC-Seal: "),
    ],
    [
      "instance 0",
      "fail: a field without its place in the chain",
      two.replace("ARC-Seal: i=2;", "ARC-Seal: i=0;"),
    ],
    ["instance 51", "fail: a field without its place in the chain", two.replace("Seal: i=2;", "Seal: i=51;")],
    ["instance x", "fail: a field without its place in the chain", two.replace("Seal: i=2;", "Seal: i=x;")],
    [
      "results with the instance after",
      "fail: a field without its place in the chain",
      two.replace("Results: i=2; example.com;", "Results: example.com; i=2;"),
    ],
    ["more than 50 sets", "fail: more than 50 sets", `${"ARC-Seal: i=1\r\n".repeat(151)}${MESSAGE}`],
    ["cv=fail", "fail: the seal of set 2 says so", chain(2, { cv: "fail" })],
    ["cv=pass in the first set", "fail: the seal of set 1 has another cv=", chain(1, { cv: "pass" })],
    ["cv=none in the second set", "fail: the seal of set 2 has another cv=", chain(2, { cv: "none" })],
    ["no cv=", "fail: the seal of set 2 has another cv=", chain(2, { seal: { cv: undefined } })],
    ["a seal with h=", "fail: the seal of set 2 has h=", chain(2, { seal: { h: "from" } })],
    ["a seal with SHA-1", /arc-seal: rsa-sha1/, chain(2, { seal: { a: "rsa-sha1" } })],
    [
      "a seal without d=",
      /arc-seal: signature missing required tag d=/,
      chain(1, { seal: { d: undefined } }),
    ],
    [
      "a seal of a key that is not there",
      "fail: the seal of set 2: no key for signature",
      chain(2, { seal: { s: "x" } }),
    ],
    [
      "a signature of a key that is not there",
      "fail: the signature of set 2: no key for signature",
      chain(2, { signature: { s: "x" } }),
    ],
    [
      "a signature of a seal",
      "fail: h= has ARC-Seal",
      chain(2, { signature: { h: "from:arc-seal" } }),
    ],
    ["a seal with an odd time", /arc-seal: signature syntax error in t=/, chain(1, { seal: { t: "x" } })],
    ["a seal with an empty time", /arc-seal: signature syntax error in t=/, chain(1, { seal: { t: "" } })],
    ["a signature without From", /From field not signed/, chain(1, { signature: { h: "to" } })],
    ["a signature that expired", "fail: signature expired", chain(1, { signature: { x: String(NOW - 1) } })],
    [
      "a seal that is not a tag list",
      /arc-seal: signature syntax error/,
      two.replace("ARC-Seal: i=2;", "ARC-Seal: i=2; x;"),
    ],
  ];
  for (const [what, expected, message] of cases) {
    await t.step(what, async () => {
      const seen = await verdict(message);
      if (typeof expected === "string") assert.equal(seen, expected);
      else assert.match(seen, expected);
    });
  }
  await t.step("DNS failing", async () => {
    const failed: Answer<string> = { kind: "failed", reason: "SERVFAIL" };
    const { arc } = await verifyMessage(chain(1), { dns: { txt: () => Promise.resolve(failed) } });
    assert.deepEqual(arc, { result: "fail", reason: "the signature of set 1: key unavailable" });
  });
});

/** A chain without its first sets. */
function chainFrom(instance: number): string {
  return sealByTheBook({ message: MESSAGE, key, instance });
}

Deno.test("ArcVerification asks for the keys of older seals only when the newest set is right", async () => {
  let message = MESSAGE;
  const records: Record<string, string> = {};
  for (let instance = 1; instance <= 5; instance++) {
    const d = `s${instance}.example.com`;
    records[`s._domainkey.${d}`] = key.record;
    message = sealByTheBook({ message, key, instance, signature: { d }, seal: { d } });
  }
  const right = txtResolver(records);
  assert.equal((await verifyMessage(message, { dns: right })).arc.result, "pass");
  assert.equal(right.asked.length, 5);
  const wrong = txtResolver(records);
  assert.equal((await verifyMessage(`${message}x`, { dns: wrong })).arc.result, "fail");
  assert.deepEqual(wrong.asked, ["txt s._domainkey.s5.example.com"]);
});
