import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { Mailboxes } from "../maildir/mailboxes.ts";
import { HeaderSection } from "../message/header_section.ts";
import { AuthorInspector } from "./author_inspector.ts";
import { Senders } from "./senders.ts";

const DOMAINS = ["example.com", "xn--bcher-kva.example"];

const mailboxes = new Mailboxes({
  domains: DOMAINS,
  path: "/var/mail/{domain}/{user}",
  users: ["alice", "bob", "carol@elsewhere.example"],
  aliases: {
    postmaster: "alice",
    sales: ["alice", "bob"],
    "team@example.com": "bob",
    carla: "carol@elsewhere.example",
    "*": "alice",
  },
  subaddressSeparator: "+",
});

const senders = new Senders({
  mailboxesOf: (address) => mailboxes.owners(address).map(({ address }) => address),
  domains: DOMAINS,
  qualifyDomain: "example.com",
  sendAs: {
    alice: ["info@example.com", "press", "*@brand.example"],
    "Bob@Example.COM": "Boss@Partner.example".split(" "),
  },
});

const split = (text: string) => {
  const at = text.lastIndexOf("@");
  return { localPart: text.slice(0, at), domain: text.slice(at + 1) };
};
const may = (login: string, text: string) => senders.maySend(login, split(text));

Deno.test("Senders lets a login send as its mailbox, aliases that lead to it, subaddresses and what it is granted", () => {
  const alice = "alice@example.com";
  for (
    const own of [
      "alice@example.com",
      "ALICE@Example.Com.",
      "alice+shop@example.com",
      "postmaster@example.com",
      "sales@example.com",
      "sales+x@example.com",
      "info@example.com",
      "press@example.com",
      "anybody@brand.example",
    ]
  ) assert.ok(may(alice, own), own);
  for (
    const foreign of [
      "bob@example.com",
      "team@example.com",
      "alice@bücher.example",
      "alice@elsewhere.example",
      // Only the catch-all leads these to her.
      "nobody@example.com",
      "*@example.com",
      "info+x@example.com",
      "press@bücher.example",
      "x@sub.brand.example",
      "boss@partner.example",
      "alice@brand.example.evil.example",
      "alice",
    ]
  ) assert.ok(!may(alice, foreign), foreign);
  assert.ok(senders.maySend(alice, { localPart: "alice", domain: "" }));
  assert.ok(may("alice@bücher.example", "alice@xn--bcher-kva.example"));
  assert.ok(may("alice@bücher.example", "press@bücher.example"));
  assert.ok(may("bob@example.com", "boss@partner.example"));
  assert.ok(!may("bob@xn--bcher-kva.example", "boss@partner.example"));
  assert.ok(may("alice", "alice@example.com"));
  assert.ok(may("carol@elsewhere.example", "carla@example.com"));
  assert.ok(!may("carol@example.com", "carla@example.com"));
});

Deno.test("Senders gives a login that leads to several mailboxes, or to none, nothing but its grants", () => {
  for (const login of ["sales@example.com", "nobody@example.com", "x@foreign.example", ""]) {
    for (const text of ["alice@example.com", "bob@example.com", "sales@example.com", "nobody@example.com"]) {
      assert.ok(!may(login, text), `${login} ${text}`);
    }
  }
});

/** What happens to a header section. */
async function refusal(fields: string, { login = "alice@example.com", reversePath = true } = {}) {
  const inspector = new AuthorInspector(() => senders);
  const envelope = { reversePath: reversePath ? { ...split(login), text: login } : null };
  using inspection = inspector.begin(envelope, { login });
  inspection.header(HeaderSection.of(new TextEncoder().encode(fields)));
  const { refuse } = await inspection.verdict();
  return refuse === undefined ? "" : `${refuse.code} ${refuse.enhanced} ${refuse.lines.join(" ")}`;
}

