import assert from "node:assert/strict";
import { cpuUsage } from "node:process";
import fc from "fast-check";
import { bytesOf, cut, textOf } from "../tests/support/bytes.ts";
import { HeaderFilter, type UnwantedField } from "./header_filter.ts";

const noReturnPath: UnwantedField = (name) => name === "return-path";

/** What is left of a message, cut into pieces of these sizes. */
function filter(
  text: string,
  unwanted: UnwantedField | undefined,
  sizes: readonly number[] = [],
): { left: string; received: number } {
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
  return { left: left + pieces.map(textOf).join(""), received: filter.receivedCount };
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
    [" Return-Path: x\r\n\r\n", " Return-Path: x\r\n\r\n"],
    // What is no field ends the header section for some readers and not for others.
    ["no field\r\nReturn-Path: a\r\nX: y\r\n\r\nz", "no field\r\nX: y\r\n\r\nz"],
    ["From a@b Tue Nov 24\r\n\tx\r\nReturn-Path: a\r\n\r\n", "From a@b Tue Nov 24\r\n\tx\r\n\r\n"],
  ];
  for (const [text, left] of cases) {
    assert.ok(text !== undefined);
    for (const sizes of [[], [1], [2], [3], [7]]) {
      assert.equal(filter(text, noReturnPath, sizes).left, left, JSON.stringify(text));
    }
  }
});

Deno.test("HeaderFilter shows name and unfolded value to the one who decides", () => {
  const seen: [string, string][] = [];
  filter("X-One: a\r\n\tb\r\nX-TWO:c\r\n\r\nX-Three: d\r\n", (name, value) => {
    seen.push([name, value()]);
    return false;
  }, [1]);
  assert.deepEqual(seen, [["x-one", " a\tb"], ["x-two", "c"]]);
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

Deno.test("HeaderFilter takes a megabyte of header, whatever its form, in linear time", () => {
  const forms = [
    "x".repeat(999) + "\r\n",
    "A: b\r\n",
    "Return-Path: b\r\n",
    "A: b\r\n\tc\r\n",
    " \r\n",
    "\t",
    "::",
  ];
  for (const form of forms) {
    // Processor time, the best of three: the machine may be busy.
    const time = (octets: number) => {
      const text = new TextEncoder().encode("X: y\r\n" + form.repeat(octets / form.length));
      return Math.min(...[1, 2, 3].map(() => {
        const started = cpuUsage().user;
        const filter = new HeaderFilter(noReturnPath);
        for (const chunk of cut(text, [65_536])) filter.push(chunk, []);
        return cpuUsage().user - started;
      }));
    };
    const ratio = time(4_000_000) / Math.max(time(1_000_000), 10_000);
    // Quadratic would be 16.
    assert.ok(ratio < 10, `${JSON.stringify(form.slice(0, 10))}: ${ratio}`);
  }
});

const lines = fc.array(
  fc.constantFrom(
    "Return-Path: <a>",
    "return-path:b",
    "Received: c",
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
      const result = filter(text, noReturnPath, sizes);
      assert.deepEqual(result, expected(lines, ended));
    }),
    { numRuns: 500 },
  );
});

/** What must be left, by lines. */
function expected(lines: readonly string[], ended: boolean): { left: string; received: number } {
  let received = 0;
  let keep = true;
  let inHeader = true;
  let inField = false;
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
    }
    if (keep) left.push(whole);
  }
  return { left: left.join(""), received };
}
