import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fc } from "../tests/support/property.ts";
import { bytesOf, cut, textOf } from "../tests/support/bytes.ts";
import { assertLinear, countSearchedLater } from "../tests/support/counted.ts";
import { testWithData } from "../tests/support/requires.ts";
import { encodeParts, type EncodingRules, planEncoding } from "./short_lines.ts";

const LONG: EncodingRules = { eightBit: false, anyPart: false };
const SEVEN_BIT: EncodingRules = { eightBit: true, anyPart: true };
const long = `${"word ".repeat(300)}end`;

async function encode(
  text: string,
  { rules = LONG, sizes = [] }: { readonly rules?: EncodingRules; readonly sizes?: readonly number[] } = {},
): Promise<{ out: string; left: readonly string[] }> {
  const chunks = [...cut(bytesOf(text), sizes)];
  const plan = await planEncoding(chunks, rules);
  let out = "";
  // Where nothing is to be encoded, nothing is rewritten.
  if (plan.parts.size === 0) return { out: text, left: plan.left };
  for await (const piece of encodeParts(chunks, plan, rules)) out += textOf(piece);
  return { out, left: plan.left };
}

/** Undoes quoted-printable, after RFC 2045 §6.7 alone. */
function decode(text: string): string {
  return text.replaceAll("=\r\n", "").replace(
    /=([0-9A-F]{2})/g,
    (_, hex: string) => String.fromCharCode(parseInt(hex, 16)),
  );
}

Deno.test("encodeParts() encodes the body of a message that is text", async () => {
  const heads = [
    ["", "MIME-Version: 1.0\r\n"],
    ["MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n", ""],
    ["MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n", ""],
  ];
  for (const [head = "", version] of heads) {
    const body = `${long}\r\n\xff = \t\r\n\r\n.\r\n${long}`;
    const { out, left } = await encode(`Subject: x\r\n${head}\r\n${body}`);
    const kept = head.replace("Content-Transfer-Encoding: 8bit\r\n", "");
    const top = `Subject: x\r\n${kept}${version}Content-Transfer-Encoding: quoted-printable\r\n\r\n`;
    assert.equal(out.slice(0, top.length), top);
    assert.equal(decode(out.slice(top.length)), body);
    for (const line of out.split("\r\n")) assert.ok(line.length <= 76);
    assert.deepEqual(left, []);
  }
});

Deno.test("encodeParts() encodes the parts that need it, and leaves all else byte for byte", async () => {
  const part = (fields: string, body: string) => `--b\r\n${fields}\r\n${body}\r\n`;
  const multi = (...parts: string[]) =>
    `MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\npreamble\r\n${parts.join("")}` +
    "--b-- \r\nepilogue\r\n";
  const message = multi(
    part("", "short\xff"),
    part("Content-Type: text/html\r\nX: y\r\n", `${long}  `),
    part("Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n", "AAAA"),
    part("", long),
  );
  const encoded = "Content-Transfer-Encoding: quoted-printable\r\n";
  for (const sizes of [[], [1], [100], [5000, 3]]) {
    const { out, left } = await encode(message, { sizes });
    const parts = out.split(/--b(?:--)? ?\r\n/);
    assert.equal(parts[1], "\r\nshort\xff\r\n");
    assert.ok(parts[2]?.startsWith(`Content-Type: text/html\r\nX: y\r\n${encoded}\r\n`));
    assert.equal(decode(parts[2]?.slice(parts[2].indexOf("\r\n\r\n") + 4) ?? ""), `${long}  \r\n`);
    assert.ok(parts[4]?.startsWith(`${encoded}\r\nword`));
    const undone = parts.map((part, i) => i === 2 || i === 4 ? decode(part).replace(encoded, "") : part);
    assert.equal(undone.join("--b\r\n"), message.split(/--b(?:--)? ?\r\n/).join("--b\r\n"));
    assert.deepEqual(left, []);
  }
});

Deno.test("planEncoding() leaves what is signed, encoded, attached, no text, or malformed, and says so", async () => {
  const multi = (type: string, part: string, end = "--b--\r\n") =>
    `Content-Type: multipart/${type}; boundary=b\r\n\r\n--b\r\n${part}\r\n${end}`;
  const cases: readonly (readonly [string, RegExp])[] = [
    [`Content-Type: application/pdf\r\n\r\n${long}`, /^a part is of type application\/pdf$/],
    [multi("signed; micalg=x; protocol=y", `\r\n${long}`), /signed or encrypted/],
    [
      multi("mixed", multi("signed", `\r\n${long}`).replaceAll("=b", "=c").replaceAll("--b", "--c")),
      /signed/,
    ],
    [multi("mixed", `Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\n${long}`), /type message\/rfc822/],
    [multi("digest", `\r\nA: b\r\n\r\n${long}`), /type message\/rfc822/],
    [`Content-Transfer-Encoding: base64\r\n\r\n${"A".repeat(2000)}`, /encoded as base64/],
    [`Content-Transfer-Encoding: quoted-printable\r\n\r\n${long}`, /encoded as quoted-printable/],
    [`Content-Transfer-Encoding: x-odd\r\n\r\n${long}`, /encoded as x-odd/],
    [`Content-Type: text\r\n\r\n${long}`, /^malformed MIME: a Content-Type/],
    [`Content-Type: text/plain; charset\r\n\r\n${long}`, /^malformed MIME: a Content-Type/],
    [`Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n${long}`, /two Content-Type/],
    [
      `Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: 8bit\r\n\r\n${long}`,
      /two Content-Transfer/,
    ],
    [`Content-Transfer-Encoding: 7 bit\r\n\r\n${long}`, /cannot be read/],
    [`Content-Type: multipart/mixed\r\n\r\n${long}`, /no boundary/],
    [`Content-Type: multipart/mixed; boundary=${"b".repeat(71)}\r\n\r\n${long}`, /no boundary/],
    [
      `Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n${long}`,
      /is encoded/,
    ],
    [multi("mixed", `\r\n${long}`, ""), /has no end/],
    [multi("mixed", "\r\nx").replace("--b\r\n", `${long}\r\n--b\r\n`), /outside of all parts/],
    [multi("mixed", `X: ${long}\r\n\r\nx`), /header of a part/],
    [
      Array.from({ length: 30 }, (_, i) => `Content-Type: multipart/mixed; boundary=b${i}\r\n\r\n--b${i}\r\n`)
        .join("") + `\r\n${long}`,
      /nested too deeply/,
    ],
    // These cost more than their octets.
    [multi("mixed", `\r\n${long}\r\n${"--b\r\n\r\n".repeat(20_000)}`), /too many parts/],
    [multi("mixed", `\r\n${long}\r\n${"--b\r\n".repeat(20_000)}`), /too many parts/],
    [multi("mixed", `\r\n${long}\r\n--b\r\n${"X: y\r\n".repeat(20_000)}\r\n`), /lines of their headers/],
    [`${"X: y\r\n".repeat(20_000)}\r\n${long}`, /lines of their headers/],
  ];
  for (const [message, reason] of cases) {
    const { out, left } = await encode(`Subject: x\r\n${message}`);
    assert.equal(out, `Subject: x\r\n${message}`);
    assert.equal(left.length, 1, message.slice(0, 80));
    assert.match(left[0] ?? "", reason);
  }
});

