import assert from "node:assert/strict";
import { fc } from "../tests/support/property.ts";
import { formatJson, formatText, type LogEvent, MAX_LIST_LENGTH, MAX_VALUE_LENGTH } from "./log_format.ts";

const TIME = Date.UTC(2026, 10, 24, 3, 20, 11, 123);

function event(fields: LogEvent["fields"], name = "session.closed"): LogEvent {
  return { time: TIME, level: "info", event: name, fields };
}

// What a terminal, a line reader or a person's eye would take for something else.
// deno-lint-ignore no-control-regex
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

Deno.test("formatText() writes time, level, event and fields", () => {
  assert.equal(
    formatText(
      event({ session: "x7", peer: "2001:db8::1", messages: 1, tls: true, reason: undefined, id: null }),
    ),
    "2026-11-24T03:20:11.123Z INFO  session.closed session=x7 peer=2001:db8::1 messages=1 tls=true id=-",
  );
});

Deno.test("formatText() quotes what would be read otherwise", () => {
  const line = formatText(
    event({ a: "two words", b: "x=y", c: "", d: '"', e: "-", f: ["p", "q r", "s,t"], g: "<>" }),
  );
  assert.match(line, / a="two words" b="x=y" c="" d="\\"" e="-" f=\[p,"q r","s,t"\] g=<>$/);
});

Deno.test("formatText() shows a dialogue as it was said", () => {
  const said = {
    ...event({ session: "x7", line: "C: MAIL FROM:<a@b> SIZE=9\x1b[2J" }, "dialogue"),
    level: "trace" as const,
  };
  assert.equal(
    formatText(said),
    "2026-11-24T03:20:11.123Z TRACE dialogue session=x7 C: MAIL FROM:<a@b> SIZE=9\\u001b[2J",
  );
});

Deno.test("formatJson() begins with time, level, event, whatever the fields are called", () => {
  const line = formatJson(
    event({ session: "x7", level: "spoofed", to: ["a", "b"], size: 3, gone: undefined }),
  );
  assert.equal(
    line,
    '{"time":"2026-11-24T03:20:11.123Z","level":"info","event":"session.closed","session":"x7","_level":"spoofed",' +
      '"to":["a","b"],"size":3}',
  );
});

Deno.test("both formats keep any value on one line, without control or direction characters", () => {
  const hostile = fc.string({
    unit: fc.oneof(
      fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
      fc.constantFrom(
        "\r",
        "\n",
        "\x1b",
        "\x7f",
        "\x85",
        "\x9b",
        "\u2028",
        "\u202e",
        "\u2066",
        "\u200f",
        '"',
        "\\",
        " ",
        "=",
      ),
    ),
  });
  fc.assert(fc.property(hostile, fc.array(hostile, { maxLength: 3 }), (text, list) => {
    const json = formatJson(event({ text, list }));
    assert.ok(!UNSAFE.test(json), json);
    const parsed = JSON.parse(json);
    // Lossless but for lone surrogates, which JSON.stringify escapes and JSON.parse gives back.
    assert.deepEqual([parsed.text, parsed.list], [text, list]);
    for (const line of [formatText(event({ text, list })), formatText(event({ line: text }, "dialogue"))]) {
      assert.ok(!UNSAFE.test(line), line);
    }
  }));
});

Deno.test("formatText() lets no value pass for another field", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    const line = formatText(event({ text, end: 1 }));
    const value = line.slice(line.indexOf(" text=") + 6, -" end=1".length);
    assert.ok(line.endsWith(" end=1"));
    if (value.startsWith('"')) assert.equal(JSON.parse(value), text);
    else assert.ok(value === text && !/[\s=]/.test(value), line);
  }));
});

Deno.test("both formats cut long values and long lists", () => {
  const long = "x".repeat(MAX_VALUE_LENGTH + 1);
  const list = Array.from({ length: MAX_LIST_LENGTH + 5 }, (_, index) => index);
  const parsed = JSON.parse(formatJson(event({ long, list })));
  assert.equal(parsed.long, "x".repeat(MAX_VALUE_LENGTH) + "…");
  assert.equal(parsed.list.length, MAX_LIST_LENGTH + 1);
  assert.equal(parsed.list.at(-1), "… 5 more");
  assert.ok(formatText(event({ line: long }, "dialogue")).length < MAX_VALUE_LENGTH + 100);
});
