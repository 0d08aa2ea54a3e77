// DMARC asked of a real named: each kind of zone with its outcome.
import assert from "node:assert/strict";
import { systemClock } from "../../base/clock.ts";
import { DnsResolver } from "../../dns/resolver.ts";
import { type CheckedDomain, evaluateDmarc } from "../../dmarc/evaluate.ts";
import { FAILING, startBind } from "../support/peers/bind.ts";
import { testWith } from "../support/requires.ts";

const ZONES: Parameters<typeof startBind>[0] = {
  // A public suffix, as .bank is.
  "suffix":
    '_dmarc TXT "v=DMARC1; p=quarantine; np=reject; psd=y"\nregistered A 192.0.2.1\n_dmarc.own TXT "v=DMARC1; p=none"',
  "test": "nothing A 192.0.2.1",
  "example.test": `_dmarc TXT "v=DMARC1; " "p=reject; sp=quarantine; " "np=reject; pct=0"
mail A 192.0.2.1
_dmarc.own TXT "v=DMARC1; p=none; psd=n"
own A 192.0.2.1
a.own A 192.0.2.1
deep.a.b.c.d.e.f A 192.0.2.1
*.wild A 192.0.2.1
@ TXT "v=spf1 -all"`,
  "strict.test": '_dmarc TXT "v=DMARC1; p=reject; adkim=s; aspf=s"\nmail A 192.0.2.1',
  "two.test": '_dmarc TXT "v=DMARC1; p=reject"\n_dmarc TXT "v=DMARC1; p=none"\n_dmarc.sub TXT "v=spf1 -all"',
  "trial.test": '_dmarc TXT "v=DMARC1; p=reject; t=y"',
  "noisy.test": '_dmarc TXT "hello"\n_dmarc TXT "v=DMARC1; p=quarantine"\n_dmarc TXT "v=DMARC2; p=reject"',
  "nopolicy.test": '_dmarc TXT "v=DMARC1; adkim=s"',
  "reports.test": '_dmarc TXT "v=DMARC1; rua=mailto:d@reports.test"',
  "alias.test": '_dmarc CNAME policy\npolicy TXT "v=DMARC1; p=quarantine"',
  "failing.test": FAILING,
  "_dmarc.bad.example.test": FAILING,
  "_dmarc.up.test": FAILING,
  "up.test": "mail A 192.0.2.1",
};

const NONE: CheckedDomain = { result: "none" };
const pass = (domain: string): CheckedDomain => ({ domain, result: "pass" });

/** Author, SPF, DKIM, and the outcome: result, disposition, the domain of the policy. */
const ROWS:
  readonly (readonly [row: string, author: string, CheckedDomain, CheckedDomain, outcome: string])[] = [
    ["at the domain", "example.test", NONE, NONE, "fail reject example.test"],
    ["at the domain, below the organization", "own.example.test", NONE, NONE, "fail none own.example.test"],
    ["at the organizational domain", "mail.example.test", NONE, NONE, "fail quarantine example.test"],
    ["at the organizational domain psd=n", "a.own.example.test", NONE, NONE, "fail none own.example.test"],
    [
      "at the organizational domain, deep",
      "deep.a.b.c.d.e.f.example.test",
      NONE,
      NONE,
      "fail quarantine example.test",
    ],
    ["at a public suffix", "registered.suffix", NONE, NONE, "fail quarantine suffix"],
    ["at a public suffix, np", "gone.suffix", NONE, NONE, "fail reject suffix"],
    [
      "at a public suffix, aligned below it",
      "registered.suffix",
      pass("a.registered.suffix"),
      NONE,
      "pass none suffix",
    ],
    [
      "at a public suffix, for a neighbour",
      "registered.suffix",
      pass("neighbour.suffix"),
      NONE,
      "fail quarantine suffix",
    ],
    ["at the domain below a public suffix", "own.suffix", NONE, NONE, "fail none own.suffix"],
    ["the public suffix itself", "suffix", pass("suffix"), NONE, "pass none suffix"],
    ["not at all", "nothing.test", pass("nothing.test"), NONE, "none none"],
    ["not at all, for a name that does not exist", "gone.test", NONE, NONE, "none none"],
    ["two records", "two.test", NONE, NONE, "none none"],
    ["two records, above", "sub.two.test", NONE, NONE, "none none"],
    ["other records beside it", "noisy.test", NONE, NONE, "fail quarantine noisy.test"],
    ["np", "gone.example.test", NONE, NONE, "fail reject example.test"],
    ["np, but of a wildcard", "any.wild.example.test", NONE, NONE, "fail quarantine example.test"],
    ["np, but with names below it", "f.example.test", NONE, NONE, "fail quarantine example.test"],
    ["t=y", "trial.test", NONE, NONE, "fail quarantine trial.test"],
    ["an alias", "alias.test", NONE, NONE, "fail quarantine alias.test"],
    ["without p=", "nopolicy.test", NONE, NONE, "permerror none nopolicy.test"],
    ["without p=, with reports", "reports.test", NONE, NONE, "fail none reports.test"],
    ["relaxed, SPF", "example.test", pass("mail.example.test"), NONE, "pass none example.test"],
    ["relaxed, DKIM", "mail.example.test", NONE, pass("example.test"), "pass none example.test"],
    [
      "relaxed, another organization",
      "example.test",
      pass("own.example.test"),
      NONE,
      "fail reject example.test",
    ],
    ["strict, the same", "strict.test", NONE, pass("strict.test"), "pass none strict.test"],
    ["strict, SPF below", "strict.test", pass("mail.strict.test"), NONE, "fail reject strict.test"],
    ["strict, DKIM below", "strict.test", NONE, pass("mail.strict.test"), "fail reject strict.test"],
    ["DNS fails at the domain", "failing.test", pass("failing.test"), NONE, "temperror none"],
    ["DNS fails at the record", "bad.example.test", pass("example.test"), NONE, "temperror none"],
    ["DNS fails above the domain", "mail.up.test", NONE, NONE, "temperror none"],
    [
      "DNS fails at the identifier",
      "example.test",
      pass("bad.example.test"),
      NONE,
      "temperror none example.test",
    ],
    [
      "DNS fails at one of two identifiers",
      "example.test",
      pass("bad.example.test"),
      pass("example.test"),
      "pass none example.test",
    ],
    ["DNS fails elsewhere", "example.test", pass("failing.test"), NONE, "fail reject example.test"],
  ];

testWith(["named"], "DMARC is found, or not, in the zones of BIND", async (t) => {
  await using bind = await startBind(ZONES);
  const resolver = new DnsResolver({ clock: systemClock, servers: [`127.0.0.1:${bind.port}`] });
  for (const [row, author, spf, dkim, outcome] of ROWS) {
    await t.step(row, async () => {
      const verdict = await evaluateDmarc({ authors: [author], spf, dkim: [dkim], resolver });
      const { result, disposition, policyDomain } = verdict;
      const seen = [result, disposition, ...(policyDomain === undefined ? [] : [policyDomain])].join(" ");
      assert.equal(seen, outcome, verdict.why);
    });
  }
});
