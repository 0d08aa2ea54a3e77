import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { checkMailboxes, Mailboxes, MailboxesError, type MailboxesOptions } from "./mailboxes.ts";

const basic: MailboxesOptions = {
  domains: ["example.com", "example.net"],
  path: "/var/mail/{domain}/{user}",
  users: ["alice", "carol@example.com", "bob@example.net", "sören"],
  aliases: { postmaster: "alice", abuse: ["alice", "bob@example.net"] },
  subaddressSeparator: "+",
};

/** What an address leads to, as the mailboxes' addresses. */
function look(address: string, options: Partial<MailboxesOptions> = {}): string[] | string {
  const at = address.lastIndexOf("@");
  const split = at === -1
    ? { localPart: address, domain: "" }
    : { localPart: address.slice(0, at), domain: address.slice(at + 1) };
  const resolution = new Mailboxes({ ...basic, ...options }).resolve(split);
  return resolution.kind === "local" ? resolution.mailboxes.map(({ address }) => address) : resolution.kind;
}

function problems(options: Partial<MailboxesOptions>): string[] {
  return checkMailboxes({ ...basic, ...options }).map(({ key, value }) => `${key}=${value}`);
}

const RESOLUTIONS: Record<string, string[] | string> = {
  // users
  "alice@example.com": ["alice@example.com"],
  "alice@example.net": ["alice@example.net"],
  "bob@example.net": ["bob@example.net"],
  "bob@example.com": "unknown",
  "nobody@example.com": "unknown",
  "alice@example.org": "not-local",
  "alice@": "not-local",
  "alice@[127.0.0.1]": "not-local",
  "alice@sub.example.com": "not-local",
  // one meaning each
  "ALICE@EXAMPLE.Com": ["alice@example.com"],
  "alice@example.com.": ["alice@example.com"],
  "so\u0308ren@example.com": ["sören@example.com"],
  "SÖREN@example.com": ["sören@example.com"],
  // aliases and subaddresses
  "abuse@example.com": ["alice@example.com", "bob@example.net"],
  "abuse@example.net": ["alice@example.net", "bob@example.net"],
  "alice+lists@example.com": ["alice@example.com"],
  "alice+a+b@example.com": ["alice@example.com"],
  "alice+@example.com": ["alice@example.com"],
  [`alice+${"x".repeat(80)}@example.com`]: ["alice@example.com"],
  [`${"alice+".repeat(40)}@example.com`]: ["alice@example.com"],
  "+alice@example.com": "unknown",
  "abuse+x@example.net": ["alice@example.net", "bob@example.net"],
  // postmaster
  "postmaster": ["alice@example.com"],
  "PoStMaStEr": ["alice@example.com"],
  "PoStMaStEr@example.net": ["alice@example.net"],
  // unknown, whatever it looks like
  "../../etc@example.com": "unknown",
  "a/b@example.com": "unknown",
  ".@example.com": "unknown",
  "..@example.com": "unknown",
  "new@example.com": "unknown",
  "alice\0@example.com": "unknown",
  "~root@example.com": "unknown",
  "-x@example.com": "unknown",
  [`${"a".repeat(65)}@example.com`]: "unknown",
  [`alice+${"x".repeat(300)}@example.com`]: "unknown",
  "*@example.com": "unknown",
  "{user}@example.com": "unknown",
  "__proto__@example.com": "unknown",
  // ways to have us relay
  "u%x@example.com": "not-local",
  "a!b@example.com": "not-local",
  "u@x@example.com": "not-local",
};

for (const [address, expected] of Object.entries(RESOLUTIONS)) {
  Deno.test(`Mailboxes.resolve() of ${JSON.stringify(address.slice(0, 40))}`, () => {
    assert.deepEqual(look(address), expected);
  });
}

Deno.test("Mailboxes.resolve() knows an international domain by its U-label and its A-label", () => {
  const options = { domains: ["bücher.example"], users: ["alice"], aliases: { postmaster: "alice" } };
  for (
    const domain of ["bücher.example", "BÜCHER.example.", "xn--bcher-kva.example", "XN--BCHER-KVA.example"]
  ) {
    assert.deepEqual(look(`alice@${domain}`, options), ["alice@xn--bcher-kva.example"]);
  }
});

