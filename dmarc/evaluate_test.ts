import assert from "node:assert/strict";
import { type StaticName, StaticResolver } from "../tests/support/static_resolver.ts";
import { type DmarcQuestion, type DmarcVerdict, evaluateDmarc } from "./evaluate.ts";

const ZONE: Readonly<Record<string, StaticName>> = {
  "_dmarc.bank.test": { txt: ["v=DMARC1; p=reject; sp=quarantine; np=reject"] },
  "bank.test": {},
  "news.bank.test": {},
  "_dmarc.own.bank.test": { txt: ["v=DMARC1; p=none"] },
  "_dmarc.strict.test": { txt: ["v=DMARC1; p=reject; adkim=s; aspf=s"] },
  "_dmarc.trial.test": { txt: ["v=DMARC1; p=reject; t=y"] },
  "_dmarc.mild.test": { txt: ["v=DMARC1; p=quarantine; t=y; pct=0"] },
  "_dmarc.wrong.test": { txt: ["v=DMARC1; p=block"] },
  "_dmarc.broken.test": { fails: ["txt"] },
  "_dmarc.twice.test": { txt: ["v=DMARC1; p=reject", "v=DMARC1; p=none"] },
  "_dmarc.watch.test": { txt: ["v=DMARC1; p=none"] },
  "_dmarc.half.bank.test": { fails: ["txt"] },
};

const evaluate = (
  question: Partial<DmarcQuestion>,
  resolver = new StaticResolver(ZONE),
): Promise<DmarcVerdict> =>
  evaluateDmarc({ authors: ["bank.test"], spf: { result: "none" }, dkim: [], resolver, ...question });

const brief = async (question: Partial<DmarcQuestion>) => {
  const { result, disposition, policyDomain } = await evaluate(question);
  return [result, disposition, ...(policyDomain === undefined ? [] : [policyDomain])].join(" ");
};

const spf = (domain: string, result = "pass") => ({ domain, result });
const dkim = (domain: string, result = "pass") => [{ domain, result }];

Deno.test("evaluateDmarc() takes one aligned identifier that passes, relaxed by the organization", async () => {
  const pass = "pass none bank.test";
  assert.equal(await brief({ spf: spf("bank.test") }), pass);
  assert.equal(await brief({ spf: spf("bounce.news.bank.test") }), pass);
  assert.equal(await brief({ dkim: dkim("news.bank.test") }), pass);
  assert.equal(
    await brief({ dkim: [...dkim("other.test"), ...dkim("bank.test", "fail"), ...dkim("BANK.test.")] }),
    pass,
  );
  assert.equal(await brief({ authors: ["news.bank.test"], dkim: dkim("bank.test") }), pass);
  assert.equal(await brief({ authors: ["a.bank.test"], spf: spf("b.bank.test") }), pass);
});

Deno.test("evaluateDmarc() fails what is not authenticated, or for others", async () => {
  const fail = "fail reject bank.test";
  assert.equal(await brief({}), fail);
  assert.equal(await brief({ spf: spf("bank.test", "softfail"), dkim: dkim("bank.test", "fail") }), fail);
  assert.equal(await brief({ spf: spf("other.test"), dkim: dkim("bank.test.evil.test") }), fail);
  assert.equal(await brief({ spf: spf("evilbank.test") }), fail);
  assert.equal(await brief({ spf: { result: "pass" } }), fail);
  assert.equal(await brief({ spf: spf("not a domain") }), fail);
});

Deno.test("evaluateDmarc() keeps strict alignment, of each mechanism by itself", async () => {
  const authors = ["strict.test"];
  assert.equal(await brief({ authors, spf: spf("strict.test") }), "pass none strict.test");
  assert.equal(await brief({ authors, spf: spf("mail.strict.test") }), "fail reject strict.test");
  assert.equal(await brief({ authors, dkim: dkim("mail.strict.test") }), "fail reject strict.test");
  const resolver = new StaticResolver({ "_dmarc.x.test": { txt: ["v=DMARC1; p=reject; aspf=s"] } });
  assert.equal((await evaluate({ authors: ["x.test"], spf: spf("a.x.test") }, resolver)).result, "fail");
  assert.equal((await evaluate({ authors: ["x.test"], dkim: dkim("a.x.test") }, resolver)).result, "pass");
});