Deno.test("Senders decides about a login and an address once, and confuses no two of them", () => {
  const asked: string[] = [];
  const remembering = new Senders({
    mailboxesOf: ({ localPart, domain }) => {
      asked.push(`${localPart}@${domain}`);
      return localPart.startsWith("a") ? ["alice@example.com"] : [`${localPart}@${domain}`];
    },
    domains: DOMAINS,
    qualifyDomain: "example.com",
    sendAs: {},
  });
  const questions = [
    ["alice@example.com", "a.b@example.com", true],
    ["alice@example.com", "bob@example.com", false],
    ["bob@example.com", "bob@example.com", true],
    ["bob@example.com", "a.b@example.com", false],
    // Texts that would be one if login and address were joined.
    ["a", "b@example.com", false],
    ["a,b", "@example.com", false],
  ] as const;
  for (const round of [1, 2, 3]) {
    for (const [login, address, allowed] of questions) {
      assert.equal(remembering.maySend(login, split(address)), allowed, `${round} ${login} ${address}`);
    }
    if (round === 1) assert.ok(asked.length > 0);
    else assert.equal(asked.length, 0);
    asked.length = 0;
  }
});

Deno.test("AuthorInspector takes messages whose authors are all the login's", async () => {
  for (
    const fields of [
      "",
      "Subject: no From\r\n",
      "From: alice@example.com\r\n",
      "FROM: =?utf-8?q?Alic=C3=A9?= <alice+x@example.com>\r\n",
      'From: "Boss, Big" <alice@example.com> (bob@example.com)\r\n',
      "From:\r\n alice@example.com\r\n",
      "From: alice\r\n",
      "From:\r\n",
      "From: Alice <alice@example.com>, Sales <sales@example.com>\r\nSender: alice@example.com\r\n",
      "From: Us: alice@example.com, sales@example.com;\r\nSender: sales@example.com\r\n",
      "From: <info@example.com>\r\nReply-To: anybody@else.example\r\n",
    ]
  ) assert.equal(await refusal(fields), "", fields);
  assert.equal(await refusal("From: alice@bücher.example\r\n", { login: "alice@bücher.example" }), "");
});

Deno.test("AuthorInspector refuses authors and senders of others by name, however they are written", async () => {
  const cases: readonly (readonly [fields: string, expected: RegExp])[] = [
    ["From: bob@example.com\r\n", /^550 5\.7\.1 <bob@example\.com> is not an address of alice@example\.com$/],
    ["From: alice@example.com\r\nFrom: bob@example.com\r\n", /<bob@example\.com>/],
    ["From: alice@example.com, bob@example.com\r\nSender: alice@example.com\r\n", /<bob@example\.com>/],
    ["From: alice@example.com\r\nSender: bob@example.com\r\n", /<bob@example\.com>/],
    ["From: alice@example.com <bob@example.com>\r\n", /From field cannot be understood/],
    ["From: <alice@example.com> <bob@example.com>\r\n", /From field cannot be understood/],
    ["From : bob@example.com\r\n", /<bob@example\.com>/],
    ["from:\r\n\tbob@example.com\r\n", /<bob@example\.com>/],
    ["From: undisclosed:;\r\n", /From field cannot be understood/],
    ["From: alice\r\n bob@example.com\r\n", /cannot be understood/],
    ["From: bob\r\n", /<bob> is not/],
    ["From: b..b@example.com\r\n", /<b\.\.b@example\.com>/],
    ["From: Bob <@example.com:bob@example.com>\r\n", /cannot be understood/],
    ["From: alice@example.com, sales@example.com\r\n", /^550 5\.6\.0 .*Sender/],
    [`From: ${"alice@example.com, ".repeat(101)}\r\n`, /From field cannot be understood/],
  ];
  for (const [fields, expected] of cases) assert.match(await refusal(fields), expected, fields);
  assert.match(await refusal("Subject: x\r\n", { reversePath: false }), /^550 5\.7\.1 .*needs a From field/);
});

Deno.test("AuthorInspector never takes a From field that a reader finds another author in", async () => {
  const piece = fc.constantFrom(
    ...[
      "alice@example.com",
      "bob@example.com",
      "<",
      ">",
      ",",
      ";",
      ":",
      '"',
      "(",
      ")",
      "\\",
      " ",
      "@",
      "\r\n ",
    ],
    ...["Bob", "=?utf-8?q?x?=", "alice", "[", "]", "."],
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (pieces) => {
      const value = pieces.join("");
      if (await refusal(`From: ${value}\r\n`) !== "") return;
      // Comments and quoted strings name no address.
      const bare = value.replaceAll(/"(?:[^"\\]|\\.)*"|\((?:[^()\\]|\\.)*\)/gs, "");
      const addresses = bare.match(/bob@example\.com(?![^<]*<)/g) ?? [];
      assert.deepEqual(addresses, [], JSON.stringify(value));
    }),
    { seed: 6409, numRuns: 3000 },
  );
});
