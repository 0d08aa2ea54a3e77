import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fc } from "../tests/support/property.ts";
import type { LogFields } from "../base/log.ts";
import { formatJson, formatText } from "./log_format.ts";
import { parseLine, timeOf } from "./log_lines.ts";

const TIME = Date.UTC(2026, 10, 24, 3, 20, 11, 123);
const asRead = (line: string) => Buffer.from(line).toString("latin1");

const fields: fc.Arbitrary<LogFields> = fc.dictionary(
  fc.stringMatching(/^[a-z_]{1,12}$/).filter((name) => !["time", "level", "event", "line"].includes(name)),
  fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.integer(),
    fc.boolean(),
    fc.array(fc.string({ unit: "grapheme", maxLength: 10 }), { maxLength: 4 }),
  ),
);

Deno.test("parseLine() reads back what formatJson() writes, with the journal's priority or without", () => {
  fc.assert(fc.property(fields, fc.boolean(), (fields, priority) => {
    const line = formatJson({ time: TIME, level: "warn", event: "queue.not_removed", fields });
    const event = parseLine(asRead(priority ? `<4>${line}` : line));
    const expected = JSON.parse(JSON.stringify(fields));
    assert.deepEqual(event && { ...event, fields: { ...event.fields } }, {
      time: TIME,
      level: "warn",
      event: "queue.not_removed",
      fields: JSON.parse(line, (key, value) => ["time", "level", "event"].includes(key) ? undefined : value),
    });
    assert.deepEqual(Object.keys(event?.fields ?? {}).sort(), Object.keys(expected).sort());
  }));
});

Deno.test("parseLine() reads text: values with spaces, quotes, brackets, lists, numbers and the dialogue", () => {
  const fields = {
    id: "mi1x0b2k00000a3f7c",
    from: "",
    to: ["a@b.example", 'the "other" one@c.example'],
    reply: "451 4.7.1 Greylisted = later, [please]",
    attempts: 3,
    junk: true,
    odd: "-",
    path: "/var/mail/ü",
  };
  const line = formatText({ time: TIME, level: "info", event: "attempt.deferred", fields });
  assert.deepEqual(parseLine(asRead(line)), { time: TIME, level: "info", event: "attempt.deferred", fields });
  const spoken = formatText({
    time: TIME,
    level: "trace",
    event: "dialogue",
    fields: { session: "x7", line: "C: EHLO [192.0.2.1] SIZE=3" },
  });
  assert.deepEqual(parseLine(spoken)?.fields, { session: "x7", line: "C: EHLO [192.0.2.1] SIZE=3" });
});

Deno.test("parseLine() takes nothing of other programs' lines", () => {
  for (
    const line of [
      "",
      "{",
      "{}",
      '{"time":"x","event":"a"}',
      "Nov 24 03:20:11 mx sshd: hello",
      "[1,2]",
      "null",
    ]
  ) {
    assert.equal(parseLine(line), undefined, line);
  }
});

Deno.test("timeOf() finds the time in the beginning of a line only", () => {
  assert.equal(timeOf(`<6>{"time":"2026-11-24T03:20:11.123Z","level":"info"`), TIME);
  assert.equal(timeOf("2026-11-24T03:20:11.123Z INFO  x"), TIME);
  assert.ok(Number.isNaN(timeOf(`${"x".repeat(80)}2026-11-24T03:20:11.123Z`)));
});
