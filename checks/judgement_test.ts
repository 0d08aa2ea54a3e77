import assert from "node:assert/strict";
import type { DmarcVerdict } from "../dmarc/evaluate.ts";
import type { SpfVerdict } from "../spf/check.ts";
import { writeAuthenticationResults } from "./authentication_results.ts";
import type { ListAction, Listing } from "./dns_lists.ts";
import { describeFindings, type Findings, judge } from "./judgement.ts";

const IDENTITY = { ip: "192.0.2.1", helo: "mx.example.net", mailFrom: "a@example.net" };

const spf = (result: SpfVerdict["result"]): SpfVerdict => ({
  result,
  domain: "example.net",
  identity: "mailfrom",
  reason: "-all",
});
const dmarc = (
  disposition: DmarcVerdict["disposition"],
  result: DmarcVerdict["result"] = "fail",
): DmarcVerdict => ({
  result,
  author: "example.net",
  policyDomain: "example.net",
  policy: disposition,
  disposition,
  why: "neither SPF nor DKIM authenticates example.net",
});
const listed = (action: ListAction, text?: string): Listing => ({
  list: { zone: `${action}.list`, action },
  code: "127.0.0.2",
  ...(text !== undefined && { text }),
});

const FINE: Findings = {
  spf: spf("pass"),
  iprev: { result: "pass", name: "mx.example.net" },
  listings: [],
  dkim: [],
};

const judged = (
  findings: Partial<Findings>,
  options: { enforceDmarc?: boolean; trustedSealers?: string[] } = {},
) =>
  judge({ ...FINE, ...findings }, { identity: IDENTITY, enforceDmarc: true, trustedSealers: [], ...options });

const brief = (...args: Parameters<typeof judged>) => {
  const { action, junk } = judged(...args);
  return `${action}${junk ? " junk" : ""}`;
};

Deno.test("judge() does what DMARC asks for where that is enforced", () => {
  assert.equal(brief({}), "accept");
  assert.equal(brief({ dmarc: dmarc("reject") }), "refuse");
  assert.equal(brief({ dmarc: dmarc("quarantine") }), "accept junk");
  assert.equal(brief({ dmarc: dmarc("none") }), "accept");
  assert.equal(brief({ dmarc: dmarc("none", "temperror") }), "accept");
  assert.equal(brief({ dmarc: dmarc("reject") }, { enforceDmarc: false }), "accept");
  assert.equal(brief({ dmarc: dmarc("quarantine") }, { enforceDmarc: false }), "accept");
  assert.equal(
    judged({ dmarc: dmarc("reject") }).why,
    "DMARC policy of example.net: neither SPF nor DKIM authenticates example.net",
  );
});

Deno.test("judge() lets the chain of a trusted sealer outweigh a failure of DMARC, and names it", () => {
  const options = { trustedSealers: ["lists.example.org"] };
  const arc = { result: "pass", sealer: "lists.example.org" };
  for (const disposition of ["reject", "quarantine"] as const) {
    assert.equal(brief({ dmarc: dmarc(disposition), arc }, options), "accept");
    assert.match(
      judged({ dmarc: dmarc(disposition), arc }, options).why,
      /lists\.example\.org, which is trusted/,
    );
    assert.notEqual(brief({ dmarc: dmarc(disposition), arc }), "accept");
    assert.notEqual(brief({ dmarc: dmarc(disposition), arc: { ...arc, result: "fail" } }, options), "accept");
    assert.notEqual(
      brief({ dmarc: dmarc(disposition), arc: { ...arc, sealer: "evil.example" } }, options),
      "accept",
    );
  }
  assert.equal(brief({ dmarc: dmarc("reject"), arc, listings: [listed("junk")] }, options), "accept junk");
  assert.equal(brief({ dmarc: dmarc("reject"), arc, listings: [listed("refuse")] }, options), "refuse");
});

