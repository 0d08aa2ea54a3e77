import assert from "node:assert/strict";
import { EVENT_NAMES, wordsOf } from "./words.ts";

const TIME = Date.parse("2026-11-30T10:00:00Z");
const FIELDS = [
  ...["recipient", "host", "address", "tls", "reply", "error", "status", "attempts", "again_ms", "messages"],
  ...["hello", "peer", "reason", "from", "to", "octets", "message_id", "command", "file", "mailbox", "spf"],
];

Deno.test("wordsOf() describes events with fields of any kind, and events that have the names of object members", () => {
  const names = [...EVENT_NAMES, "constructor", "__proto__", "toString", "hasOwnProperty", "no.such"];
  const values: readonly unknown[] = [
    null,
    {},
    [],
    [[{}]],
    "x",
    "",
    NaN,
    -1e308,
    1e308,
    true,
    { toString: 1 },
    "\ud800\u202e\n\x1b",
  ];
  for (const event of names) {
    for (const value of values) {
      const fields = Object.fromEntries(FIELDS.map((name) => [name, value]));
      const words = wordsOf({ time: TIME, level: "info", event, fields });
      assert.ok(typeof words === "string" && words !== "", `${event} ${JSON.stringify(value)}`);
      // deno-lint-ignore no-control-regex
      assert.doesNotMatch(words, /[\x00-\x09\x0b-\x1f\u202e]/);
    }
  }
});
