import assert from "node:assert/strict";
import { fc } from "../../tests/support/property.ts";
import {
  type DroppedHead,
  DroppedHeadError,
  formatDroppedHead,
  MAX_DROPPED_HEAD,
  MAX_DROPPED_RECIPIENTS,
  parseDroppedHead,
} from "./dropped_head.ts";

const HEAD: DroppedHead = {
  sender: "alice@example.com",
  recipients: ["bob@example.net", "jürgen@münchen.example"],
  notify: ["SUCCESS", "DELAY"],
  dsn: { ret: "HDRS", envelopeId: "x 1" },
};

const text = (head: DroppedHead) => new TextDecoder().decode(formatDroppedHead(head));

Deno.test("parseDroppedHead() reads what formatDroppedHead() writes, one line", () => {
  for (const head of [HEAD, { sender: "", recipients: ["root"] }]) {
    const line = text(head);
    assert.equal(line.indexOf("\n"), line.length - 1);
    assert.deepEqual(parseDroppedHead(line.slice(0, -1)), head);
  }
});

Deno.test("formatDroppedHead() writes nothing that would not be read again", () => {
  const many = Array.from(
    { length: MAX_DROPPED_RECIPIENTS },
    (_, index) => `${"x".repeat(200)}${index}@example.net`,
  );
  assert.ok(text({ ...HEAD, recipients: many }).length < MAX_DROPPED_HEAD);
  for (
    const head of [
      { ...HEAD, recipients: [...many, "one@example.net"] },
      { ...HEAD, recipients: [] },
      { ...HEAD, recipients: ["a@b\r\nDATA"] },
      { ...HEAD, recipients: ["a@b> NOTIFY=NEVER"] },
      { ...HEAD, recipients: ["x".repeat(1001)] },
      { ...HEAD, recipients: many.map((address) => address.padStart(1000, "\\")) },
      { ...HEAD, sender: "a\n@b" },
      { ...HEAD, dsn: { envelopeId: "x".repeat(101) } },
    ]
  ) assert.throws(() => formatDroppedHead(head), DroppedHeadError);
});

Deno.test("parseDroppedHead() refuses whatever else it is given, with its own error", () => {
  const changed = (changes: Readonly<Record<string, unknown>>) =>
    JSON.stringify({ ...JSON.parse(text(HEAD)), ...changes });
  for (
    const line of [
      "",
      "null",
      "7",
      "[]",
      "{",
      changed({ version: 2 }),
      changed({ sender: null }),
      changed({ sender: 7 }),
      changed({ recipients: "bob@example.net" }),
      changed({ recipients: { length: 1, 0: "bob@example.net" } }),
      changed({ recipients: [7] }),
      changed({ notify: ["LATER"] }),
      changed({ notify: "NEVER" }),
      changed({ notify: [] }),
      changed({ dsn: { ret: "ALL" } }),
      changed({ dsn: { envelopeId: 7 } }),
    ]
  ) assert.throws(() => parseDroppedHead(line), DroppedHeadError, line);
  fc.assert(fc.property(fc.jsonValue(), (value) => {
    try {
      parseDroppedHead(JSON.stringify(value));
    } catch (error) {
      assert.ok(error instanceof DroppedHeadError, String(error));
    }
  }));
});
