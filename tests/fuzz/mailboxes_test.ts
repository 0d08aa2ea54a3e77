// No name from the network becomes a path.
import assert from "node:assert/strict";
import { fc } from "../support/property.ts";
import { Mailboxes, type MailboxesOptions } from "../../maildir/mailboxes.ts";
import { AddressError, parsePath } from "../../smtp/address.ts";

const base: MailboxesOptions = {
  domains: ["here.example", "hêre.example"],
  path: "/srv/mail/{domain}/{user}",
  users: ["alice", "bob@here.example", "josé", "o'neil", "a.b"],
  aliases: { postmaster: "alice", all: ["alice", "bob@here.example"], "*@here.example": "alice" },
  subaddressSeparator: "+",
};
const settings = [
  base,
  { ...base, path: "/srv/mail/{user}", users: ["alice", "bob"], aliases: { postmaster: "alice" } },
  {
    ...base,
    path: "/srv/{user}/Maildir",
    users: ["alice", "bob"],
    aliases: { postmaster: "bob", "*": "bob" },
  },
  { ...base, subaddressSeparator: "-" },
].map((options) => new Mailboxes(options));

const parts = fc.constantFrom(
  ...[
    "alice",
    "ALICE",
    "bob",
    "josé",
    "jose\u0301",
    "postmaster",
    "all",
    "o'neil",
    "a.b",
    "nobody",
    "root",
    "{user}",
  ],
  ...[
    "+",
    "-",
    "+x",
    "..",
    ".",
    "/",
    "\\",
    "../",
    "../../etc/passwd",
    "~",
    "~root",
    "new",
    "cur",
    "tmp",
    "\0",
    "%2e%2e%2f",
  ],
  ...[
    "$&",
    "$1",
    "$`",
    "{domain}",
    "@",
    "!",
    "%",
    " ",
    "\u202e",
    "\uff0f",
    "\u2024",
    "x".repeat(64),
    "*",
    "__proto__",
  ],
);
const localParts = fc.oneof(
  fc.array(parts, { maxLength: 4 }).map((texts) => texts.join("")),
  fc.string({ unit: "binary", maxLength: 20 }),
);
const domains = fc.constantFrom(
  ...[
    "here.example",
    "HERE.example.",
    "hêre.example",
    "xn--hre-fma.example",
    "",
    "elsewhere.test",
    "..",
    "../here.example",
  ],
  ...["here.example/..", "[127.0.0.1]", "{user}", "*", "constructor", "here.example\0"],
);

Deno.test("Mailboxes.resolve() gives the Maildirs of configured users and no other path (property)", () => {
  fc.assert(
    fc.property(fc.constantFrom(...settings), localParts, domains, (mailboxes, localPart, domain) => {
      const known = new Set(mailboxes.all().map(({ path }) => path));
      const resolution = mailboxes.resolve({ localPart, domain });
      if (resolution.kind !== "local") return;
      assert.ok(resolution.mailboxes.length > 0);
      for (const { path, root } of resolution.mailboxes) {
        assert.ok(known.has(path), `${JSON.stringify(localPart)} became ${path}`);
        assert.ok(path.startsWith(`${root}/`));
        assert.equal(root, mailboxes.root);
      }
    }),
    { numRuns: 6000 },
  );
});

Deno.test("Mailboxes.resolve() means the same by an address however RCPT spells it (property)", () => {
  const users = fc.constantFrom("alice", "bob", "a.b", "alice+x", "nobody");
  fc.assert(
    fc.property(fc.constantFrom(...settings), users, fc.boolean(), (mailboxes, user, upper) => {
      const plain = mailboxes.resolve({ localPart: user, domain: "here.example" });
      const spelled = upper ? user.toUpperCase() : user;
      for (
        const path of [
          `${spelled}@HERE.example.`,
          `"${spelled}"@here.example`,
          `@r.test:"${spelled}"@Here.Example`,
        ]
      ) {
        const parsed = parsePath(`<${path}>`, { smtputf8: false, bare: "none" }).path;
        assert.ok(parsed !== null);
        assert.deepEqual(mailboxes.resolve(parsed), plain, path);
      }
    }),
    { numRuns: 200 },
  );
  assert.throws(() => parsePath("<a\0b@here.example>", { smtputf8: false, bare: "none" }), AddressError);
});
