import assert from "node:assert/strict";
import { findDoubts } from "./doubts.ts";

const at = (second: number) => `2026-11-30T08:00:${String(second).padStart(2, "0")}.000Z`;
const line = (second: number, event: string, fields: Record<string, unknown>) =>
  JSON.stringify({ time: at(second), level: "info", event, ...fields });

/** A log of these lines. */
function logOf(...lines: string[]) {
  return [{
    name: "log",
    begins: () => Promise.resolve(0),
    async *pieces() {
      yield await Promise.resolve(`${lines.join("\n")}\n`);
    },
  }];
}

const range = { since: 0, until: Infinity };

Deno.test("findDoubts() tells what may have arrived twice, why, to whom, and whether it was sent again", async () => {
  const log = logOf(
    line(1, "message.accepted", { id: "q1", from: "a@here.test", to: ["b@there.test"] }),
    line(2, "attempt.deferred", {
      id: "q1",
      recipient: "b@there.test",
      host: "mx.there.test",
      error: "no answer to the final dot",
      dot_sent_no_reply: true,
    }),
    line(3, "attempt.relayed", { id: "q1", recipient: "b@there.test", host: "mx.there.test" }),
    line(4, "attempt.deferred", {
      id: "q2",
      recipient: "c@there.test",
      error: "the server ended",
      dot_sent_no_reply: true,
    }),
    line(5, "attempt.failed", { id: "q2", recipient: "c@there.test", reply: "550 no" }),
    line(6, "attempt.deferred", { id: "q3", recipient: "d@there.test", reply: "450 later" }),
    line(7, "attempt.relayed", { id: "q3", recipient: "d@there.test" }),
    line(8, "attempt.relayed", { id: "q4", recipient: "e@there.test" }),
    line(9, "attempt.relayed", { id: "q4", recipient: "e@there.test" }),
    line(10, "attempt.relayed", { id: "q4", recipient: "f@there.test" }),
  );
  const { duplicates } = await findDoubts(log, { range });
  assert.deepEqual(
    duplicates.map(({ id, recipient, sender, at, againAt }) => [id, recipient, sender, at, againAt]),
    [
      ["q1", "b@there.test", "a@here.test", moment(2), moment(3)],
      ["q2", "c@there.test", undefined, moment(4), undefined],
      ["q4", "e@there.test", undefined, moment(9), moment(9)],
    ],
  );
  assert.match(duplicates[0]?.why ?? "", /final dot/);
  assert.match(duplicates[2]?.why ?? "", /restored/);
});

const moment = (second: number) => Date.parse(at(second));

Deno.test("findDoubts() tells what was held, expired, removed and returned", async () => {
  const log = logOf(
    line(1, "message.accepted", { id: "q1", from: "a@here.test", to: ["b@there.test"] }),
    line(2, "operator.hold", { id: "q1", recipients: ["b@there.test"] }),
    line(3, "operator.remove", { id: "q1", recipients: ["b@there.test"] }),
    line(4, "queue.expired", { id: "q2", recipient: "c@there.test", error: "connection refused" }),
    line(5, "dsn.held", { id: "q3", recipient: "d@there.test", reply: "550 no" }),
    line(6, "operator.retry", { id: "q4", recipients: ["e@there.test"] }),
    line(7, "operator.hold", { id: "q5", recipients: ["f@there.test", "g@there.test"] }),
    line(8, "operator.release", { id: "q5", recipients: ["f@there.test"] }),
  );
  const { undelivered, duplicates } = await findDoubts(log, { range });
  assert.deepEqual(
    undelivered.map(({ id, what, recipients, reason, sender }) => [id, what, recipients, reason, sender]),
    [
      ["q1", "held", ["b@there.test"], undefined, "a@here.test"],
      ["q1", "removed", ["b@there.test"], undefined, "a@here.test"],
      ["q2", "expired", ["c@there.test"], "connection refused", undefined],
      ["q3", "notice held", ["d@there.test"], "550 no", undefined],
      ["q5", "held", ["f@there.test", "g@there.test"], undefined, undefined],
    ],
  );
  assert.deepEqual(undelivered.map(({ releasedAt }) => releasedAt).filter((time) => time !== undefined), [
    moment(8),
  ]);
  assert.deepEqual(duplicates, []);
});

Deno.test("findDoubts() reads the text form of the log, too", async () => {
  const log = logOf(
    `${at(1)} INFO attempt.deferred id=q1 recipient=b@there.test error="no answer" dot_sent_no_reply=true`,
  );
  const { duplicates } = await findDoubts(log, { range });
  assert.deepEqual(duplicates.map(({ id, why }) => [id, why]), [["q1", "no answer"]]);
});
