import assert from "node:assert/strict";
import { newEntry, recipient } from "../tests/support/queue_entry.ts";
import { isEverything, matches, parseFilter, type QueueFilter, selects } from "./queue_filter.ts";

Deno.test("matches() wants all that is given", () => {
  const entry = newEntry([recipient("u@a.test"), recipient("v@b.test", { status: "relayed" })], {
    id: "0entry01",
    reversePath: "Alice@example.org",
  });
  const cases: readonly (readonly [QueueFilter, boolean])[] = [
    [{}, true],
    [{ ids: ["0other01", "0entry01"] }, true],
    [{ ids: [] }, false],
    [{ domain: "a.test" }, true],
    // Whoever is done is not meant.
    [{ domain: "b.test" }, false],
    [{ sender: "alice@EXAMPLE.org" }, true],
    [{ sender: "" }, false],
    [{ ids: ["0entry01"], domain: "a.test", sender: "bob@example.org" }, false],
  ];
  for (const [filter, expected] of cases) {
    assert.equal(matches(entry, filter), expected, JSON.stringify(filter));
  }
  assert.equal(selects({ domain: "a.test" }, recipient("u@a.test")), true);
  assert.equal(selects({ domain: "b.test" }, recipient("u@a.test")), false);
});

Deno.test("parseFilter() takes a filter and nothing else", () => {
  const filter = { ids: ["a"], domain: "a.test", sender: "" };
  assert.deepEqual(parseFilter(filter), filter);
  assert.deepEqual(parseFilter({}), {});
  for (
    const value of [null, 1, "x", [], { id: ["a"] }, { ids: "a" }, { ids: [1] }, { domain: 1 }, {
      sender: null,
    }]
  ) {
    assert.equal(parseFilter(value), undefined, JSON.stringify(value));
  }
});

Deno.test("isEverything() is so of a filter that says nothing", () => {
  assert.equal(isEverything({}), true);
  assert.equal(isEverything({ sender: "" }), false);
  assert.equal(isEverything({ ids: [] }), false);
});
