import assert from "node:assert/strict";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { newEntry } from "../../tests/support/queue_entry.ts";
import { QueueView, ROW_ORDERS, type RowFilter, selectRows } from "./queue_view.ts";

/** Three messages: tried, never tried, and held. */
const ENTRIES = [
  newEntry([{
    address: "a@late.example",
    attemptCount: 3,
    nextAttemptAt: 9_000,
    attempts: [{ at: 1, host: "mx", reply: "450 4.7.1 <a@late.example>: greylisted", status: "4.7.1" }],
  }], { id: "aaa", reversePath: "Ann@example.com", size: 10 }),
  newEntry([{ address: "b@slow.example", nextAttemptAt: 5_000 }], { id: "bbb", reversePath: "", size: 30 }),
  newEntry([{ address: "c@late.example", status: "held", attemptCount: 1 }], {
    id: "ccc",
    reversePath: "ann@example.com",
    size: 20,
  }),
];

async function looked() {
  const clock = new FakeClock();
  let asked = 0;
  const queue = new QueueView({
    clock,
    find: () => {
      asked++;
      return Promise.resolve({
        async *list() {
          for (const entry of ENTRIES) yield await Promise.resolve({ entry, age: 1000, inFlight: [] });
        },
        async *apply() {
          yield await Promise.resolve({
            id: "aaa",
            changed: ["a@late.example"],
            inFlight: ["x@late.example"],
          });
        },
      });
    },
  });
  await queue.look();
  await queue.idle();
  return { clock, queue, asked: () => asked };
}

Deno.test("selectRows() selects by domain, sender and reason, in every order", async () => {
  const { queue } = await looked();
  const { snapshot } = await queue.look();
  assert(snapshot !== undefined);
  const ids = (filter: RowFilter, order: typeof ROW_ORDERS[number] = "age") =>
    selectRows(snapshot.rows, { filter, order }).map(({ id }) => id).join(" ");
  assert.equal(ids({ domain: "late.example" }), "aaa ccc");
  assert.equal(ids({ sender: "ANN@example.com" }), "aaa ccc");
  assert.equal(ids({ sender: "" }), "bbb");
  assert.equal(ids({ reason: "held" }), "ccc");
  assert.equal(ids({ reason: "450 4.7.1 <…>: greylisted" }), "aaa");
  assert.equal(ids({ domain: "nowhere.example" }), "");
  const orders = ROW_ORDERS.map((order) => `${order}: ${ids({}, order)}`);
  assert.deepEqual(orders, [
    "age: aaa bbb ccc",
    "newest: ccc bbb aaa",
    "next: bbb aaa ccc",
    "attempts: aaa ccc bbb",
    "size: bbb ccc aaa",
  ]);
  assert.equal(ids({ domain: "late.example" }, "size"), "ccc aaa");
});

Deno.test("QueueView reads again after a while, and not with each look", async () => {
  const { queue, clock, asked } = await looked();
  await queue.look();
  await queue.idle();
  assert.equal(asked(), 1);
  await clock.advance(5_000);
  await queue.look();
  await queue.idle();
  assert.equal(asked(), 2);
});

Deno.test("QueueView tells what an action has done", async () => {
  const { queue } = await looked();
  await queue.act("hold", { ids: ["aaa"] }, { by: "ann", what: "message aaa", patience: 60_000 });
  await queue.idle();
  const [job] = queue.jobs;
  assert.deepEqual([job?.state, job?.messages, job?.recipients, job?.leftAlone, job?.by], [
    "done",
    1,
    1,
    1,
    "ann",
  ]);
});