Deno.test("evaluateDmarc() takes sp below the domain, np where the name does not exist, t as one level milder", async () => {
  assert.equal(await brief({ authors: ["news.bank.test"] }), "fail quarantine bank.test");
  assert.equal(await brief({ authors: ["made-up.bank.test"] }), "fail reject bank.test");
  assert.equal(await brief({ authors: ["own.bank.test"] }), "fail none own.bank.test");
  assert.equal(await brief({ authors: ["trial.test"] }), "fail quarantine trial.test");
  assert.equal(await brief({ authors: ["mild.test"] }), "fail none mild.test");
  assert.equal((await evaluate({ authors: ["trial.test"] })).policy, "reject");
  const resolver = new StaticResolver({ "_dmarc.x.test": { txt: ["v=DMARC1; p=none; np=reject"] } });
  assert.equal((await evaluate({ authors: ["a.x.test"] }, resolver)).disposition, "reject");
  const sure = new StaticResolver({ "_dmarc.x.test": { txt: ["v=DMARC1; p=reject"] } });
  assert.equal((await evaluate({ authors: ["a.x.test"] }, sure)).disposition, "reject");
  assert.ok(!sure.asked.includes("cname a.x.test"));
});

Deno.test("evaluateDmarc() has no opinion without a policy, and says why", async () => {
  assert.equal(await brief({ authors: [] }), "none none");
  assert.equal(await brief({ authors: ["nobody.test"] }), "none none");
  assert.equal(await brief({ authors: ["twice.test"] }), "none none");
  assert.match((await evaluate({ authors: ["twice.test"] })).why, /twice\.test has 2 DMARC records/);
  assert.equal(await brief({ authors: ["wrong.test"], spf: spf("wrong.test") }), "permerror none wrong.test");
  assert.equal(await brief({ authors: ["watch.test"] }), "fail none watch.test");
});

Deno.test("evaluateDmarc() is temperror where DNS fails and that matters, and rejects nothing for it", async () => {
  assert.equal(await brief({ authors: ["broken.test"], spf: spf("broken.test") }), "temperror none");
  assert.equal(await brief({ spf: spf("half.bank.test") }), "temperror none bank.test");
  assert.equal(await brief({ spf: spf("half.bank.test"), dkim: dkim("bank.test") }), "pass none bank.test");
  assert.equal(await brief({ spf: spf("bank.test", "temperror") }), "temperror none bank.test");
  assert.equal(await brief({ dkim: dkim("news.bank.test", "temperror") }), "temperror none bank.test");
  assert.equal(await brief({ dkim: dkim("other.test", "temperror") }), "fail reject bank.test");
  const resolver = new StaticResolver({ ...ZONE, "news.bank.test": { fails: ["cname"] } });
  assert.equal((await evaluate({ authors: ["news.bank.test"] }, resolver)).result, "temperror");
});

Deno.test("evaluateDmarc() takes the strictest of several authors", async () => {
  assert.equal(await brief({ authors: ["nobody.test", "bank.test"] }), "fail reject bank.test");
  assert.equal(
    await brief({ authors: ["bank.test", "watch.test"], spf: spf("bank.test") }),
    "fail none watch.test",
  );
  assert.equal(await brief({ authors: ["bank.test", "nobody.test"], spf: spf("bank.test") }), "none none");
  assert.equal(
    await brief({ authors: ["bank.test", "broken.test"], spf: spf("bank.test") }),
    "temperror none",
  );
  assert.equal(
    await brief({ authors: ["bank.test", "BANK.test"], spf: spf("bank.test") }),
    "pass none bank.test",
  );
});

Deno.test("evaluateDmarc() is bounded whatever a message names", async () => {
  const many = Array.from({ length: 11 }, (_, i) => `d${i}.test`);
  const crowd = await evaluate({ authors: [...many, "bank.test"] });
  assert.deepEqual([crowd.result, crowd.disposition], ["permerror", "reject"]);
  const resolver = new StaticResolver(ZONE);
  const deep = `${"a.".repeat(100)}bank.test`;
  const signatures = Array.from({ length: 1000 }, (_, i) => ({ domain: `s${i}.${deep}`, result: "pass" }));
  await evaluate({ authors: [deep], dkim: signatures }, resolver);
  assert.ok(resolver.asked.length <= 8 + 1 + 20, String(resolver.asked.length));
});

Deno.test("evaluateDmarc() says what failed in printable ASCII", async () => {
  const { why } = await evaluate({
    spf: spf("b.test", "softfail"),
    dkim: [...dkim("x\r\n250 ok"), ...dkim("c.test", "fail")],
  });
  assert.equal(
    why,
    "neither SPF nor DKIM authenticates bank.test: SPF softfail for b.test, DKIM pass, DKIM fail for c.test",
  );
});
