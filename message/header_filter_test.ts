import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { bytesOf, cut, textOf } from "../tests/support/bytes.ts";
import { assertLinear, countedBytes } from "../tests/support/counted.ts";
import { HeaderFilter, type UnwantedField } from "./header_filter.ts";

const noReturnPath: UnwantedField = ({ name }) => name === "return-path";

/** What is left of a message, cut into pieces of these sizes. */
function filter(
  text: string,
  unwanted: UnwantedField | undefined,
  sizes: readonly number[] = [],
): { left: string; received: number; octets: number } {
  const filter = new HeaderFilter(unwanted);
  let left = "";
  for (const chunk of cut(bytesOf(text), sizes)) {
    const pieces: Uint8Array[] = [];
    // A copy, gone afterwards: pieces are only valid as long as their chunk.
    const copy = chunk.slice();
    filter.push(copy, pieces);
    left += pieces.map(textOf).join("");
    copy.fill(0);
  }
  const pieces: Uint8Array[] = [];
  filter.finish(pieces);
  return {
    left: left + pieces.map(textOf).join(""),
    received: filter.receivedCount,
    octets: filter.octets,
  };
}

Deno.test("HeaderFilter takes unwanted fields out of the header section, and only there", () => {
  const cases = [
    ["Return-Path: <a>\r\nSubject: x\r\n\r\nReturn-Path: b\r\n", "Subject: x\r\n\r\nReturn-Path: b\r\n"],
    ["Subject: x\r\nRETURN-PATH : <a>\r\n\tb\r\n c\r\nTo: y\r\n", "Subject: x\r\nTo: y\r\n"],
    ["return-path:\r\n\r\n", "\r\n"],
    ["Return-Path: without end", ""],
    ["Subject: x\r\n Return-Path: folded\r\n\r\n", "Subject: x\r\n Return-Path: folded\r\n\r\n"],
    ["\r\nReturn-Path: body", "\r\nReturn-Path: body"],
    ["", ""],
    ["Return-Pathology: x\r\n\r\n", "Return-Pathology: x\r\n\r\n"],
    // White space before the colon (RFC 5322 §4.5), however much of it.
    [`Return-Path${" ".repeat(80)}: a\r\nX: y\r\n\r\n`, "X: y\r\n\r\n"],
    [`Return-Path${" \t".repeat(5000)}: a\r\nX: y\r\n\r\n`, "X: y\r\n\r\n"],
    ["X: y\r\nReturn-Path\r\n : a\r\nZ: y\r\n\r\n", "X: y\r\nZ: y\r\n\r\n"],
    [`${"X".repeat(150)}: y\r\n\r\n`, `${"X".repeat(150)}: y\r\n\r\n`],
    // What is not a field ends the header section for some readers and not for others.
    ["X: y\r\nno field\r\nReturn-Path: a\r\nZ: y\r\n\r\nz", "X: y\r\nno field\r\nZ: y\r\n\r\nz"],
  ];
  for (const [text, left] of cases) {
    assert.ok(text !== undefined);
    for (const sizes of [[], [1], [2], [3], [7]]) {
      assert.equal(filter(text, noReturnPath, sizes).left, left, JSON.stringify(text));
    }
  }
});

Deno.test("HeaderFilter puts the empty line before a message that begins with no field", () => {
  const cases = [
    ["Hello\r\nReturn-Path: body\r\n", "\r\nHello\r\nReturn-Path: body\r\n"],
    ["Hello", "\r\nHello"],
    ["Hello, see: this\r\n\r\n", "\r\nHello, see: this\r\n\r\n"],
    [": x\r\n\r\n", "\r\n: x\r\n\r\n"],
    // It would go on with the field that is put before it.
    [
      " by forged.example; spf=pass\r\nSubject: x\r\n\r\n",
      "\r\n by forged.example; spf=pass\r\nSubject: x\r\n\r\n",
    ],
    ["\t\r\nA: b\r\n", "\r\n\t\r\nA: b\r\n"],
    ["Hello\r\n : x\r\n\r\n", "\r\nHello\r\n : x\r\n\r\n"],
    ["x".repeat(5000), "\r\n" + "x".repeat(5000)],
    // What stood before it is gone.
    ["Return-Path: a\r\nHello\r\n", "\r\nHello\r\n"],
  ];
  for (const [text = "", left] of cases) {
    for (const sizes of [[], [1], [2], [3], [7], [2048]]) {
      assert.equal(filter(text, noReturnPath, sizes).left, left, JSON.stringify(text));
    }
  }
});

