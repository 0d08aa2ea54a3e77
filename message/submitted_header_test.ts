import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fc } from "../tests/support/property.ts";
import { assertLinear, countSearched } from "../tests/support/counted.ts";
import { repairHeader, type SubmittedHeader, type SubmittedHeaderOptions } from "./submitted_header.ts";

const COMPLETE = "Date: x\r\nMessage-ID: <a@b>\r\nFrom: a@b\r\n";

/** Repairs a section that has UTF-8 in it; `out` is what goes out. */
function repair(
  text: string,
  changes: Partial<SubmittedHeaderOptions> = {},
): SubmittedHeader & { readonly out: string } {
  const bytes = new TextEncoder().encode(text);
  const header = repairHeader(bytes, {
    qualifyDomain: "q.test",
    smtputf8: false,
    author: () => "me@q.test",
    date: () => "NOW",
    messageId: () => "<new@q.test>",
    ...changes,
  });
  const rest = header.changed === undefined ? Buffer.from(bytes) : Buffer.from(header.changed, "latin1");
  return { ...header, out: header.added + rest.toString() };
}

Deno.test("repairHeader() takes Bcc out, however it is written, and from signed messages too", () => {
  for (
    const field of [
      "Bcc: x@y",
      "BCC : x@y,\r\n\tz@y",
      "Resent-Bcc: x@y",
      "bcc:",
      `Bcc${" ".repeat(200)}: x@y`,
      "Bcc: a@b\r\nBcc: c@d",
    ]
  ) {
    for (const signature of ["", "DKIM-Signature: v=1\r\n"]) {
      const { out, repairs } = repair(`${COMPLETE}${signature}${field}\r\nTo: b@c\r\n`);
      assert.equal(out, `${COMPLETE}${signature}To: b@c\r\n`, field);
      assert.deepEqual(repairs, ["Bcc removed"]);
    }
  }
  assert.equal(repair(`${COMPLETE}X-Bcc: a\r\n`).out, `${COMPLETE}X-Bcc: a\r\n`);
});

Deno.test("repairHeader() adds Date, Message-ID and From where they are missing or say nothing", () => {
  const all = "Date: NOW\r\nMessage-ID: <new@q.test>\r\nFrom: me@q.test\r\n";
  assert.equal(repair("Subject: x\r\n").out, `${all}Subject: x\r\n`);
  assert.equal(repair("").out, all);
  for (
    const blank of [
      "Date:\r\nMessage-ID:\r\nFrom:\r\n",
      "DATE: \t\r\nmessage-id: <>\r\nFROM : <>\r\n",
      "Date:\r\n \r\nMessage-Id: (nothing (at all))\r\nFrom: (me)\r\n",
      "Date: ()\r\nMessage-ID:\r\n <\r\n >\r\nFrom:  <  >\r\n",
      "To:\r\nCc: <>\r\nReply-To: \r\nSender:\r\nResent-To:\r\n",
    ]
  ) assert.equal(repair(`${blank}Subject: x\r\n`).out, `${all}Subject: x\r\n`, blank);
  // A group without members says something, and so does an empty subject.
  const kept = `${COMPLETE}To: undisclosed-recipients:;\r\nSubject:\r\nX-Empty:\r\n`;
  assert.equal(repair(kept).out, kept);
});

Deno.test("repairHeader() leaves a complete section alone, byte for byte", () => {
  const texts = [
    COMPLETE,
    `${COMPLETE}Subject :  odd \t spacing \r\n\t folded\r\nX: \x01\x7f\r\n`,
    `${COMPLETE}To: two words\r\nCc: alice <@route:bob>\r\n`,
    COMPLETE.trimEnd(),
  ];
  for (const text of texts) {
    const { changed, added, repairs, left } = repair(text);
    assert.deepEqual([changed, added, repairs, left], [undefined, "", [], []], text);
  }
});

Deno.test("repairHeader() completes bare addresses, those of Resent fields too", () => {
  assert.equal(
    repair(`${COMPLETE}To: alice\r\nResent-To: B <bob>\r\nSubject: carol\r\n`).out,
    `${COMPLETE}To: alice@q.test\r\nResent-To: B <bob@q.test>\r\nSubject: carol\r\n`,
  );
});

