import assert from "node:assert/strict";
import { newEntry, recipient } from "../../tests/support/queue_entry.ts";
import { applyJournal, type JournalEntry } from "./entry.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

for (const ahead of [DAY, 365 * DAY, 0, -MINUTE, -DAY]) {
  Deno.test(`applyJournal() makes a dot of a clock ${ahead / MINUTE} minutes ahead due once, and not ever later`, () => {
    const now = Date.UTC(2026, 0, 1);
    const dot = { host: "mx.test", address: "192.0.2.1", at: now + ahead, inherited: true };
    const journal: JournalEntry = { sent: new Map([[0, dot]]), relayed: new Map(), removed: false };
    const dueAt = (time: number) => {
      const entry = newEntry([recipient("a@x.test")], { id: "m" });
      applyJournal(entry, journal, { now: time, resendAfter: MINUTE });
      return entry.recipients[0]?.nextAttemptAt;
    };
    const due = dueAt(now);
    assert.equal(due, Math.min(now, now + ahead) + MINUTE);
    for (const later of [1, MINUTE, 2 * MINUTE, 2 * DAY]) assert.equal(dueAt(now + later), due);
    // A clock that is set back makes it due sooner, and as steadily.
    const early = dueAt(now - 2 * DAY);
    assert.equal(early, now - 2 * DAY + MINUTE);
    assert.equal(dueAt(now), early);
  });
}