Deno.test("HeaderFilter drops lines of an mbox file and a byte order mark before a field, and only there", () => {
  const mark = "\xef\xbb\xbf";
  const cases = [
    ["From a@b Tue Nov 24 06:00:00 2026\r\nA: b\r\n\r\n", "A: b\r\n\r\n"],
    [">From a@b Tue Nov 24\r\n>>From c\r\nReturn-Path: a\r\nA: b\r\n\r\n", "A: b\r\n\r\n"],
    [`${mark}A: b\r\n\r\n`, "A: b\r\n\r\n"],
    [`${mark}Return-Path: b\r\nA: b\r\n\r\n`, "A: b\r\n\r\n"],
    [`${mark}From a@b\r\nA: b\r\n\r\n`, "A: b\r\n\r\n"],
    ["From a@b\r\n : c\r\nA: b\r\n", "\r\nFrom a@b\r\n : c\r\nA: b\r\n"],
    ["From now on\r\nall is well\r\n", "\r\nFrom now on\r\nall is well\r\n"],
    ["From now on\r\n\r\nA: b\r\n", "\r\nFrom now on\r\n\r\nA: b\r\n"],
    ["From now on", "\r\nFrom now on"],
    ["From now on\r\n", "\r\nFrom now on\r\n"],
    [`${mark}Grüße\r\n`, `\r\n${mark}Grüße\r\n`],
    [`A: b\r\n${mark}Return-Path: c\r\n\r\n`, `A: b\r\n${mark}Return-Path: c\r\n\r\n`],
    ["A: b\r\nFrom a@b\r\nC: d\r\n\r\n", "A: b\r\nFrom a@b\r\nC: d\r\n\r\n"],
    [`From ${"x".repeat(3000)}\r\nA: b\r\n`, `\r\nFrom ${"x".repeat(3000)}\r\nA: b\r\n`],
    ["From a\r\n".repeat(1000) + "A: b\r\n", "\r\n" + "From a\r\n".repeat(1000) + "A: b\r\n"],
  ];
  for (const [text = "", left] of cases) {
    for (const sizes of [[], [1], [2], [3], [5], [2048]]) {
      assert.equal(filter(text, noReturnPath, sizes).left, left, JSON.stringify(text));
    }
  }
});

Deno.test("HeaderFilter counts the octets of the header section", () => {
  for (const sizes of [[], [1], [5]]) {
    const octets = (text: string) => filter(text, undefined, sizes).octets;
    assert.equal(octets("A: b\r\n\tc\r\n\r\nbody"), 10);
    assert.equal(octets("A: b"), 4);
    assert.equal(octets("\r\nbody"), 0);
  }
  assert.equal(filter("A: b\r\n".repeat(1000) + "\r\nbody", noReturnPath, [100]).octets, 6000);
});

Deno.test("HeaderFilter counts the octets of the header section that went on", () => {
  fc.assert(fc.property(lines, cuts, fc.boolean(), (lines, sizes, ended) => {
    const text = lines.join("\r\n") + (ended ? "\r\n" : "");
    const header = new HeaderFilter(noReturnPath);
    const pieces: Uint8Array[] = [];
    let left = "";
    for (const chunk of cut(bytesOf(text), sizes)) {
      header.push(chunk, pieces);
      left += pieces.splice(0).map(textOf).join("");
    }
    header.finish(pieces);
    left += pieces.map(textOf).join("");
    const end = left.startsWith("\r\n") ? 0 : left.indexOf("\r\n\r\n") + 2;
    assert.equal(header.keptOctets, end === 1 ? left.length : end, JSON.stringify(left));
  }));
});

Deno.test("HeaderFilter shows name and unfolded value to the one who decides, and whether that is all", () => {
  const seen: [string, string, boolean][] = [];
  const long = "x".repeat(3000);
  filter(`X-One: a\r\n\tb\r\nX-TWO:c\r\nX-Long: ${long}\r\n\r\nX-Three: d\r\n`, (field) => {
    seen.push([field.name, field.value(), field.whole]);
    return false;
  }, [1]);
  assert.deepEqual(seen, [["x-one", " a\tb", true], ["x-two", "c", true], [
    "x-long",
    ` ${long.slice(0, 2040)}`,
    false,
  ]]);
});

Deno.test("HeaderFilter counts Received fields of the header section", () => {
  const text = "Received: a\r\n\tReceived: folded\r\nreceived : b\r\nX: Received: c\r\n\r\nReceived: d\r\n";
  for (const sizes of [[], [1], [5]]) assert.equal(filter(text, undefined, sizes).received, 2);
});

Deno.test("HeaderFilter without anything unwanted changes nothing", () => {
  const text = "Return-Path: x\r\nA: b\r\n\r\n\0\xff";
  assert.equal(filter(text, undefined, [3]).left, text);
});