Deno.test("Mailboxes.resolve() gives each mailbox once, however many ways lead to it", () => {
  const aliases = {
    ...basic.aliases,
    team: ["alice", "Alice", "alice+x", "both"],
    both: ["alice", "alice@example.com"],
  };
  assert.deepEqual(look("team@example.com", { aliases }), ["alice@example.com"]);
});

Deno.test("Mailboxes.resolve() of an alias with a user's name: the alias, and the user where it names itself", () => {
  const aliases = { ...basic.aliases, alice: ["alice", "bob@example.net"], "carol@example.com": "alice" };
  assert.deepEqual(look("alice@example.com", { aliases }), ["alice@example.com", "bob@example.net"]);
  assert.deepEqual(look("carol@example.com", { aliases }), ["alice@example.com", "bob@example.net"]);
});

Deno.test("Mailboxes.resolve() gives the catch-all only names that could be a mailbox's", () => {
  const aliases = { ...basic.aliases, "*": "alice", "*@example.net": "bob" };
  assert.deepEqual(look("nobody@example.com", { aliases }), ["alice@example.com"]);
  assert.deepEqual(look("nobody@example.net", { aliases }), ["bob@example.net"]);
  assert.deepEqual(look("carol@example.com", { aliases }), ["carol@example.com"]);
  for (const name of ["../../etc", "a/b", ".", "..", "~root", "-x", "a\0", "a".repeat(255)]) {
    assert.equal(look(`${name}@example.com`, { aliases }), "unknown", name);
  }
  for (const name of ["u%x", "a!b", "u@x"]) {
    assert.equal(look(`${name}@example.com`, { aliases }), "not-local", name);
  }
});

Deno.test("Mailboxes.resolve() finds users and aliases of more than 64 octets, as some write them", () => {
  const long = `caf_=reply.${"x".repeat(75)}`;
  const mailboxes = new Mailboxes({
    ...basic,
    users: ["alice", long],
    aliases: { postmaster: "alice", ["y".repeat(200)]: long },
  });
  for (const localPart of [long, `${long}+detail`, "y".repeat(200)]) {
    const resolution = mailboxes.resolve({ localPart, domain: "example.com" });
    assert.ok(resolution.kind === "local");
    assert.deepEqual(resolution.mailboxes.map(({ path }) => path), [`/var/mail/example.com/${long}`]);
  }
});

Deno.test("Mailboxes.resolve() takes the longest name for a subaddress", () => {
  const options = {
    users: ["anna", "anna-maria"],
    aliases: { postmaster: "anna" },
    subaddressSeparator: "-",
  };
  assert.deepEqual(look("anna-maria-lists@example.com", options), ["anna-maria@example.com"]);
  assert.deepEqual(look("anna-maria-lists-deno@example.com", options), ["anna-maria@example.com"]);
  assert.deepEqual(look("anna-lists-deno@example.com", options), ["anna@example.com"]);
  assert.equal(look("-anna@example.com", options), "unknown");
});

Deno.test("Mailboxes.resolve() without a separator knows no subaddresses", () => {
  assert.equal(look("alice+x@example.com", { subaddressSeparator: "" }), "unknown");
  assert.deepEqual(look("alice-x@example.com", { subaddressSeparator: "-" }), ["alice@example.com"]);
});

Deno.test("Mailboxes.resolve() delivers to a user of another domain by alias only", () => {
  const options = { domains: ["example.com"], users: ["alice", "bob@example.net"] };
  assert.deepEqual(look("abuse@example.com", options), ["alice@example.com", "bob@example.net"]);
  assert.equal(look("bob@example.net", options), "not-local");
});