Deno.test("encodeParts() makes seven-bit mail of any part, of messages within the message too", async () => {
  const inner =
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe";
  const message = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" +
    `Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n${inner}\r\n` +
    "--b\r\nContent-Type: application/x-odd\r\n\r\n\xff\r\n--b--\r\n";
  const { out, left } = await encode(message, { rules: SEVEN_BIT });
  assert.match(out, /^[\r\n -~]*$/);
  assert.ok(out.includes("Gr=C3=BC=C3=9Fe"));
  assert.ok(out.includes("=FF"));
  assert.ok(out.includes("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n"));
  assert.deepEqual(left, []);
});

Deno.test("encodeParts() loses nothing of any message (property)", async () => {
  const line = fc.oneof(
    fc.constantFrom(
      ...[
        "--b",
        "--b--",
        "--c",
        "--c--",
        "--b ",
        "--bx",
        "",
        "",
        " ",
        "\t",
        "text",
        "a = b",
        "trailing  ",
        "\xff",
      ],
      ...["Content-Type: multipart/mixed; boundary=b", "Content-Type: multipart/x; boundary=c"],
      ...[
        "Content-Type: text/html",
        "Content-Type: message/rfc822",
        "Content-Transfer-Encoding: 8bit",
        "X: y",
      ],
    ),
    fc.constantFrom(long, "x".repeat(999)),
  );
  const sizes = fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 25 }), sizes, async (lines, sizes) => {
      const text = lines.map((line) => `${line}\r\n`).join("");
      const { out } = await encode(text, { sizes });
      const undone = (whole: string) =>
        decode(whole).replaceAll(/Content-Transfer-Encoding: [a-z0-9-]*\r\n|MIME-Version: 1.0\r\n/g, "");
      assert.equal(undone(out), undone(text));
    }),
    { numRuns: 500 },
  );
});

Deno.test("planEncoding() and encodeParts() search each octet a bounded number of times", async () => {
  const levels = Array.from({ length: 19 }, (_, i) => `${"b".repeat(60 + i % 9)}${i}`);
  const deep = levels.map((boundary) =>
    `Content-Type: multipart/x; boundary=${boundary}\r\n\r\n--${boundary}\r\n`
  ).join("");
  const ends = levels.toReversed().map((boundary) => `--${boundary}--\r\n`).join("");
  for (const form of ["--b\r\n", "--b\r\n\r\n", "x", "\r\n", "- - ", `--${levels[0]}x\r\n`, `${long}\r\n`]) {
    for (
      const [head, end] of [["Content-Type: multipart/x; boundary=b\r\n\r\n", "\r\n--b--\r\n"], [
        deep,
        `\r\n${ends}`,
      ]]
    ) {
      const steps = async (count: number) => {
        const text = head + form.repeat(count / form.length) + end;
        return await countSearchedLater(() => encode(text, { rules: SEVEN_BIT, sizes: [4096] }));
      };
      const counts = new Map([[30_000, await steps(30_000)], [60_000, await steps(60_000)]]);
      assertLinear((count) => counts.get(count) ?? 0, {
        count: 30_000,
        what: JSON.stringify(form).slice(0, 20),
      });
    }
  }
});

testWithData("corpus", {
  name: "encodeParts() without anything to encode gives each message of the corpus back",
}, async (path) => {
  for (const { name } of Deno.readDirSync(path)) {
    if (!name.endsWith(".eml")) continue;
    const text = Buffer.from(Deno.readFileSync(`${path}/${name}`)).toString("latin1").replaceAll(
      /\r?\n/g,
      "\r\n",
    );
    const chunks = [...cut(bytesOf(text), [1000])];
    let out = "";
    try {
      for await (const piece of encodeParts(chunks, { parts: new Set(), left: [] }, SEVEN_BIT)) {
        out += textOf(piece);
      }
    } catch (error) {
      assert.match(String(error), /MalformedMimeError/, name);
      continue;
    }
    assert.equal(out, text, name);
  }
});
