import assert from "node:assert/strict";
import { allMetrics } from "../base/counters.ts";
import type { QueuedItem } from "../relay/scheduler_options.ts";
import { queueMetrics } from "./metrics_parts.ts";

const HOUR = 3_600_000;

/** The values of a metric by its labels. */
function values(name: string): Record<string, number> {
  const metric = allMetrics().find((metric) => metric.name === name) ?? assert.fail(name);
  return Object.fromEntries(
    Array.from(metric.series(), ({ labels, metric }) => [labels.join(), (metric as { value: number }).value]),
  );
}

Deno.test("queueMetrics() counts the queue by status, by age and by what is done with it", () => {
  const items: QueuedItem[] = [
    { age: 5 * HOUR, status: "4.4.1" },
    { age: 2 * HOUR, status: "4.4.1" },
    { age: 90_000, status: "4.7.1" },
    { age: 0 },
  ];
  using _queue = queueMetrics({ status: { waiting: 3, ready: 1, active: 2 }, items: () => items });
  assert.deepEqual(values("mailapp_queue_messages"), { "4.4.1": 2, "4.7.1": 1, none: 1 });
  assert.deepEqual(values("mailapp_queue_messages_by_age"), {
    "0": 4,
    "60": 3,
    "600": 2,
    "3600": 2,
    "14400": 1,
    "86400": 0,
    "259200": 0,
  });
  assert.deepEqual(values("mailapp_queue_oldest_age_seconds"), { "": 5 * 3600 });
  assert.deepEqual(values("mailapp_queue_state_messages"), { waiting: 3, due: 1, active: 2 });
});

Deno.test("queueMetrics() looks at a long queue seldom enough to take half a per cent of the time", () => {
  let now = 0;
  let looks = 0;
  const items = function* (): Generator<QueuedItem> {
    looks++;
    yield { age: 1000 };
    now += 100;
  };
  using _queue = queueMetrics({ status: { waiting: 1, ready: 0, active: 0 }, items }, () => now);
  const look = () => values("mailapp_queue_oldest_age_seconds");
  look();
  now += 19_000;
  look();
  assert.equal(looks, 1);
  now += 1_000;
  look();
  assert.equal(looks, 2);
});

Deno.test("queueMetrics() takes hostile statuses for one, beyond fifty", () => {
  const items = Array.from({ length: 1000 }, (_, index) => ({ age: 0, status: `4.${index}.1` }));
  using _queue = queueMetrics({ status: { waiting: 0, ready: 0, active: 0 }, items: () => items });
  const counted = values("mailapp_queue_messages");
  assert.equal(Object.keys(counted).length, 51);
  assert.equal(counted["other"], 950);
});