Deno.test("HeaderFilter decides upon long fields by their beginning", () => {
  const long = "x".repeat(2000);
  for (const sizes of [[], [1], [1000], [2048], [2049], [4096, 1]]) {
    for (const lines of [1, 2, 3, 10]) {
      const field = `${long}\r\n\t`.repeat(lines) + "end\r\n";
      const { left } = filter(`Return-Path: ${field}X: ${field}Y: z\r\n\r\nbody`, noReturnPath, sizes);
      assert.equal(left, `X: ${field}Y: z\r\n\r\nbody`, `${sizes} ${lines}`);
    }
  }
});

Deno.test("HeaderFilter gives out what it keeps in pieces as large as they can be", () => {
  const text = `${"A: b\r\n".repeat(100)}Return-Path: c\r\n${"D: e\r\n".repeat(100)}\r\nbody`;
  const pieces: Uint8Array[] = [];
  new HeaderFilter(noReturnPath).push(bytesOf(text), pieces);
  assert.equal(pieces.length, 2);
});

Deno.test("HeaderFilter looks at each octet a bounded number of times, whatever the form of the header", () => {
  const forms = [
    "x".repeat(999) + "\r\n",
    "A: b\r\n",
    "Return-Path: b\r\n",
    "A: b\r\n\tc\r\n",
    " \r\n",
    "\t",
    "::",
    "Return-Path \r\n",
    "From x\r\n",
    ">",
  ];
  for (const form of forms) {
    for (const begin of ["X: y\r\n", ""]) {
      assertLinear((count) => {
        const filter = new HeaderFilter(noReturnPath);
        let steps = 0;
        for (const chunk of cut(bytesOf(begin + form.repeat(count / form.length)), [5000])) {
          const counted = countedBytes(chunk);
          filter.push(counted.input, []);
          steps += counted.steps();
        }
        return steps;
      }, { count: 50_000, what: JSON.stringify(begin + form).slice(0, 40) });
    }
  }
});

const lines = fc.array(
  fc.constantFrom(
    "Return-Path: <a>",
    "return-path:b",
    "Received: c",
    "Received \t: c",
    "Subject: d",
    " folded",
    "\t",
    "no field",
    "",
    ":",
    "X".repeat(3000) + ": y",
    "Return-Path: " + "z".repeat(2100),
  ),
  { minLength: 1, maxLength: 10 },
);
const cuts = fc.array(fc.integer({ min: 1, max: 2100 }), { minLength: 1, maxLength: 6 });

Deno.test("HeaderFilter does the same however its input is cut, and drops whole fields only (property)", () => {
  fc.assert(
    fc.property(lines, cuts, fc.boolean(), (lines, sizes, ended) => {
      const text = lines.join("\r\n") + (ended ? "\r\n" : "");
      const { left, received } = filter(text, noReturnPath, sizes);
      assert.deepEqual({ left, received }, expected(lines, ended));
    }),
    { numRuns: 1000 },
  );
});

/** What must be left, by lines. */
function expected(lines: readonly string[], ended: boolean): { left: string; received: number } {
  let received = 0;
  let keep = true;
  let inHeader = true;
  let inField = false;
  let atStart = true;
  const left: string[] = [];
  for (const [index, line] of lines.entries()) {
    const whole = line + (index < lines.length - 1 || ended ? "\r\n" : "");
    if (whole === "") continue;
    if (inHeader && !(inField && /^[ \t]/.test(line))) {
      keep = true;
      inField = true;
      if (line === "") inHeader = false;
      else if (/^received\s*:/i.test(line)) received++;
      else if (/^return-path\s*:/i.test(line)) keep = false;
      // A name is looked for in the first 2048 octets.
      else if (atStart && !/^[!-9;-~]+[ \t]*:/.test(line.slice(0, 2048))) {
        left.push("\r\n");
        inHeader = false;
      }
      if (keep) atStart = false;
    }
    if (keep) left.push(whole);
  }
  return { left: left.join(""), received };
}

Deno.test("HeaderFilter tells the first Message-ID, however the message is cut, and none of the body", () => {
  const message =
    "Subject: x\r\nMessage-Id :\r\n <one@a.example> \r\nMESSAGE-ID: <two@a.example>\r\n\r\nMessage-ID: <body@a.example>\r\n";
  for (let size = 1; size <= message.length; size++) {
    const filter = new HeaderFilter();
    for (let at = 0; at < message.length; at += size) {
      filter.push(new TextEncoder().encode(message.slice(at, at + size)), []);
    }
    assert.equal(filter.messageId, "<one@a.example>", `cut into ${size}`);
  }
  const without = new HeaderFilter();
  without.push(new TextEncoder().encode("Subject: x\r\n\r\nMessage-ID: <body@a.example>\r\n"), []);
  assert.equal(without.messageId, undefined);
});
