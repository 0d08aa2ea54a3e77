/**
 * The figures of a thread as another one adds them to its own: what has changed, as plain data.
 *
 * @module
 */
import {
  Counter,
  Gauge,
  Histogram,
  isSum,
  type Metric,
  type MetricDescription,
  ownMetrics,
  type Series,
} from "./counters.ts";

/** The value of one series. */
export interface FigureChange {
  /** The metric. */
  readonly name: string;
  /** The values of its labels. */
  readonly labels: readonly string[];
  /** Of a counter or gauge; or of each bucket of a histogram, and then the sum of its values. */
  readonly values: readonly number[];
}

/** What a thread has counted, given out in changes. */
export class FigureChanges {
  readonly #metrics: () => Iterable<Metric>;
  readonly #given = new Map<string, readonly number[]>();

  /** `metrics`: default those of this thread. */
  constructor(metrics: () => Iterable<Metric> = ownMetrics) {
    this.#metrics = metrics;
  }

  /** The series that have changed since the last call, or since the start of the thread. */
  take(): FigureChange[] {
    const changes: FigureChange[] = [];
    for (const described of this.#metrics()) {
      if (!isSum(described)) continue;
      const { name } = described;
      for (const { labels, metric } of described.series()) {
        const values = valuesOf(metric);
        const key = [name, ...labels].join("\n");
        const before = this.#given.get(key);
        if (values.every((value, index) => value === (before?.[index] ?? 0))) continue;
        this.#given.set(key, values);
        changes.push({ name, labels, values });
      }
    }
    return changes;
  }
}

function valuesOf(metric: Counter | Gauge | Histogram): readonly number[] {
  return metric instanceof Histogram ? [...metric.counts, metric.sum] : [metric.value];
}

/** Series of one metric that are kept; a thread has no more, unless it sends what it should not. */
const MAX_SERIES = 400;

/** The figures of another thread, for {@linkcode addFigures}. They are not trusted: what has no sense is ignored. */
export class ThreadFigures {
  readonly #figures = new Map<string, Map<string, FigureChange>>();
  /** What threads before it have counted, by metric and series. */
  readonly #before = new Map<string, Map<string, FigureChange>>();

  /** Takes changes. Those of metrics that this thread does not have are kept for none. */
  take(changes: readonly FigureChange[]): void {
    const known = new Map(ownMetrics().map((metric) => [metric.name, metric]));
    for (const { name, labels, values } of changes) {
      const metric = known.get(name);
      if (metric === undefined || !isSum(metric) || labels.length !== metric.labels.length) continue;
      if (!values.every((value) => Number.isFinite(value))) continue;
      const series = this.#figures.get(name) ?? new Map<string, FigureChange>();
      this.#figures.set(name, series);
      const key = labels.join("\n");
      if (series.has(key) || series.size < MAX_SERIES) series.set(key, { name, labels, values });
    }
  }

  /** The thread has ended: what it has counted stays, what it had at that moment is gone. Another one may follow it. */
  end(): void {
    for (const { name, kind } of ownMetrics()) {
      const series = this.#figures.get(name);
      if (series !== undefined && kind !== "gauge") this.#before.set(name, this.#sums(name));
    }
    this.#figures.clear();
  }

  /** What this thread and those before it have counted of a metric. */
  #sums(name: string): Map<string, FigureChange> {
    const sums = new Map(this.#before.get(name));
    for (const [key, change] of this.#figures.get(name) ?? []) {
      const before = sums.get(key)?.values;
      const values = change.values.map((value, index) => value + (before?.[index] ?? 0));
      sums.set(key, { ...change, values });
    }
    return sums;
  }

  /** Of one metric. */
  readonly series = (metric: MetricDescription): Series<Counter | Gauge | Histogram>[] =>
    Array.from(this.#sums(metric.name).values(), ({ labels, values }) => ({
      labels,
      metric: figureOf(metric, values),
    }));
}

function figureOf(
  { kind, bounds = [] }: MetricDescription,
  values: readonly number[],
): Counter | Gauge | Histogram {
  if (kind === "histogram") {
    const histogram = new Histogram(bounds);
    for (const index of histogram.counts.keys()) histogram.counts[index] = values[index] ?? 0;
    histogram.sum = values[histogram.counts.length] ?? 0;
    return histogram;
  }
  const figure = kind === "counter" ? new Counter() : new Gauge();
  figure.value = values[0] ?? 0;
  return figure;
}