Deno.test("judge() does what the lists say, an allow list before the others, and with the list's own words", () => {
  assert.equal(brief({ listings: [listed("refuse")] }), "refuse");
  assert.equal(brief({ listings: [listed("junk")] }), "accept junk");
  assert.equal(brief({ listings: [listed("junk"), listed("refuse"), listed("allow")] }), "accept");
  assert.equal(brief({ listings: [listed("allow")], dmarc: dmarc("reject") }), "refuse");
  assert.equal(judged({ listings: [listed("allow")] }).allowed, true);
  assert.equal(
    judged({ listings: [listed("refuse", "see https://refuse.list/")] }).why,
    "192.0.2.1 is listed by refuse.list: see https://refuse.list/",
  );
});

Deno.test("judge() suspects who fails both SPF and reverse DNS, or is listed for junk", () => {
  const suspicious = (findings: Partial<Findings>) => judged(findings).suspicious;
  assert.equal(suspicious({}), false);
  assert.equal(suspicious({ spf: spf("fail") }), false);
  assert.equal(suspicious({ iprev: { result: "permerror" } }), false);
  for (const result of ["fail", "softfail"] as const) {
    for (const iprev of ["fail", "permerror"] as const) {
      assert.equal(suspicious({ spf: spf(result), iprev: { result: iprev } }), true);
    }
    assert.equal(suspicious({ spf: spf(result), iprev: { result: "temperror" } }), false);
  }
  assert.equal(suspicious({ spf: spf("temperror"), iprev: { result: "fail" } }), false);
  assert.equal(suspicious({ listings: [listed("junk")] }), true);
  assert.equal(suspicious({ listings: [listed("junk"), listed("allow")] }), false);
});

Deno.test("describeFindings() has all of it for Authentication-Results", () => {
  const findings: Findings = {
    spf: spf("softfail"),
    heloSpf: { result: "pass", domain: "mx.example.net", identity: "helo", reason: "a" },
    dkim: [
      {
        result: "pass",
        domain: "example.net",
        selector: "s1",
        algorithm: "rsa-sha256",
        signature: "AbC+/=12",
      },
      { result: "permerror", reason: "key too short (512 bits)" },
    ],
    arc: { result: "pass", sealer: "lists.example.org" },
    dmarc: dmarc("reject"),
    iprev: { result: "fail" },
    listings: [listed("junk"), listed("allow")],
  };
  assert.deepEqual(
    writeAuthenticationResults("mx.example.com", describeFindings(findings, IDENTITY)).split("\r\n"),
    [
      "Authentication-Results: mx.example.com;",
      "\tspf=softfail (-all) smtp.mailfrom=a@example.net;",
      "\tspf=pass smtp.helo=mx.example.net;",
      "\tdkim=pass header.d=example.net header.s=s1 header.a=rsa-sha256",
      '\theader.b="AbC+/=12";',
      "\tdkim=permerror (key too short [512 bits]);",
      "\tarc=pass smtp.remote-ip=192.0.2.1;",
      "\tdmarc=fail (p=reject dis=reject) header.from=example.net;",
      "\tiprev=fail policy.iprev=192.0.2.1;",
      "\tdnswl=pass dns.zone=allow.list policy.ip=127.0.0.2",
    ],
  );
  const unclear = describeFindings({
    ...FINE,
    spf: { ...spf("temperror"), reason: "TXT of example.net: no answer from 10.0.0.1" },
    dmarc: { ...dmarc("none", "temperror"), why: "TXT of _dmarc.example.net: no answer from 10.0.0.1" },
  }, IDENTITY);
  assert.doesNotMatch(writeAuthenticationResults("mx.example.com", unclear), /10\.0\.0\.1/);
  const nothing = describeFindings({ iprev: { result: "permerror" }, listings: [] }, IDENTITY);
  assert.deepEqual(nothing.map(({ method }) => method), ["iprev"]);
  const unsigned = describeFindings({ ...FINE, arc: { result: "none" } }, {
    ...IDENTITY,
    mailFrom: "ü@example.net",
  });
  assert.deepEqual(unsigned.map(({ method, result, properties }) => [method, result, properties?.[0]?.[2]]), [
    ["spf", "pass", "example.net"],
    ["dkim", "none", undefined],
    ["arc", "none", undefined],
    ["iprev", "pass", "192.0.2.1"],
  ]);
});
