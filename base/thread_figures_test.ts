import assert from "node:assert/strict";
import {
  addFigures,
  allMetrics,
  counter,
  counters,
  gauge,
  Histogram,
  histogram,
  type Metric,
} from "./counters.ts";
import { FigureChanges, ThreadFigures } from "./thread_figures.ts";

const total = counter("mailapp_figures_total", "Of this test");
const labelled = counters("mailapp_figures_labelled_total", { help: "Of this test", labels: ["kind"] });
const open = gauge("mailapp_figures_open", "Of this test", { addsUp: true });
const expiry = gauge("mailapp_figures_expiry", "Of this test");
const wait = histogram("mailapp_figures_seconds", "Of this test", [1, 10]);

function read(name: string): Record<string, number | { counts: number[]; sum: number }> {
  const metric = allMetrics().find((metric) => metric.name === name) as Metric;
  return Object.fromEntries(
    Array.from(metric.series(), ({ labels, metric }) => [
      labels.join(),
      metric instanceof Histogram ? { counts: metric.counts, sum: metric.sum } : metric.value,
    ]),
  );
}

Deno.test("take() returns what has changed since, and nothing that is of one thread only", () => {
  const changes = new FigureChanges();
  changes.take();
  total.add(2);
  labelled.with("a").add();
  expiry.set(5);
  wait.observe(3);
  assert.deepEqual(changes.take(), [
    { name: "mailapp_figures_labelled_total", labels: ["a"], values: [1] },
    { name: "mailapp_figures_seconds", labels: [], values: [0, 1, 0, 3] },
    { name: "mailapp_figures_total", labels: [], values: [2] },
  ]);
  assert.deepEqual(changes.take(), []);
});

Deno.test("the figures of other threads are added; those of one that has ended stay, but for its gauges", () => {
  const before = Number(read("mailapp_figures_total")[""]);
  const others = [new ThreadFigures(), new ThreadFigures()];
  using adding = new DisposableStack();
  for (const [index, figures] of others.entries()) {
    adding.use(addFigures(figures.series));
    figures.take([
      { name: "mailapp_figures_total", labels: [], values: [10 + index] },
      { name: "mailapp_figures_labelled_total", labels: ["b"], values: [1] },
      { name: "mailapp_figures_open", labels: [], values: [4] },
      { name: "mailapp_figures_seconds", labels: [], values: [1, 2, 3, 40] },
    ]);
  }
  open.set(1);
  assert.equal(read("mailapp_figures_total")[""], before + 21);
  assert.equal(read("mailapp_figures_labelled_total")["b"], 2);
  assert.equal(read("mailapp_figures_open")[""], 9);
  const { counts, sum } = read("mailapp_figures_seconds")[""] as { counts: number[]; sum: number };
  assert.deepEqual([counts.map((count, index) => count - (wait.counts[index] ?? 0)), sum - wait.sum], [[
    2,
    4,
    6,
  ], 80]);
  others[0]?.end();
  assert.equal(read("mailapp_figures_open")[""], 5);
  assert.equal(read("mailapp_figures_total")[""], before + 21);
  // The next thread in its place begins at 0.
  others[0]?.take([{ name: "mailapp_figures_total", labels: [], values: [3] }]);
  assert.equal(read("mailapp_figures_total")[""], before + 24);
  others[0]?.end();
  assert.equal(read("mailapp_figures_total")[""], before + 24);
  adding.dispose();
  assert.equal(read("mailapp_figures_total")[""], before);
});

Deno.test("take() ignores what a thread should not send", () => {
  const figures = new ThreadFigures();
  using _adding = addFigures(figures.series);
  const before = read("mailapp_figures_labelled_total");
  figures.take([
    { name: "mailapp_unknown_total", labels: [], values: [1] },
    { name: "mailapp_figures_labelled_total", labels: [], values: [1] },
    { name: "mailapp_figures_labelled_total", labels: ["a"], values: [NaN] },
    { name: "mailapp_figures_expiry", labels: [], values: [9] },
  ]);
  assert.deepEqual(read("mailapp_figures_labelled_total"), before);
  assert.equal(read("mailapp_figures_expiry")[""], expiry.value);
  figures.take(Array.from({ length: 1000 }, (_, index) => ({
    name: "mailapp_figures_labelled_total",
    labels: [`x${index}`],
    values: [1],
  })));
  assert.ok(Object.keys(read("mailapp_figures_labelled_total")).length < 500);
});
