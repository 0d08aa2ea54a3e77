import assert from "node:assert/strict";
import { dmarcRecords, parseDmarcRecord } from "./record.ts";

Deno.test("dmarcRecords() takes what begins with v=DMARC1, exactly so", () => {
  const good = [
    "v=DMARC1",
    "v=DMARC1;",
    "v=DMARC1; p=none",
    "v = DMARC1 ;p=none",
    "v=DMARC1\t; p=none",
    "V=DMARC1",
  ];
  const bad = [
    "v=dmarc1; p=none",
    "v=DMARC1x; p=none",
    "v=DMARC2; p=none",
    "p=none; v=DMARC1",
    " v=DMARC1",
    "",
    "x",
  ];
  assert.deepEqual(dmarcRecords([...bad, ...good]), good);
});

Deno.test("parseDmarcRecord() reads the tags that it knows and ignores the others", () => {
  assert.deepEqual(
    parseDmarcRecord("v=DMARC1;p=REJECT ; sp = none;np=quarantine; adkim=s;aspf=S;psd=y;t=y;pct=0;x=1;;"),
    {
      text: "v=DMARC1;p=REJECT ; sp = none;np=quarantine; adkim=s;aspf=S;psd=y;t=y;pct=0;x=1;;",
      policy: "reject",
      subdomainPolicy: "none",
      nonexistentPolicy: "quarantine",
      dkimAlignment: "strict",
      spfAlignment: "strict",
      psd: "y",
      testing: true,
    },
  );
  const { text: _, ...defaults } = parseDmarcRecord(
    "v=DMARC1; p=quarantine; adkim=x; psd=maybe; t=1; junk; =; p=none",
  );
  assert.deepEqual(defaults, {
    policy: "quarantine",
    dkimAlignment: "relaxed",
    spfAlignment: "relaxed",
    psd: "u",
    testing: false,
  });
});

Deno.test("parseDmarcRecord() takes a policy that cannot be told as none where reports are wanted, else as an error", () => {
  for (
    const [tags, wrong] of [
      ["", "it has no p="],
      ["; sp=reject", "it has no p="],
      ["; p=block", "p=block is none of none, quarantine, reject"],
      ["; p=", "p= is none of none, quarantine, reject"],
      ["; p=reject; sp=all", "sp=all is none of none, quarantine, reject"],
      ["; p=reject; np=\u001b[31mx", "np=?[31mx is none of none, quarantine, reject"],
    ] as const
  ) {
    assert.equal(parseDmarcRecord(`v=DMARC1${tags}`).wrong, wrong, tags);
    assert.equal(parseDmarcRecord(`v=DMARC1${tags}; rua=nobody, ,x y:z`).wrong, wrong, tags);
    const reported = parseDmarcRecord(`v=DMARC1${tags}; rua=x, mailto:d@reports.test!10m`);
    assert.deepEqual([reported.policy, reported.subdomainPolicy, reported.wrong], [
      "none",
      undefined,
      undefined,
    ], tags);
  }
});