Deno.test("Mailboxes.resolve() never makes a path of what came over the network", () => {
  const aliases = { ...basic.aliases, "*": "alice" };
  const mailboxes = new Mailboxes({ ...basic, aliases });
  const paths = new Set(mailboxes.all().map(({ path }) => path));
  const localPart = fc.oneof(
    fc.string({
      unit: fc.integer({ min: 0, max: 0x2fff }).map((code) => String.fromCodePoint(code)),
      maxLength: 300,
    }),
    fc.string({
      unit: fc.constantFrom(".", "/", "+", "alice", "\0", "~", "-", "{user}", "$&"),
      maxLength: 8,
    }),
  );
  fc.assert(fc.property(localPart, fc.constantFrom(...basic.domains), (localPart, domain) => {
    const resolution = mailboxes.resolve({ localPart, domain });
    if (resolution.kind !== "local") return;
    for (const { path, root } of resolution.mailboxes) {
      assert.ok(paths.has(path), path);
      assert.equal(root, "/var/mail");
    }
  }));
});

Deno.test("Mailboxes.all() fills the path with domain and user", () => {
  const mailboxes = new Mailboxes({ ...basic, path: "/srv/x-{domain}/mail/{user}/Maildir" });
  assert.equal(mailboxes.root, "/srv");
  assert.deepEqual(mailboxes.all().map(({ path }) => path), [
    "/srv/x-example.com/mail/alice/Maildir",
    "/srv/x-example.com/mail/sören/Maildir",
    "/srv/x-example.net/mail/alice/Maildir",
    "/srv/x-example.net/mail/sören/Maildir",
    "/srv/x-example.com/mail/carol/Maildir",
    "/srv/x-example.net/mail/bob/Maildir",
  ]);
});

Deno.test("Mailboxes with one Maildir for a user of all domains deliver one copy", () => {
  const options = {
    path: "/var/mail/{user}",
    users: ["alice"],
    aliases: { postmaster: ["alice", "alice@example.net"] },
  };
  assert.deepEqual(look("postmaster@example.com", options), ["alice@example.com"]);
});

Deno.test("Mailboxes read the login names of people from the passwd file", async () => {
  const passwdFile = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(
      passwdFile,
      "root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nAda:x:1000:1000::/home/ada:/bin/sh\n" +
        "last:x:59999:1:::\nnobody:x:65534:65534:::\n../x:x:1001:1:::\nnew:x:1002:1:::\nbroken\n",
    );
    const options: MailboxesOptions = {
      ...basic,
      users: "system",
      aliases: { postmaster: "ada" },
      passwdFile,
    };
    const mailboxes = new Mailboxes({ ...options, domains: ["example.com"] });
    assert.deepEqual(mailboxes.all().map(({ address }) => address), ["ada@example.com", "last@example.com"]);
    assert.equal(mailboxes.resolve({ localPart: "root", domain: "example.com" }).kind, "unknown");
    assert.equal(mailboxes.resolve({ localPart: "ADA", domain: "example.com" }).kind, "local");
  } finally {
    await Deno.remove(passwdFile);
  }
});

