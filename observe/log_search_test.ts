import assert from "node:assert/strict";
import { formatJson, formatText } from "./log_format.ts";
import { linesOf, linesOfField } from "./log_search.ts";
import { parseLine } from "./log_lines.ts";
import { idsIn } from "./trace_query.ts";

const TIME = Date.UTC(2026, 10, 24);
const queueId = (count: number) => `${TIME.toString(36)}0000${count.toString(36).padStart(6, "0")}`;

Deno.test("linesOf() finds the same with many ids as with each by itself", () => {
  const ids = Array.from({ length: 40 }, (_, count) => queueId(count));
  const text = [
    `{"id":"${ids[0]}"}`,
    `"reply":"250-ok\\n${ids[1]} queued"`,
    `x${ids[2]}`,
    `${ids[3]}x`,
    `${ids[4]}`,
    `session ${ids[5]?.slice(0, -1)}`,
    `${ids[6]}.${ids[6]}`,
    "",
  ].join("\n");
  const each = ids.flatMap((id) => [...linesOf(new Set([id]))(text)]).sort((one, other) => one - other);
  assert.equal(each.length, 6);
  assert.deepEqual([...linesOf(new Set(ids))(text)], each);
  // Words are looked up where ids do not begin alike; a single letter is one, too.
  const others = Array.from({ length: 30 }, (_, count) => `${count.toString(36)}zzz${count}`);
  assert.deepEqual([...linesOf(new Set([...ids, ...others]))(text)], each);
  const short = [...linesOf(new Set([...ids, ...others, "x"]))(text)];
  assert.deepEqual(short, [...each, text.indexOf("x", text.indexOf(`${ids[3]}x`) + 9)].sort((a, b) => a - b));
  assert.throws(() => linesOf(new Set(["a|b"])), RangeError);
  assert.throws(() => linesOf(new Set()), RangeError);
});

Deno.test("linesOfField() finds an id in either form, and no other word of a line", () => {
  for (const format of [formatJson, formatText]) {
    for (const name of ["id", "session", "dsn", "queue_id"]) {
      const line = format({ time: TIME, level: "info", event: "x.y", fields: { [name]: "abcd1" } });
      assert.equal([...linesOfField("abcd1")(line)].length, 1, line);
      for (const word of ["2026", "info", "abcd", "bcd1"]) {
        assert.deepEqual([...linesOfField(word)(line)], [], line);
      }
    }
  }
});

Deno.test("idsIn() takes few ids from one reply of another server", () => {
  const said = Array.from({ length: 90 }, (_, count) => queueId(count)).join(" ");
  assert.equal(idsIn({ id: "own", reply: `250 ${said}` }).length, 5);
});

Deno.test("parseLine() reads a line of brackets and quotes that never end in linear time", () => {
  const time = new Date(TIME).toISOString();
  for (const part of ["a=[ ", 'a=" ', 'a=["b ']) {
    // What took time with the square of this would take minutes.
    const line = `${time} INFO  x.y ${part.repeat(200_000)}`;
    assert.equal(parseLine(line)?.event, "x.y");
  }
});
