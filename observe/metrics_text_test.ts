import assert from "node:assert/strict";
import { Counter, Gauge, Histogram, type Metric } from "../base/counters.ts";
import { writeMetrics } from "./metrics_text.ts";

function counterOf(value: number): Counter {
  const counter = new Counter();
  counter.add(value);
  return counter;
}

const replies: Metric = {
  name: "mailapp_replies_total",
  kind: "counter",
  help: "Replies, by code",
  labels: ["code", "words"],
  series: () => [
    { labels: ["550", 'say "\\ no"\nmore'], metric: counterOf(3) },
    { labels: ["421", "bye"], metric: counterOf(0) },
  ],
};

function sizes(): Metric {
  const metric = new Histogram([0.5, 10]);
  for (const size of [0.25, 0.5, 3, 11]) metric.observe(size);
  return {
    name: "mailapp_size_bytes",
    kind: "histogram",
    help: "Sizes",
    labels: [],
    series: () => [{ labels: [], metric }],
  };
}

Deno.test("writeMetrics() writes the text format of Prometheus, with values of labels escaped", () => {
  assert.equal(
    writeMetrics([replies, sizes()], "prometheus"),
    String.raw`# HELP mailapp_replies_total Replies, by code.
# TYPE mailapp_replies_total counter
mailapp_replies_total{code="550",words="say \"\\ no\"\nmore"} 3
mailapp_replies_total{code="421",words="bye"} 0
# HELP mailapp_size_bytes Sizes.
# TYPE mailapp_size_bytes histogram
mailapp_size_bytes_bucket{le="0.5"} 2
mailapp_size_bytes_bucket{le="10.0"} 3
mailapp_size_bytes_bucket{le="+Inf"} 4
mailapp_size_bytes_sum 14.75
mailapp_size_bytes_count 4
`,
  );
});

Deno.test("writeMetrics() names families without _total in OpenMetrics, and ends with # EOF", () => {
  const text = writeMetrics([replies], "openMetrics");
  assert.match(text, /^# HELP mailapp_replies Replies, by code\.\n# TYPE mailapp_replies counter\n/);
  assert.match(text, /^mailapp_replies_total\{code="421",words="bye"\} 0\n# EOF\n$/m);
});

Deno.test("writeMetrics() writes what is not a finite number as Prometheus does", () => {
  const metric = (value: number): Metric => {
    const gauge = new Gauge();
    gauge.set(value);
    return { name: "g", kind: "gauge", help: "G", labels: [], series: () => [{ labels: [], metric: gauge }] };
  };
  const values = [NaN, Infinity, -Infinity, 1e21].map((value) =>
    writeMetrics([metric(value)], "prometheus").split("\n")[2]
  );
  assert.deepEqual(values, ["g NaN", "g +Inf", "g -Inf", "g 1e+21"]);
});