const PROBLEMS: Record<string, { options: Partial<MailboxesOptions>; keys: string[] }> = {
  "there is no postmaster": {
    options: { aliases: {} },
    keys: ["mailboxes.aliases.postmaster="],
  },
  "a postmaster who leads nowhere, once": {
    options: { aliases: { postmaster: "nobody" } },
    keys: ["mailboxes.aliases.postmaster=nobody"],
  },
  "an alias that is there twice, written differently": {
    options: {
      aliases: {
        postmaster: "alice",
        Sales: "alice",
        sales: "sören",
        "x@Example.net": "alice",
        "x@example.net.": "bob",
      },
    },
    keys: ["mailboxes.aliases.sales=sales", 'mailboxes.aliases."x@example.net."=x@example.net.'],
  },
  "a user's name that would be a path": {
    options: {
      users: [
        "alice",
        "../../etc",
        "a/b",
        ".",
        "..",
        "new",
        "a\0",
        "~root",
        "-x",
        "a".repeat(255),
        "a@b@example.com",
      ],
    },
    keys: ["../../etc", "a/b", ".", "..", "new", "a\0", "~root", "-x", "a".repeat(255), "a@b@example.com"]
      .map((name) => `mailboxes.users=${name}`).concat(),
  },
  "a Maildir whose name is too long for the file system": {
    options: {
      path: "/var/mail/{user}.{domain}/Maildir",
      aliases: { postmaster: "alice" },
      users: ["alice", "a".repeat(244), `${"ü".repeat(121)}@example.com`, `${"ü".repeat(122)}@example.net`],
    },
    keys: [
      `${"a".repeat(244)}@example.com`,
      `${"a".repeat(244)}@example.net`,
      `${"ü".repeat(122)}@example.net`,
    ]
      .map((name) => `mailboxes.users=${name}`),
  },
  "an alias to an unknown address, to another domain, to itself": {
    options: {
      users: ["alice"],
      aliases: {
        postmaster: "alice",
        a: "b",
        b: "a",
        c: "nobody",
        d: "x@example.org",
        e: ["alice", "*"],
        f: [],
      },
    },
    keys: ["a=b", "b=a", "c=nobody", "d=x@example.org", "e=*", "f="].map((text) =>
      `mailboxes.aliases.${text}`
    ),
  },
  "a bare target that is missing in one of the domains": {
    options: { aliases: { postmaster: "alice", info: "carol" } },
    keys: ["mailboxes.aliases.info=carol"],
  },
  "no domain": {
    options: { domains: [], aliases: {} },
    keys: ["serve-in.domains="],
  },
  "what is not a domain": {
    options: { domains: ["exa mple", "example.com"] },
    keys: ["serve-in.domains=exa mple"],
  },
  "two accounts in one Maildir": {
    options: {
      path: "/var/mail/{user}",
      users: ["alice", "bob@example.com", "bob@example.net", "alice@example.net"],
    },
    keys: ["mailboxes.users=bob@example.net", "mailboxes.users=alice@example.net"],
  },
  "two accounts in one Maildir, as domain and user run into each other": {
    options: {
      path: "/var/mail/{domain}{user}",
      domains: ["example.co", "example.com"],
      users: ["bob", "mbob"],
      aliases: { postmaster: "bob" },
    },
    keys: ["mailboxes.users=mbob@example.co"],
  },
};

for (const [title, { options, keys }] of Object.entries(PROBLEMS)) {
  Deno.test(`checkMailboxes() reports ${title}`, () => {
    assert.deepEqual(problems(options), keys);
  });
}

for (
  const path of [
    "/var/mail/user",
    "/{user}",
    "/var/{user}/{home}",
    "/var/{user}/{user}",
    "/var/{user}/../x",
    "/v/{user",
  ]
) {
  Deno.test(`checkMailboxes() refuses the path ${path}`, () => {
    assert.deepEqual(problems({ path }), [`mailboxes.path=${path}`]);
  });
}

Deno.test("checkMailboxes() says what is allowed", () => {
  const [problem] = checkMailboxes({ ...basic, aliases: { postmaster: "alice", info: "carol" } });
  assert.match(problem?.problem ?? "", /no mailbox in example\.net; allowed are users and other aliases/);
});

Deno.test("checkMailboxes() finds nothing wrong with the example of the contract", () => {
  const aliases = { postmaster: "alice", abuse: ["alice", "bob@example.net"], "*": "alice" };
  const users = ["alice", "bob@example.net"];
  assert.deepEqual(checkMailboxes({ ...basic, domains: ["example.com"], users, aliases }), []);
});

Deno.test("new Mailboxes() throws what checkMailboxes() reports", () => {
  assert.throws(
    () => new Mailboxes({ ...basic, users: "system", passwdFile: "/nowhere" }),
    (error) => error instanceof MailboxesError && error.problems[0]?.key === "mailboxes.users",
  );
});

Deno.test("checkMailboxes() takes no pattern and no list for the name of an alias", () => {
  for (const key of ["/^a.*/", "/^a.*/i", "^a.*$", "a*", "*-list", "**", "alice,bob", "a*@example.com"]) {
    assert.deepEqual(problems({ aliases: { postmaster: "alice", [key]: "alice" } }), [
      `mailboxes.aliases.${JSON.stringify(key)}=${key}`,
    ], key);
  }
  for (const key of ["*", "*@example.com", "a/b", "o'neil", "x^y"]) {
    assert.deepEqual(problems({ aliases: { postmaster: "alice", [key]: "alice" } }), [], key);
  }
});
