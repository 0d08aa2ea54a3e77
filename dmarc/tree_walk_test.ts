import assert from "node:assert/strict";
import { type StaticName, StaticResolver } from "../tests/support/static_resolver.ts";
import { TreeWalk, walkNames } from "./tree_walk.ts";

const EIGHT = "a.b.c.d.e.f.example.test";

Deno.test("walkNames() has at most eight names, the whole first, the top-level domain last", () => {
  assert.deepEqual(walkNames("test"), ["test"]);
  assert.deepEqual(walkNames("a.mail.example.test"), [
    "a.mail.example.test",
    "mail.example.test",
    "example.test",
    "test",
  ]);
  assert.deepEqual(walkNames(EIGHT).length, 8);
  assert.equal(walkNames(EIGHT)[1], "b.c.d.e.f.example.test");
  assert.deepEqual(walkNames("a.b.c.d.e.f.g.h.i.j.mail.example.test"), [
    "a.b.c.d.e.f.g.h.i.j.mail.example.test",
    "g.h.i.j.mail.example.test",
    "h.i.j.mail.example.test",
    "i.j.mail.example.test",
    "j.mail.example.test",
    "mail.example.test",
    "example.test",
    "test",
  ]);
});

const walk = (records: Readonly<Record<string, string | readonly string[] | "fails">>) => {
  const names: Record<string, StaticName> = {};
  for (const [domain, text] of Object.entries(records)) {
    names[`_dmarc.${domain}`] = text === "fails" ? { fails: ["txt"] } : { txt: [text].flat() };
  }
  const resolver = new StaticResolver(names);
  return { resolver, tree: new TreeWalk(resolver) };
};

Deno.test("TreeWalk finds the Organizational Domain by the rules of RFC 9989 §4.10.2", async () => {
  const domain = "a.mail.example.test";
  const p = "v=DMARC1; p=none";
  for (
    const [records, organization, policyDomain] of [
      [{}, domain, undefined],
      [{ "mail.example.test": p, "example.test": p }, "example.test", "example.test"],
      [{ "mail.example.test": `${p}; psd=n`, "example.test": p }, "mail.example.test", "mail.example.test"],
      [{ "test": `${p}; psd=y` }, "example.test", "test"],
      [{ "example.test": p, "test": `${p}; psd=y` }, "example.test", "example.test"],
      [{ "mail.example.test": p, "test": `${p}; psd=y` }, "example.test", "test"],
      [{ [domain]: `${p}; psd=y`, "example.test": p }, domain, domain],
      [{ [domain]: `${p}; psd=n`, "example.test": p }, domain, domain],
      [{ [domain]: p, "test": p }, "test", "test"],
      [{ "example.test": `${p}; psd=u` }, "example.test", "example.test"],
      [{ "mail.example.test": p, "example.test": [p, p] }, "mail.example.test", "mail.example.test"],
      [{ "mail.example.test": p, "example.test": "v=spf1" }, "mail.example.test", "mail.example.test"],
      [{ "example.test": p, "test": "fails" }, "example.test", "example.test"],
    ] as const
  ) {
    const found = await walk(records).tree.organization(domain);
    assert.ok(found.kind === "found", JSON.stringify(records));
    assert.deepEqual(
      [found.domain, found.policy?.domain],
      [organization, policyDomain],
      JSON.stringify(records),
    );
  }
});

Deno.test("TreeWalk says where DNS failed, wherever that could change the result", async () => {
  const p = "v=DMARC1; p=none";
  for (
    const records of [
      { "a.mail.example.test": "fails" },
      { "mail.example.test": "fails", "example.test": p },
      { "example.test": "fails" },
      { "test": "fails" },
      { "mail.example.test": p, "test": "fails" },
    ] as const
  ) {
    const found = await walk(records).tree.organization("a.mail.example.test");
    assert.equal(found.kind, "failed", JSON.stringify(records));
  }
});

Deno.test("TreeWalk asks each name once, and stops at psd", async () => {
  const { tree, resolver } = walk({ "example.test": "v=DMARC1; psd=n; p=none" });
  await Promise.all([tree.organization("a.example.test"), tree.organization("b.example.test")]);
  await tree.lookUp("example.test");
  assert.deepEqual(resolver.asked.toSorted(), [
    "txt _dmarc.a.example.test",
    "txt _dmarc.b.example.test",
    "txt _dmarc.example.test",
  ]);
});

Deno.test("TreeWalk tells a name that does not exist from an alias to one", async () => {
  const resolver = new StaticResolver({
    "there.test": {},
    "alias.test": { cname: "gone.test" },
    "broken.test": { fails: ["*"] },
  });
  const tree = new TreeWalk(resolver);
  assert.equal(await tree.exists("there.test"), true);
  assert.equal(await tree.exists("alias.test"), true);
  assert.equal(await tree.exists("gone.test"), false);
  assert.equal(await tree.exists("broken.test"), undefined);
});
