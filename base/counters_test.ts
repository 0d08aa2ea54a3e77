import assert from "node:assert/strict";
import { allMetrics, counter, counters, gauges, histogram, OTHER, reading } from "./counters.ts";

function seriesOf(name: string) {
  const metric = allMetrics().find((metric) => metric.name === name);
  return metric === undefined ? undefined : [...metric.series()];
}

Deno.test("counter() counts from 0, and is read by its name", () => {
  const bounces = counter("test_bounces_total", "Bounces");
  bounces.add();
  bounces.add(41);
  assert.deepEqual(seriesOf("test_bounces_total"), [{ labels: [], metric: bounces }]);
  assert.equal(bounces.value, 42);
});

Deno.test("counter() refuses a name that is taken", () => {
  counter("test_taken_total", "First");
  assert.throws(() => counter("test_taken_total", "Second"), /declared twice/);
});

Deno.test("Family.with() gives the same series for the same labels, and another one for others", () => {
  const replies = counters("test_replies_total", { help: "Replies", labels: ["code", "command"] });
  replies.with("550", "RCPT").add(2);
  replies.with("550", "RCPT").add();
  replies.with("550", "MAIL").add();
  assert.deepEqual(seriesOf("test_replies_total")?.map(({ labels, metric }) => [labels, metric]), [
    [["550", "RCPT"], replies.with("550", "RCPT")],
    [["550", "MAIL"], replies.with("550", "MAIL")],
  ]);
  assert.equal(replies.with("550", "RCPT").value, 3);
});

Deno.test("Family.with() counts what is beyond its bound under `other`", () => {
  const domains = counters("test_domains_total", { help: "Domains", labels: ["domain"], maxSeries: 3 });
  for (let index = 0; index < 1000; index++) domains.with(`d${index}.example`).add();
  domains.with("d1.example").add();
  assert.equal(seriesOf("test_domains_total")?.length, 4);
  assert.equal(domains.with(OTHER).value, 997);
  assert.equal(domains.with("d1.example").value, 2);
});

Deno.test("Family.with() refuses another number of labels", () => {
  const family = counters("test_labels_total", { help: "Labels", labels: ["a", "b"] });
  assert.throws(() => family.with("x"), TypeError);
});

Deno.test("Family.readFrom() asks only when it is read, and not after it was disposed of", () => {
  const queue = gauges("test_queue_messages", { help: "Messages", labels: ["state"] });
  let asked = 0;
  const source = queue.readFrom(() => [reading(++asked, "waiting")]);
  assert.equal(asked, 0);
  assert.equal(seriesOf("test_queue_messages")?.[0]?.metric instanceof Object, true);
  assert.equal(asked, 1);
  source[Symbol.dispose]();
  assert.deepEqual(seriesOf("test_queue_messages"), []);
});

Deno.test("Histogram.observe() puts a value on a bound below it, and one beyond all into the last bucket", () => {
  const size = histogram("test_size_bytes", "Sizes", [10, 100]);
  for (const value of [0, 10, 10.5, 100, 101, 1e9]) size.observe(value);
  assert.deepEqual(size.counts, [2, 2, 2]);
  assert.equal(size.sum, 1e9 + 221.5);
});