Deno.test("repairHeader() encodes text that is not ASCII, unless the client asked for SMTPUTF8", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["Subject: Grüße", "Subject: =?utf-8?B?R3LDvMOfZQ==?="],
    ["Subject:Grüße", "Subject:=?utf-8?B?R3LDvMOfZQ==?="],
    ["X-Anything: x Grüße x", "X-Anything: x =?utf-8?B?R3LDvMOfZQ==?= x"],
    ["To: Jürgen <j@b>", "To: =?utf-8?Q?J=C3=BCrgen?= <j@b>"],
    ['To: "Jürgen \\"J\\" X" <j@b>, K <k@b>', "To: =?utf-8?B?SsO8cmdlbiAiSiIgWA==?= <j@b>, K <k@b>"],
    ["To: j@b (Jürgen)", "To: j@b (=?utf-8?Q?J=C3=BCrgen?=)"],
    ["To: Jürgen (Köln) <j@b>", "To: =?utf-8?Q?J=C3=BCrgen?= (=?utf-8?B?S8O2bG4=?=) <j@b>"],
    ["To: Münchner: a@b, Jö <c@d>;", "To: =?utf-8?B?TcO8bmNobmVy?=: a@b, =?utf-8?B?SsO2?= <c@d>;"],
    ["To: Jö <joe>", "To: =?utf-8?B?SsO2?= <joe@q.test>"],
    // A domain is the same in A-labels.
    ["To: bob@münchen.test", "To: bob@xn--mnchen-3ya.test"],
    ["Cc: B <bob@MÜNCHEN.test>, c@d.test", "Cc: B <bob@xn--mnchen-3ya.test>, c@d.test"],
    ['Reply-To: Jö <"b b"@(x)münchen.test>', 'Reply-To: =?utf-8?B?SsO2?= <"b b"@(x)xn--mnchen-3ya.test>'],
    ["To: b@münchen.test <b@münchen.test>", "To: b@xn--mnchen-3ya.test <b@xn--mnchen-3ya.test>"],
    ["To: Jö: b@bücher.test, c@d.test;", "To: =?utf-8?B?SsO2?=: b@xn--bcher-kva.test, c@d.test;"],
    [
      'Content-Disposition: attachment; filename="ü.pdf"; x=y',
      "Content-Disposition: attachment; filename*=utf-8''%C3%BC.pdf; x=y",
    ],
  ];
  for (const [field, encoded] of cases) {
    const { out, left, repairs } = repair(`${COMPLETE}${field}\r\n`);
    assert.equal(out, `${COMPLETE}${encoded}\r\n`);
    assert.deepEqual(left, []);
    assert.equal(repairs.length, 1);
    assert.equal(repair(`${COMPLETE}${field}\r\n`, { smtputf8: true }).out.includes("=?"), false);
  }
});

Deno.test("repairHeader() knows the character set from Content-Type where it is not UTF-8", () => {
  const section = (type: string) => Buffer.from(`${COMPLETE}${type}Subject: Gr\xfc\xdfe\r\n`, "latin1");
  const options: SubmittedHeaderOptions = {
    qualifyDomain: "q.test",
    smtputf8: false,
    author: () => "",
    date: () => "",
    messageId: () => "",
  };
  const subject = (type: string) =>
    /Subject: (.*)\r/.exec(repairHeader(section(type), options).changed ?? "")?.[1];
  assert.equal(subject("Content-Type: text/plain; charset=iso-8859-1\r\n"), "=?iso-8859-1?B?R3L832U=?=");
  assert.equal(subject(""), "=?unknown-8bit?B?R3L832U=?=");
  assert.equal(subject("Content-Type: text/plain; charset=utf-8\r\n"), "=?unknown-8bit?B?R3L832U=?=");
});

Deno.test("repairHeader() says what it cannot encode, and leaves it", () => {
  for (
    const field of [
      "To: jürgen@b",
      "To: <jürgen@b>",
      "To: jürgen@münchen.test",
      "To: bob@mün!chen.test",
      "Message-ID: <ü@b>",
      "References: <ü@b>",
      "X-Ü: y",
      "To: =?utf-8?q?x?= Jürgen <a@b>",
      "To: Jür (x) gen <a@b>",
      "Content-Type: text/plain; name=ü; charset",
    ]
  ) {
    const base = field.startsWith("Message-ID") ? COMPLETE.replace(/Message-ID[^]*?\r\n/, "") : COMPLETE;
    const { out, left } = repair(`${base}${field}\r\n`);
    if (!field.startsWith("X-Ü")) assert.equal(out, `${base}${field}\r\n`);
    assert.equal(left.length, 1, field);
    assert.match(left[0] ?? "", /not ASCII/);
  }
});

Deno.test("repairHeader() folds lines of more than 998 octets, where there is white space", () => {
  const addresses = Array.from({ length: 300 }, (_, i) => `user${i}@example.test`).join(", ");
  const { out, repairs, left } = repair(`${COMPLETE}To: ${addresses}\r\n`);
  assert.equal(out.replaceAll("\r\n ", " "), `${COMPLETE}To: ${addresses}\r\n`);
  for (const line of out.split("\r\n")) assert.ok(line.length <= 78, line);
  assert.deepEqual([repairs, left], [["to folded"], []]);
  const word = `${COMPLETE}X-Long: ${"x".repeat(2000)}\r\n`;
  const long = repair(word);
  assert.equal(long.out, word);
  const label = "X-".padEnd(50, "y");
  assert.equal(
    repair(`${COMPLETE}${label}: ${"x".repeat(990)}\r\n`).out,
    `${COMPLETE}${label}:\r\n ${"x".repeat(990)}\r\n`,
  );
  assert.deepEqual(long.left, [
    "x-long has a line of more than 998 octets without white space to fold it at",
  ]);
  const spaces = `${COMPLETE}X: a${" ".repeat(2000)}\r\n`;
  assert.equal(repair(spaces).out, spaces);
});

