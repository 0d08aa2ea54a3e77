import assert from "node:assert/strict";
import { Greylist, type GreylistEntry, type GreylistSender } from "./greylist.ts";

const MINUTE = 60_000;
const DAY = 86_400_000;

/** A list with a clock that the test sets. */
function greylist() {
  const at = { ms: Date.UTC(2026, 0, 1) };
  const changes: GreylistEntry[] = [];
  const list = new Greylist({ now: () => at.ms, changed: (entry) => changes.push(entry) });
  const ask = (ip: string, domain: string, more: Partial<GreylistSender> = {}) =>
    list.ask({ ip, domain, ...more }).known;
  return { list, at, changes, ask };
}

Deno.test("Greylist asks whom it has not seen, lets in who comes again, and asks no more", () => {
  const { list, at, ask, changes } = greylist();
  assert.deepEqual(list.ask({ ip: "192.0.2.1", domain: "Example.COM" }), {
    known: false,
    waitMs: MINUTE,
    network: "192.0.2.0/24",
  });
  at.ms += 20_000;
  assert.deepEqual(list.ask({ ip: "192.0.2.1", domain: "example.com" }), {
    known: false,
    waitMs: 40_000,
    network: "192.0.2.0/24",
  });
  at.ms += 40_000;
  assert.equal(ask("192.0.2.99", "example.com"), true);
  assert.equal(ask("192.0.2.1", "example.com"), true);
  // For as long as a mail comes now and then.
  for (let i = 0; i < 10; i++) {
    at.ms += 30 * DAY;
    assert.equal(ask("192.0.2.1", "example.com"), true);
  }
  at.ms += 37 * DAY;
  assert.equal(ask("192.0.2.1", "example.com"), false);
  assert.equal(changes.filter(({ state }) => state === "known").length, 11);
});

Deno.test("Greylist tells networks and domains apart", () => {
  const { at, ask } = greylist();
  ask("192.0.2.1", "example.com");
  ask("2001:db8:0:1::1", "example.com");
  at.ms += MINUTE;
  assert.equal(ask("192.0.3.1", "example.com"), false);
  assert.equal(ask("192.0.2.1", "example.net"), false);
  assert.equal(ask("192.0.2.1", "example.com"), true);
  assert.equal(ask("::ffff:192.0.2.77", "example.com"), true);
  assert.equal(ask("2001:db8:0:1:ffff::9", "example.com"), true);
  assert.equal(ask("2001:db8:0:2::1", "example.com"), false);
});

Deno.test("Greylist knows a domain that passes SPF from all of its networks", () => {
  const { at, ask } = greylist();
  assert.equal(ask("192.0.2.1", "example.com", { authorized: true }), false);
  at.ms += MINUTE;
  assert.equal(ask("198.51.100.1", "example.com", { authorized: true }), true);
  assert.equal(ask("2001:db8::1", "example.com", { authorized: true }), true);
  assert.equal(ask("192.0.2.1", "example.com"), false);
});

Deno.test("Greylist starts anew with who comes again too late, and lets in after a clock was set back", () => {
  const { at, ask } = greylist();
  ask("192.0.2.1", "example.com");
  at.ms += 3 * DAY;
  assert.equal(ask("192.0.2.1", "example.com"), false);
  at.ms -= 300 * DAY;
  assert.equal(ask("192.0.2.1", "example.com"), true);
});

Deno.test("Greylist has one entry for what is not a domain", () => {
  const { at, ask } = greylist();
  for (const domain of ["", "[192.0.2.1]", "a b", "x\ny"]) assert.equal(ask("192.0.2.1", domain), false);
  at.ms += MINUTE;
  assert.equal(ask("192.0.2.1", "[192.0.2.1]"), true);
});

Deno.test("Greylist takes a network with many domains as one, so that it pushes out no others", () => {
  const { list, at, ask } = greylist();
  ask("198.51.100.1", "friend.example");
  at.ms += MINUTE;
  ask("198.51.100.1", "friend.example");
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 1000; i++) ask("192.0.2.1", `d${round}-${i}.example`);
    at.ms += MINUTE;
    for (let i = 0; i < 1000; i++) ask("192.0.2.1", `d${round}-${i}.example`);
  }
  assert.ok(list.size <= 102, String(list.size));
  assert.equal(ask("198.51.100.1", "friend.example"), true);
  // The network came again: it is let in.
  assert.equal(ask("192.0.2.1", "new.example"), true);
});

Deno.test("Greylist is bounded, and forgets the oldest first", () => {
  const { list, at, ask } = greylist();
  const from = (i: number) => `10.${i >> 8}.${i & 255}.1`;
  for (let i = 0; i < 60_000; i++) ask(from(i), "example.com");
  assert.equal(list.size, 50_000);
  at.ms += MINUTE;
  assert.equal(ask(from(0), "example.com"), false);
  assert.equal(ask(from(59_999), "example.com"), true);
  for (let i = 0; i < 20_000; i++) ask("192.0.2.1", `d${i}.example`, { authorized: true });
  assert.ok([...list.entries()].filter(({ network }) => network === "-").length <= 10_000);
});

Deno.test("Greylist gives its entries to another, and leaves out what is of no more use", () => {
  const { list, at, ask } = greylist();
  ask("192.0.2.1", "old.example");
  at.ms += 3 * DAY;
  ask("192.0.2.1", "seen.example");
  ask("192.0.2.1", "known.example");
  at.ms += MINUTE;
  ask("192.0.2.1", "known.example");
  const entries = [...list.entries()];
  assert.deepEqual(entries.map(({ state, domain }) => `${state} ${domain}`), [
    "seen seen.example",
    "known known.example",
  ]);
  const other = new Greylist({ now: () => at.ms });
  for (const entry of entries) other.restore(entry);
  assert.equal(other.ask({ ip: "192.0.2.1", domain: "known.example" }).known, true);
  assert.equal(other.ask({ ip: "192.0.2.1", domain: "seen.example" }).known, true);
  assert.equal(other.ask({ ip: "192.0.2.1", domain: "old.example" }).known, false);
});

Deno.test("Greylist.knows() says what ask() would, and leaves no trace", () => {
  const { list, at, ask, changes } = greylist();
  const sender = { ip: "192.0.2.1", domain: "example.com" };
  assert.equal(list.knows(sender), false);
  assert.equal(list.size, 0);
  ask("192.0.2.1", "example.com");
  at.ms += MINUTE - 1000;
  assert.equal(list.knows(sender), false);
  at.ms += 1000;
  assert.equal(list.knows(sender), true);
  assert.equal(changes.length, 1);
  ask("192.0.2.1", "example.com");
  at.ms += 35 * DAY;
  assert.equal(list.knows(sender), true);
  at.ms += 2 * DAY;
  assert.equal(list.knows(sender), false);
});
