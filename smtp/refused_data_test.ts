import assert from "node:assert/strict";
import { type Arrival, looksLikeData, RefusedData, type Verdict } from "./refused_data.ts";
import type { Line } from "./line_reader.ts";

const isVerb = (verb: string) => ["MAIL", "RSET", "QUIT", "DATA", "NOOP", "HELP", "EHLO"].includes(verb);
const AT_ONCE: Arrival = { moreAtHand: false, waited: 0 };
const IN_ONE_PIECE: Arrival = { moreAtHand: true, waited: 60_000 };
const TYPED: Arrival = { moreAtHand: false, waited: 500 };
const line = (text: string): Line => ({ kind: "line", text });

function verdicts(lines: readonly (readonly [Line, Arrival])[], moreAtHand = false): Verdict[] {
  const refused = new RefusedData(isVerb);
  assert.ok(refused.isOver);
  refused.begin({ moreAtHand });
  assert.ok(!refused.isOver);
  return lines.map(([text, arrival]) => refused.judge(text, arrival));
}

Deno.test("RefusedData lets a command run that comes first, however it comes", () => {
  for (const arrival of [AT_ONCE, IN_ONE_PIECE, TYPED]) {
    assert.deepEqual(verdicts([[line("RSET"), arrival]]), ["command"]);
  }
});

Deno.test("RefusedData takes what comes in one piece with DATA for its data, but for QUIT", () => {
  assert.deepEqual(verdicts([[line("RSET"), TYPED]], true), ["sent"]);
  assert.deepEqual(verdicts([[line("quit "), AT_ONCE]], true), ["command"]);
  assert.deepEqual(verdicts([[line("QUIT now"), AT_ONCE]], true), ["sent"]);
});

const DATA: readonly Line[] = [
  ...["Subject: x", "SUBJECT : x", "", ".", "..", " folded", "\tfolded", "hello", "MAIL: x", "FROM:<a@b>"]
    .map(line),
  { kind: "bare-lf", text: "RSET" },
  { kind: "too-long" },
  { kind: "unreadable" },
];
for (const data of DATA) {
  Deno.test(`RefusedData tells a person from a program by how ${JSON.stringify(data)} comes`, () => {
    assert.deepEqual(verdicts([[data, AT_ONCE]]), ["sent"]);
    assert.deepEqual(verdicts([[data, IN_ONE_PIECE]]), ["sent"]);
    assert.deepEqual(verdicts([[data, { ...TYPED, waited: 499 }]]), ["sent"]);
    assert.deepEqual(verdicts([[data, TYPED], [data, TYPED], [line("RSET"), TYPED]]), [
      "typed",
      "typed",
      "command",
    ]);
  });

  Deno.test(`RefusedData lets nothing run that is sent on after ${JSON.stringify(data)}`, () => {
    for (const arrival of [AT_ONCE, IN_ONE_PIECE]) {
      assert.deepEqual(verdicts([[data, TYPED], [line("MAIL FROM:<a@b>"), arrival]]), ["typed", "sent"]);
      assert.deepEqual(verdicts([[data, TYPED], [line("QUIT"), arrival]]), ["typed", "command"]);
    }
  });
}

Deno.test("RefusedData is over once a command ran", () => {
  const refused = new RefusedData(isVerb);
  refused.begin({ moreAtHand: false });
  refused.end("RSET");
  assert.ok(refused.isOver);
  assert.equal(refused.judge(line("Subject: x"), IN_ONE_PIECE), "command");
});

Deno.test("RefusedData lets a command that ends a group run only where nothing has come with it", () => {
  for (const command of ["NOOP", "HELP x", "EHLO a.test", "DATA"]) {
    assert.deepEqual(verdicts([[line(command), AT_ONCE]]), ["command"]);
    assert.deepEqual(verdicts([[line(command), IN_ONE_PIECE], [line("RSET"), IN_ONE_PIECE]]), [
      "sent",
      "sent",
    ]);
  }
  assert.deepEqual(verdicts([[line("MAIL FROM:<a@b>"), IN_ONE_PIECE]]), ["command"]);
});

Deno.test("RefusedData goes on after a command that says nothing of what comes next", () => {
  const refused = new RefusedData(isVerb);
  refused.begin({ moreAtHand: false });
  refused.end("NOOP");
  assert.ok(!refused.isOver);
  assert.equal(refused.judge(line("Subject: x"), AT_ONCE), "sent");
  assert.equal(refused.judge(line("MAIL FROM:<a@b>"), IN_ONE_PIECE), "sent");
});

Deno.test("looksLikeData() knows no command for data", () => {
  for (
    const text of ["MAIL FROM:<a@b>", "RCPT TO: <a@b>", "EHLO [IPv6:::1]", "DATA", "BDAT 5", "AUTH PLAIN a:"]
  ) {
    assert.ok(!looksLikeData(text), text);
  }
});