Deno.test("repairHeader() changes nothing that a signature may cover", () => {
  const signed = `DKIM-Signature: v=1\r\n${COMPLETE}To: alice\r\nCc:\r\nSubject: ü ${"x ".repeat(800)}\r\n`;
  const { changed, left } = repair(signed);
  assert.equal(changed, undefined);
  assert.deepEqual(left, [
    "subject has text that is not ASCII, and the message is signed",
    "subject has a line of more than 998 octets, and the message is signed",
  ]);
  assert.equal(repair(signed.replace("DKIM-Signature", "ARC-Message-Signature")).changed, undefined);
});

Deno.test("repairHeader() keeps within the bound of a header section, and its words few", () => {
  const section = `${COMPLETE}${"X: y\r\n".repeat(9000)}${"To: ".padEnd(200_000, "a,")}\r\n`;
  const { changed, left } = repair(section, { qualifyDomain: "x".repeat(200) });
  assert.equal(changed, undefined);
  assert.equal(left[0], "repaired, the header section would be too long");
  const fields = `${COMPLETE}Bcc: x\r\n${"To: a\r\n".repeat(10_000)}`;
  assert.equal(repair(fields).out, fields.replace("Bcc: x\r\n", ""));
  assert.deepEqual(repair(fields).left, ["there are more than 10000 fields"]);
  const raw = `${COMPLETE}X: ${"ü ".repeat(100_000)}\r\nSubject: ü\r\n`;
  assert.match(repair(raw).left.join(), /more than 65536 octets of fields that are not ASCII/);
  const fifth = `${COMPLETE}${"X: ü\r\n".repeat(5000)}`;
  const encoded = repair(fifth);
  assert.equal(encoded.out.match(/^X: =\?utf-8\?/gm)?.length, 1000);
  assert.equal(encoded.out.match(/^X: /gm)?.length, 5000);
  assert.deepEqual(encoded.left, ["there are more than 1000 fields that are not ASCII"]);
  const many = repair(COMPLETE + Array.from({ length: 1000 }, (_, i) => `X-${i}: ü\r\n`).join(""));
  assert.equal(many.repairs.length, 10);
  const long = repair(`${COMPLETE}X-${"y".repeat(500)}: ü\r\n`);
  assert.ok((long.repairs[0] ?? "").length < 80);
});

Deno.test("repairHeader() completes as many addresses as honest mail has, and the author in any case", () => {
  const to = (octets: number) => `To: ${"a@b.test, ".repeat(octets / 10)}c\r\n`;
  const head = "Date: x\r\nMessage-ID: <a@b>\r\n";
  const honest = repair(`${head}${to(200_000)}From: me\r\n`);
  assert.match(honest.out, /, c@q\.test\r\nFrom: me@q\.test\r\n$/);
  assert.deepEqual(honest.left, []);
  for (const fields of [to(300_000), to(3_000).repeat(100)]) {
    const { out, left } = repair(`${head}${fields}From: me\r\nCc: d\r\n`);
    assert.match(out, /\r\nFrom: me@q\.test\r\nCc: d\r\n$/);
    assert.deepEqual(left, ["there are more than 262144 octets of address fields"]);
  }
});

Deno.test("repairHeader() makes ASCII in lines of a length that is legal of all text fields (property)", () => {
  const word = fc.string({ unit: fc.constantFrom(...'aü\u65e5<>@,;:()"\\=?. \t'), maxLength: 60 });
  const field = fc.tuple(
    fc.constantFrom("Subject", "To", "X-Y", "Content-Type"),
    fc.array(word, { maxLength: 40 }),
  )
    .map(([name, words]) => `${name}: x${words.join("\r\n ")}\r\n`);
  fc.assert(
    fc.property(fc.array(field, { maxLength: 5 }), (fields) => {
      const { out, left } = repair(COMPLETE + fields.join(""));
      if (left.length === 0) {
        assert.match(out, /^[\t\r\n -~]*$/);
        for (const line of out.split("\r\n")) assert.ok(line.length <= 998);
      }
      // No field is lost, none comes from a value.
      const names = (text: string) => [...text.matchAll(/^([A-Za-z-]+):/gm)].map(([, name]) => name);
      assert.deepEqual(names(out), names(COMPLETE + fields.join("")));
    }),
    { numRuns: 1000 },
  );
});

Deno.test("repairHeader() searches each octet of a section a bounded number of times", () => {
  for (const form of ["To: a\r\n", "X: ü\r\n", "Subject: x\r\n\t", "a,", "ü "]) {
    assertLinear((count) => countSearched(() => repair(`${COMPLETE}To: ${form.repeat(count)}\r\n`)), {
      what: form,
    });
  }
});
