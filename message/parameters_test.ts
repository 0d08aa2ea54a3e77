import assert from "node:assert/strict";
import { assertLinear, countedText } from "../tests/support/counted.ts";
import { parseParameters } from "./parameters.ts";

function parse(text: string): [value: string, ...parameters: [string, string][]] | undefined {
  const parsed = parseParameters(text);
  if (parsed === undefined) return undefined;
  return [
    parsed.value,
    ...[...parsed.parameters.values()].map(({ name, value }): [string, string] => [name, value]),
  ];
}

Deno.test("parseParameters() reads a value and its parameters", () => {
  const cases: readonly (readonly [string, ReturnType<typeof parse>])[] = [
    [" text/plain", ["text/plain"]],
    [" Text/PLAIN; Charset=UTF-8\r\n", ["text/plain", ["charset", "UTF-8"]]],
    [' multipart/mixed;\r\n\tboundary="a \\"b\\" c"', ["multipart/mixed", ["boundary", 'a "b" c']]],
    [" multipart/mixed; boundary=----=_Part_1", ["multipart/mixed", ["boundary", "----=_Part_1"]]],
    [" text/plain (a; comment) ; charset = us-ascii (x); ", ["text/plain", ["charset", "us-ascii"]]],
    [" attachment; filename*=utf-8''%C3%BC; x=y", ["attachment", ["filename*", "utf-8''%C3%BC"], ["x", "y"]]],
    [' attachment; filename="\xc3\xbc"', ["attachment", ["filename", "\xc3\xbc"]]],
    [" quoted-printable", ["quoted-printable"]],
  ];
  for (const [text, expected] of cases) assert.deepEqual(parse(text), expected, text);
});

Deno.test("parseParameters() takes nothing that can be read in two ways", () => {
  for (
    const text of [
      "",
      ";",
      "text/plain; charset",
      "text/plain; =x",
      "text/plain; charset=",
      'text/plain; charset="',
      "text/plain; charset=a b",
      "text/plain; a=b; A=c",
      "text/plain charset=x",
      "text/plain/x",
      "text/",
      "a, b",
      "text/plain (open",
      "text/plain; name=a@b",
      "\xc3\xbc/plain",
    ]
  ) assert.equal(parse(text), undefined, text);
});

Deno.test("parseParameters() is linear", () => {
  for (const form of [";", "; ", "(", '"', "a=b;", "x", " ", "\\", "a;", "()"]) {
    assertLinear((count) => {
      const { input, steps } = countedText(`text/plain; a=b;${form.repeat(count)}`);
      parseParameters(input);
      return steps() + count;
    }, { what: form });
  }
});
